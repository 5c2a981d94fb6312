"""Finds the line of a setting in TOML text, which the parser does not tell."""

import re
from collections.abc import Sequence
from typing import Final

_PART: Final = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_KEY: Final = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_TABLE: Final = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]\]?")
_SETTING: Final = re.compile(rf"\s*({_KEY})\s*=")

Path = tuple[str, ...]


def lines_of(text: str) -> dict[Path, int]:
    """The first line of every table and setting, by its path; keys of inline tables are their setting's."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif setting := _SETTING.match(line):
            found.setdefault(table + _parts(setting[1]), number)
    return found


def line_of(path: Sequence[str], lines: dict[Path, int]) -> int | None:
    """The line of a setting, else of what holds it; None when nothing of it is there."""
    whole = tuple(path)
    for length in range(len(whole), 0, -1):
        part = whole[:length]
        if part in lines:
            return lines[part]
        below = [line for known, line in lines.items() if known[:length] == part]
        if below:
            return min(below)
    return None


def _parts(key: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))

"""Finds the line of a setting in TOML text, which the parser does not tell."""

import re
from collections.abc import Mapping
from typing import Final

DEEPEST: Final = 6  # organizations.NAME.rules.credits.clear.warning; nothing known lies deeper

_PART: Final = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_KEY: Final = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_TABLE: Final = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]\]?")
_SETTING: Final = re.compile(rf"\s*({_KEY})\s*=")

Key = tuple[str, ...]


def lines_of(text: str) -> dict[Key, int]:
    """The first line of every table and setting, and of whatever holds them, by path."""
    found: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _TABLE.match(line):
            table = _parts(header[1])
            found.setdefault(table[:DEEPEST], number)
        elif setting := _SETTING.match(line):
            found.setdefault((table + _parts(setting[1]))[:DEEPEST], number)
    for key, number in list(found.items()):
        for length in range(1, len(key)):
            found.setdefault(key[:length], number)
    return found


def line_of(key: Key, lines: Mapping[Key, int]) -> int | None:
    """The line of a setting, else of what holds it (an inline table); None when nothing of it is there."""
    return next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)


def _parts(key: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))

"""Lengths of time as people write them, `90s`, `1h30m`, `2d`: one grammar for file, environment and command line."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

SECONDS: Final = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
PART: Final = re.compile(r"([0-9]{1,9})([ywdhms])")
LONGEST: Final = timedelta(days=3_660)


def parse(text: object, *, longest: timedelta = LONGEST) -> timedelta:
    """Return a length of time; raise `ValueError` that says what was expected and repeats nothing of the text.

    Numbers with units, each unit once: y (365 days), w, d, h, m, s.
    """
    length = seconds(text)
    if not 0 < length <= longest.total_seconds():
        raise ValueError("expected more than nothing and at most ten years")
    return timedelta(seconds=length)


def seconds(text: object) -> int:
    """Return a length of time in seconds, however long; raise `ValueError` as `parse` does."""
    if _is_number(text):
        raise ValueError('has no unit; expected a length of time such as "90s" or "5m"')
    parts = PART.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('expected a length of time such as "90s", "5m", "1h30m" or "7d"')
    if len({unit for _, unit in parts}) < len(parts):
        raise ValueError("names a unit twice")
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


def write(length: timedelta) -> str:
    """Return a length of time as `parse` reads it, to the second; in days, for a reader counts in them."""
    left = round(length.total_seconds())
    text = ""
    for unit in "dhms":
        count, left = divmod(left, SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _is_number(text: object) -> bool:
    if isinstance(text, str):
        return text.isdecimal()
    return isinstance(text, int | Decimal) and not isinstance(text, bool)

"""Balances from anybody's CSV: columns `taken_at` and `credits`, others are left alone.

Refuses to guess: an instant without an offset or a balance that is no number is an error with its line.
"""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Final, TextIO

from monitor.errors import UsageError
from monitor.model import Snapshot

COLUMNS: Final = ("taken_at", "credits")
NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
PLACES: Final = Decimal("0.000001")
TOO_MUCH: Final = Decimal(10) ** 12
SHOWN: Final = 40  # characters of what is wrong


def read_snapshots(path: Path) -> list[Snapshot]:
    """The snapshots of a CSV file, by time; `UsageError` with the line of the first mistake."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            return sorted(_snapshots(source, path), key=attrgetter("taken_at"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None


def _snapshots(source: TextIO, path: Path) -> Iterator[Snapshot]:
    reader = csv.reader(source)
    try:
        at, amount = _places(next(reader, []))
        for row in reader:
            if row:
                yield Snapshot(_instant(_cell(row, at, "taken_at")), _credits(_cell(row, amount, "credits")))
    except (ValueError, csv.Error) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise UsageError(f"{path}:{max(reader.line_num, 1)}: {error}") from None


def _places(header: list[str]) -> tuple[int, int]:
    """Where the two columns are."""
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if column not in names:
            seen = ", ".join(names)[: 4 * SHOWN]
            raise ValueError(f"there is no column {column} in the first line" + (f"; it has {seen}" if seen else ""))
    return names.index("taken_at"), names.index("credits")


def _cell(row: list[str], place: int, column: str) -> str:
    if place >= len(row) or not row[place].strip():
        raise ValueError(f"{column}: is missing")
    return row[place].strip()


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"taken_at: {text[:SHOWN]!r} is not an instant such as 2026-11-23T12:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError(f"taken_at: {text[:SHOWN]!r} has no offset; expected Z or one such as +01:00")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"taken_at: {text[:SHOWN]!r} lies outside of all calendars") from None


def _credits(text: str) -> Decimal:
    # Decimal takes more than that: underscores, other scripts' digits, Infinity.
    if not NUMBER.fullmatch(text):
        raise ValueError(f"credits: {text[:SHOWN]!r} is not a number such as 1234.5")
    amount = Decimal(text)
    if abs(amount) >= TOO_MUCH:
        raise ValueError(f"credits: {text[:SHOWN]!r} is too much to be a balance")
    return amount.quantize(PLACES)

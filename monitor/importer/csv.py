"""Read balances from a CSV file: columns `taken_at` and `credits`, optionally `organization`, `id` and `account`.

A row that is no balance becomes a `Problem` with its line; reading goes on, so that all problems are reported.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from monitor import amounts
from monitor.errors import UsageError
from monitor.model import Snapshot

COLUMNS: Final = ("taken_at", "credits")
NAMES: Final = ("organization", "id", "account")
NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
SHOWN: Final = 40  # characters of a cell in a problem


class Row(NamedTuple):
    """One balance; a name whose column is missing is empty."""

    line: int
    taken_at: datetime
    credits: Decimal
    names: tuple[str, str, str]  # organization, id, account
    is_naive: bool  # the instant had no offset, and was taken as UTC


class Problem(NamedTuple):
    """What is wrong with a line."""

    line: int
    text: str


def shown(path: Path) -> str:
    """Return what messages call a file."""
    return "standard input" if str(path) == "-" else str(path)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open the text of a file, or of standard input for `-`; `UsageError` when it cannot be read or is no text."""
    try:
        if str(path) == "-":
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline="")  # type: ignore[union-attr]
            yield sys.stdin
        else:
            with path.open(encoding="utf-8-sig", newline="") as source:
                yield source
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown(path)}: is not UTF-8 text") from None


def read_snapshots(path: Path) -> list[Snapshot]:
    """Return the snapshots of a CSV file, by time; `UsageError` with the line of the first problem."""
    with open_text(path) as source:
        return sorted(_snapshots(read_rows(source), path), key=attrgetter("taken_at"))


def _snapshots(rows: Iterable[Row | Problem], path: Path) -> Iterator[Snapshot]:
    for row in rows:
        if isinstance(row, Problem):
            raise UsageError(f"{shown(path)}:{row.line}: {row.text}")
        yield Snapshot(row.taken_at, row.credits)


def read_rows(
    source: Iterable[str], *, needed: tuple[str, ...] = COLUMNS, naive_is_utc: bool = False
) -> Iterator[Row | Problem]:
    """Yield each balance, or what is wrong with it, in the order of the lines; other columns are ignored."""
    reader = csv.reader(source)
    header = next(_cells(reader), [])
    if isinstance(header, Problem):
        yield header
        return
    names = [name.strip() for name in header]
    if missing := [column for column in needed if column not in names]:
        seen = ", ".join(names)[: 4 * SHOWN]
        also = f"; it has {seen}" if seen else ""
        yield Problem(1, f"there is no column {missing[0]} in the first line{also}")
        return
    if twice := [column for column in (*COLUMNS, *NAMES) if names.count(column) > 1]:
        yield Problem(1, f"there are two columns {twice[0]} in the first line")
        return
    places = [names.index(column) if column in names else -1 for column in (*COLUMNS, *NAMES)]
    for cells in _cells(reader):
        try:
            yield (
                cells if isinstance(cells, Problem) else _row(cells, reader.line_num, places, naive_is_utc=naive_is_utc)
            )
        except ValueError as error:
            yield Problem(reader.line_num, str(error))


def _cells(reader: Iterator[list[str]]) -> Iterator[list[str] | Problem]:
    """Yield the cells of each line that is not empty; a line that is no CSV does not end it."""
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Problem(reader.line_num, str(error))  # type: ignore[attr-defined]
            continue
        if cells is None:
            return
        if cells:
            yield cells


def _row(cells: list[str], line: int, places: list[int], *, naive_is_utc: bool) -> Row:
    cells = [*cells, *[""] * max(1, max(places) + 2 - len(cells))]  # the last one is for a column that is missing
    at, amount, organization, vendor_id, account = [cells[place].strip() for place in places]
    taken_at, is_naive = _instant(at, naive_is_utc=naive_is_utc)
    return Row(line, taken_at, _credits(amount), (organization, vendor_id, account), is_naive)


def _instant(text: str, *, naive_is_utc: bool) -> tuple[datetime, bool]:
    if not text:
        raise ValueError("taken_at: is missing")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"taken_at: {text[:SHOWN]!r} is not an instant such as 2026-11-23T12:00:00Z") from None
    if at.tzinfo is None:
        if not naive_is_utc:
            raise ValueError(f"taken_at: {text[:SHOWN]!r} has no offset; expected Z or one such as +01:00")
        return at.replace(tzinfo=UTC), True
    try:
        return at.astimezone(UTC), False
    except OverflowError:
        raise ValueError(f"taken_at: {text[:SHOWN]!r} lies outside of all calendars") from None


def _credits(text: str) -> Decimal:
    if not text:
        raise ValueError("credits: is missing")
    # Decimal accepts more: underscores, digits of other scripts, Infinity.
    if not NUMBER.fullmatch(text):
        raise ValueError(f"credits: {text[:SHOWN]!r} is not a number such as 1234.5")
    amount = Decimal(text)
    if not amounts.is_plausible(amount) or not amounts.is_plausible(amount := amounts.rounded(amount)):
        raise ValueError(f"credits: {text[:SHOWN]!r} is too much to be a balance")
    return amount

"""Read balances from a CSV file: columns `taken_at` and `credits`, perhaps `organization`, `id`, `account` and `unit`.

What is read is what was written, or an error: each line is one balance and has as many cells as the first one.  A line
that is none becomes a `Problem`; reading goes on, so that all problems are reported.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from monitor import amounts
from monitor.errors import UsageError
from monitor.model import Snapshot

COLUMNS: Final = ("taken_at", "credits")
NAMES: Final = ("organization", "id", "account", "unit")
NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}  # what other programs write between cells
POINT: Final = "write a decimal point and nothing between thousands"
SHOWN: Final = 40  # characters of a cell in a problem


class Row(NamedTuple):
    """One balance; a name whose column is missing is empty."""

    line: int
    taken_at: datetime
    credits: Decimal
    names: tuple[str, str, str]  # organization, id, account
    is_naive: bool  # the instant had no offset, and was taken as UTC
    unit: str = ""  # of the balance, where the file says it


class Problem(NamedTuple):
    """What is wrong with a line."""

    line: int
    text: str


def shown(path: Path) -> str:
    """Return what messages call a file."""
    return "standard input" if str(path) == "-" else str(path)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open the text of a file, or of standard input for `-`; `UsageError` when it cannot be read.

    Bytes that are no UTF-8 become surrogates, which `read_rows` reports with their line.
    """
    try:
        if str(path) == "-":
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[union-attr]
            yield sys.stdin
        else:
            with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as source:
                yield source
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be read: {(error.strerror or type(error).__name__).lower()}") from None


def read_snapshots(path: Path) -> list[Snapshot]:
    """Return the snapshots of a CSV file, by time; `UsageError` with the line of the first problem."""
    with open_text(path) as source:
        snapshots = sorted(_snapshots(read_rows(source), path), key=attrgetter("taken_at"))
    for before, after in pairwise(snapshots):
        if before.taken_at == after.taken_at and before.credits != after.credits:
            raise UsageError(f"{shown(path)}: has two balances of {after.taken_at:%Y-%m-%dT%H:%M:%SZ}; remove one")
    return snapshots


def _snapshots(rows: Iterable[Row | Problem], path: Path) -> Iterator[Snapshot]:
    for row in rows:
        if isinstance(row, Problem):
            raise UsageError(f"{shown(path)}:{row.line}: {row.text}")
        yield Snapshot(row.taken_at, row.credits)


def read_rows(
    source: Iterable[str], *, needed: tuple[str, ...] = COLUMNS, naive_is_utc: bool = False
) -> Iterator[Row | Problem]:
    """Yield each balance, or what is wrong with it, in the order of the lines; other columns are ignored."""
    lines = _lines(source)
    first, header = next(lines, (1, []))
    if isinstance(header, Problem):
        yield header
        return
    names = [name.strip() for name in header]
    if problem := _header_problem(names, needed):
        yield Problem(first, problem)
        return
    places = [names.index(column) if column in names else -1 for column in (*COLUMNS, *NAMES)]
    for line, cells in lines:
        try:
            yield (
                cells
                if isinstance(cells, Problem)
                else _row(_checked(cells, names), line, places, naive_is_utc=naive_is_utc)
            )
        except ValueError as error:
            yield Problem(line, str(error))


def _header_problem(names: list[str], needed: tuple[str, ...]) -> str | None:
    if missing := [column for column in needed if column not in names]:
        seen = ", ".join(names)[: 4 * SHOWN]
        also = f"; it has {seen}" if seen else ""
        between = _separator(names)
        hint = f"; between cells there are {between}, write commas" if between else ""
        return f"there is no column {missing[0]} in the first line{also}{hint}"
    twice = [column for column in (*COLUMNS, *NAMES) if names.count(column) > 1]
    return f"there are two columns {twice[0]} in the first line; remove one" if twice else None


def _separator(cells: list[str]) -> str | None:
    """Return what stands between the cells instead of commas, as far as the only cell tells."""
    return next((name for sign, name in SEPARATORS.items() if len(cells) == 1 and sign in cells[0]), None)


def _lines(source: Iterable[str]) -> Iterator[tuple[int, list[str] | Problem]]:
    """Yield the number and the cells of each line that is not blank; a line that is no CSV does not end it.

    No cell goes on in the next line: where a quote is not closed, that would swallow balances.
    """
    for number, line in enumerate(source, 1):
        if not line.isascii() and not _is_text(line):
            yield number, Problem(number, "is not UTF-8 text; save the file as CSV in UTF-8")
        elif line.strip():
            try:
                yield number, next(csv.reader([line], strict=True))
            except csv.Error as error:
                yield number, Problem(number, _csv_problem(error))


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_problem(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return 'a quote (") is opened and not closed in this line; close it, and write a balance on one line'
    return str(error)


def _checked(cells: list[str], names: list[str]) -> list[str]:
    """Return the cells of a line that has as many as the first one; `ValueError` for any other."""
    if len(cells) == len(names):
        if [cell.strip() for cell in cells] == names:
            raise ValueError("is the first line again; remove it")
        return cells
    if between := _separator(cells):
        raise ValueError(f"between cells there are {between}; write commas")
    more = f"; {POINT}, or put the cell into quotes" if len(cells) > len(names) else ""
    count = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
    raise ValueError(f"has {count} and the first line has {len(names)}{more}")


def _row(cells: list[str], line: int, places: list[int], *, naive_is_utc: bool) -> Row:
    cells = [*cells, ""]  # for a column that is missing
    at, amount, organization, vendor_id, account, unit = [cells[place].strip() for place in places]
    taken_at, is_naive = _instant(at, naive_is_utc=naive_is_utc)
    return Row(line, taken_at, _credits(amount), (organization, vendor_id, account), is_naive, unit)


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
        raise ValueError(f"credits: {text[:SHOWN]!r} is not a number such as 1234.5; {POINT}")
    amount = Decimal(text)
    if not amounts.is_plausible(amount) or not amounts.is_plausible(amount := amounts.rounded(amount)):
        raise ValueError(f"credits: {text[:SHOWN]!r} is too much to be a balance")
    return amount

"""A table for people: aligned, in local time, and on a terminal never wider than that.

What does not fit goes in this order: seconds, ends of very long cells, the least telling columns, more of long cells.
"""

import os
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final, TextIO

from monitor.model import STABILITY_UNIT
from monitor.rows import encode
from monitor.rows.encode import format_figure, format_local
from monitor.text import mask

Row = encode.Row
GAP: Final = "  "
LONG: Final = 24  # characters of a cell that are cut before any column goes
SHORTEST: Final = 6  # characters that are left of a cell
NARROWEST: Final = 20  # a terminal that says it is narrower is not believed


class Percent(Decimal):
    """A share (0 to 1) that tables show as a percentage."""


@dataclass(slots=True)
class Table:
    """The columns that are shown; those in `least` go first where there is no room; `width` None is any room."""

    columns: Sequence[str]
    zone: tzinfo = UTC
    least: Sequence[str] = ()
    width: int | None = None
    _seconds: bool = field(default=True)
    _begun: bool = field(default=False)

    def lines(self, page: Sequence[Row]) -> Iterator[str]:
        """Yield the lines of the next rows, below a header at the beginning."""
        if not self._begun:
            self._choose(page)
        cells = self._cells(page)
        if not self._begun:
            cells.insert(0, [self._title(column) for column in self.columns])
        self._begun = True
        numeric = [_is_numeric(page, column) for column in self.columns]
        widths = self._fitted(cells, [_is_whole(page, column) for column in self.columns])
        for line in cells:
            padded = (
                pad(cut(text, width), width, right=right)
                for text, width, right in zip(line, widths, numeric, strict=True)
            )
            yield GAP.join(padded).rstrip()

    def _choose(self, page: Sequence[Row]) -> None:
        """Leave out what there is no room for, as far as these rows tell."""
        if self._is_too_wide(page):
            self._seconds = False
        for column in self.least:
            if not self._is_too_wide(page):
                return
            self.columns = [each for each in self.columns if each != column]

    def _is_too_wide(self, page: Sequence[Row]) -> bool:
        if self.width is None:
            return False
        cells = [[self._title(column) for column in self.columns], *self._cells(page)]
        whole = [_is_whole(page, column) for column in self.columns]
        widths = (
            width if is_whole else min(width, max(LONG, display_width(title)))
            for width, is_whole, title in zip(_widths(cells), whole, cells[0], strict=True)
        )
        return _sum(widths) > self.width

    def _fitted(self, cells: list[list[str]], whole: list[bool]) -> list[int]:
        """Return the widths of the columns; of the widest text so much is cut that all fit."""
        widths = _widths(cells)
        while self.width is not None and _sum(widths) > self.width:
            texts = [at for at, is_whole in enumerate(whole) if not is_whole and widths[at] > SHORTEST]
            if not texts:
                break
            widths[max(texts, key=lambda at: widths[at])] -= 1
        return widths

    def _cells(self, page: Sequence[Row]) -> list[list[str]]:
        # Where everything is counted in Stability's credits, the words of the columns say so.
        with_unit = any(row.get("unit") not in {None, "", STABILITY_UNIT} for row in page)
        return [
            [self._cell(row[column], str(row.get("unit") or "") if with_unit else "") for column in self.columns]
            for row in page
        ]

    def _cell(self, value: Any, unit: str) -> str:
        text = format_cell(value, zone=self.zone, seconds=self._seconds)
        is_amount = isinstance(value, Decimal) and not isinstance(value, Percent)
        return f"{text} {mask(unit)}" if unit and is_amount else text

    def _title(self, column: str) -> str:
        name, bracket, zone = column.partition(" (")
        return name.replace("_", " ").upper() + bracket + zone


def _is_numeric(page: Sequence[Row], column: str) -> bool:
    return all(isinstance(row[column], Decimal | int | None) for row in page)


def _is_whole(page: Sequence[Row], column: str) -> bool:
    """Return whether a part of its cells would say something else: numbers and instants."""
    return _is_numeric(page, column) or all(isinstance(row[column], datetime | None) for row in page)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(display_width, column)) for column in zip(*cells, strict=True)]


def _sum(widths: Iterable[int]) -> int:
    return sum(width + len(GAP) for width in widths) - len(GAP)


# --- cells ------------------------------------------------------------------------------------------------------------


def format_cell(value: Any, *, zone: tzinfo = UTC, seconds: bool = True) -> str:
    """A cell of a table: credits with two decimals, instants in a named zone, no control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Percent):
        return f"{value:z.1%}"
    if isinstance(value, Decimal):
        return format_figure(value)
    if isinstance(value, datetime):
        return format_local(value, zone, seconds=seconds)
    if isinstance(value, list | tuple):
        return ", ".join(format_cell(each, zone=zone, seconds=seconds) for each in value) or "-"
    return mask(str(value))


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return a text that takes no more columns; what is cut ends in …."""
    if display_width(text) <= width:
        return text
    kept, left = "", width - 1
    for character in text:
        left -= _character_width(character)
        if left < 0:
            break
        kept += character
    return kept + "…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return a text with spaces on one side, so many columns wide."""
    room = " " * (width - display_width(text))
    return room + text if right else text + room


# --- the terminal -----------------------------------------------------------------------------------------------------


def terminal_width(stream: TextIO) -> int | None:
    """Return the width of the terminal that a stream goes to; None when it is none."""
    if not stream.isatty():
        return None
    if (named := os.environ.get("COLUMNS", "")).isdecimal() and int(named) >= NARROWEST:
        return int(named)
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns if columns >= NARROWEST else shutil.get_terminal_size().columns


def cut_line(text: str, stream: TextIO) -> str:
    """Return a line that fits into the terminal which a stream goes to."""
    width = terminal_width(stream)
    return text if width is None else cut(text, width)


def fold(text: str, stream: TextIO, *, indent: str = "  ") -> str:
    """Return lines of text, each folded at words where the stream goes to a terminal that is too narrow for it."""
    width = terminal_width(stream)
    if width is None:
        return text
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
        if display_width(line) > width
        else line
        for line in text.split("\n")
    )

"""A line of block characters for each organization: how its balance went.  Drawn for people in a terminal only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, TextIO

from monitor.cli.table import Row, cut, display_width, format_cell, pad, terminal_width

BLOCKS: Final = "▁▂▃▄▅▆▇█"
WIDEST: Final = 60
NARROWEST: Final = 8
POINTS: Final = 512  # that are remembered of one organization; of more every second one


@dataclass(slots=True)
class Trace:
    """The course of one balance in constant memory."""

    points: list[tuple[datetime, Decimal]] = field(default_factory=list)
    lowest: Decimal = Decimal("Infinity")
    highest: Decimal = Decimal("-Infinity")
    last: tuple[datetime, Decimal] | None = None
    _every: int = 1
    _seen: int = 0

    def add(self, at: datetime, balance: Decimal) -> None:
        """One more balance, later than those before."""
        self.lowest, self.highest = min(self.lowest, balance), max(self.highest, balance)
        self.last = at, balance
        if self._seen % self._every == 0:
            self.points.append(self.last)
            if len(self.points) >= POINTS:
                self.points, self._every = self.points[::2], self._every * 2
        self._seen += 1

    def drawn(self, width: int) -> str:
        """The balance over time, from its lowest (▁) to its highest (█); a gap shows the balance before it."""
        if self.last is None:
            return ""
        points = [*self.points, self.last]
        width = min(width, self._seen)
        begin, span = points[0][0], max(self.last[0] - points[0][0], timedelta(microseconds=1))
        columns: list[Decimal | None] = [None] * width
        for at, balance in points:
            columns[min(width - 1, int((at - begin) / span * width))] = balance
        line = ""
        for column in columns:
            line += line[-1:] if column is None else self._block(column)
        return line

    def _block(self, balance: Decimal) -> str:
        height = self.highest - self.lowest
        if not height:
            return BLOCKS[len(BLOCKS) // 2 - 1]
        return BLOCKS[min(len(BLOCKS) - 1, int((balance - self.lowest) / height * len(BLOCKS)))]


@dataclass(slots=True)
class Traces:
    """The course of every organization that passes by."""

    columns: int
    found: dict[tuple[str, str], Trace] = field(default_factory=dict)

    @classmethod
    def for_terminal(cls, stream: TextIO) -> "Traces | None":
        """None where nobody watches, or the terminal knows no block characters."""
        try:
            BLOCKS.encode(stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return None
        width = terminal_width(stream)
        return cls(width) if width else None

    def following(self, rows: Iterable[Row], at: str) -> Iterator[Row]:
        """The rows as they are."""
        for row in rows:
            self.found.setdefault((row["organization"], row["id"]), Trace()).add(row[at], row["credits"])
            yield row

    def lines(self) -> Iterator[str]:
        """What to print below the rows."""
        if self.found:
            yield ""
        names = [format_cell(name) for name, _ in self.found]
        figures = [f"{format_cell(trace.lowest)} to {format_cell(trace.highest)}" for trace in self.found.values()]
        room = self.columns - max(map(len, figures), default=0) - 4
        widest = max(NARROWEST, min(max(map(display_width, names), default=0), room - NARROWEST))
        for name, trace, range_ in zip(names, self.found.values(), figures, strict=True):
            width = max(NARROWEST, min(WIDEST, self.columns - widest - len(range_) - 4))
            yield cut(f"{pad(cut(name, widest), widest)}  {trace.drawn(width)}  {range_}", self.columns)

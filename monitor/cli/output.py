"""Rows as a table, JSON or CSV.  With `cli` the only place that prints; nothing is cut when nobody watches."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from math import isinf
from typing import Any, Final

import click

from monitor.text import escape, mask, quote_formula

Row = Mapping[str, Any]


class Percent(Decimal):
    """A share (0 to 1) that tables show as a percentage."""


FORMATS: Final = ("table", "json", "csv")
_encoded: Final = json.JSONEncoder(ensure_ascii=False).encode  # made once: rows come by the million
PAGE: Final = 1000  # rows whose widths a table looks at together


def print_rows(rows: Iterable[Row], columns: Sequence[str], *, style: str, empty: str = "Nothing yet.") -> None:
    """Print rows; `columns` are those of a table (JSON and CSV have every key of the rows)."""
    if style == "json":
        _json(rows)
    elif style == "csv":
        _csv(rows, columns)
    else:
        _table(rows, columns, empty)


def format_instant(at: datetime) -> str:
    """ISO 8601 with Z; whole seconds where there is nothing behind them."""
    return at.isoformat(timespec="auto").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """A value as JSON has it: instants as text, credits as exact numbers."""
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def format_hours(runway: float | None) -> float | str | None:
    """A runway as rows have it: hours, "none" when nothing is used, None while unknown."""
    if runway is None:
        return None
    return "none" if isinf(runway) else round(runway, 2)


def format_exact(value: Decimal) -> str:
    """All digits that matter, never in scientific notation."""
    text = f"{value or abs(value):f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _dump(row: Row) -> str:
    return "{" + ", ".join(f'"{key}": {_value(value)}' for key, value in row.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, Decimal):
        return format_exact(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_dump(v) if isinstance(v, Mapping) else _value(v) for v in value) + "]"
    return escape(_encoded(_plain(value)))


def _json(rows: Iterable[Row]) -> None:
    first = True
    print("[", end="")
    for row in rows:
        sys.stdout.write(("\n  " if first else ",\n  ") + _dump(row))
        first = False
    print("]" if first else "\n]")


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> None:
    writer: Any = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: _cell(value) for key, value in row.items()})
    if writer is None:
        print(",".join(columns))


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format_exact(value)
    if isinstance(value, list | tuple):
        return _value(value)
    if isinstance(value, str):
        return quote_formula(value)
    return "" if value is None else _plain(value)


def _table(rows: Iterable[Row], columns: Sequence[str], empty: str) -> None:
    source = iter(rows)
    page = list(islice(source, PAGE))
    if not page:
        print(empty)
        return
    head = True
    while page:
        for line in _lines(page, columns, head=head):
            print(line)
        head = False
        page = list(islice(source, PAGE))


def _lines(page: Sequence[Row], columns: Sequence[str], *, head: bool) -> Iterator[str]:
    numeric = [all(isinstance(row[c], Decimal | int | None) for row in page) for c in columns]
    cells = [[format_cell(row[c]) for c in columns] for row in page]
    if head:
        cells.insert(0, [c.replace("_", " ").upper() for c in columns])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (t.rjust(w) if n else t.ljust(w) for t, w, n in zip(line, widths, numeric, strict=True))
        yield "  ".join(padded).rstrip()


def format_cell(value: Any) -> str:
    """A cell of a table: credits with two decimals, instants in whole seconds, no control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Percent):
        return f"{value:z.1%}"
    if isinstance(value, Decimal):
        return f"{value:z,.2f}"
    if isinstance(value, datetime):
        return format_instant(value.replace(microsecond=0))
    if isinstance(value, list | tuple):
        return ", ".join(map(format_cell, value)) or "-"
    return mask(str(value))


# --- progress ---------------------------------------------------------------------------------------------------------


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what to call with every so many that are done."""
    with click.progressbar(
        length=max(total, 1), label=label, file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
    ) as bar:

        def done(count: int) -> None:
            # More may turn up than was counted before.
            bar.length = max(bar.length or 0, bar.pos + count)
            bar.update(count)

        yield done

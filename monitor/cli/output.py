"""Rows as a table, JSON or CSV.  With `cli` the only place that prints; nothing is cut when nobody watches."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import islice
from math import isinf
from typing import Any, Final

import click

from monitor.cli.table import Row, Table, fold, terminal_width
from monitor.text import escape, quote_formula

FORMATS: Final = ("table", "json", "csv")
_encoded: Final = json.JSONEncoder(ensure_ascii=False).encode  # made once: rows come by the million
PAGE: Final = 1000  # rows whose widths a table looks at together


def print_rows(
    rows: Iterable[Row],
    columns: Sequence[str],
    *,
    style: str,
    empty: str = "Nothing yet.",
    zone: tzinfo = UTC,
    least: Sequence[str] = (),
) -> None:
    """Print rows; `columns` are those of a table (JSON and CSV have every key of the rows).

    On a terminal that is too narrow for a table those in `least` go first.  Tables have their instants in `zone`.
    """
    if style == "json":
        _json(rows)
    elif style == "csv":
        _csv(rows, columns)
    else:
        _table(rows, Table(columns, zone, least, terminal_width(sys.stdout)), empty)


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


def _table(rows: Iterable[Row], table: Table, empty: str) -> None:
    source = iter(rows)
    page = list(islice(source, PAGE))
    if not page:
        say(empty)
    while page:
        for line in table.lines(page):
            print(line)
        page = list(islice(source, PAGE))


def say(text: str, *, err: bool = False, indent: str = "  ") -> None:
    """Print a sentence, folded where it goes to a terminal that is narrower."""
    stream = sys.stderr if err else sys.stdout
    click.echo(fold(text, stream, indent=indent), err=err)


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

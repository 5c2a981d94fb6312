"""Rows as a table, JSON or CSV.  With `cli` the only place that prints; nothing is cut when nobody watches."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import click

from monitor.cli.table import Row, Table, fold, terminal_width
from monitor.rows.encode import encode, encode_value, format_exact, plain
from monitor.text import quote_formula

FORMATS: Final = ("table", "json", "csv")
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
        sys.stdout.writelines(encode(rows))
    elif style == "csv":
        _csv(rows, columns)
    else:
        _table(rows, Table(columns, zone, least, terminal_width(sys.stdout)), empty)


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
        return encode_value(value)
    if isinstance(value, str):
        return quote_formula(value)
    return "" if value is None else plain(value)


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

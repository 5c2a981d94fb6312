"""`credit-monitor db import`: history from elsewhere."""

import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import click

from monitor.cli.options import config_option, load, reading
from monitor.cli.progress import progress

LINES_AT_ONCE: Final = 1000


@click.command("import", short_help="Add balances of a CSV file to the history.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--organization", metavar="NAME", help="Whose balances all of these are, whatever the file says.")
@config_option
def import_(file: Path, organization: str | None, config_file: Path | None) -> None:
    """Add the balances of a CSV FILE (columns taken_at, credits, organization) to the history; - is standard input."""
    from monitor.app import open_database  # noqa: PLC0415
    from monitor.importer import csv, look_through, put_in  # noqa: PLC0415

    settings, name = load(config_file), csv.shown(file)
    with csv.opened(file) as source:
        opened = open_database(settings)
        try:
            with reading(settings) as engine, progress("reading", _size(source)) as done:
                found = look_through(
                    _told(source, done), name, settings, engine, organization=organization, now=datetime.now(UTC)
                )
            with progress("importing", found.count) as done:
                count = put_in(opened, settings, found, done)
        finally:
            opened.close()
    where = _count(len(found.balances), "organization")
    click.echo(f"{name}: {_count(count, 'balance')} of {where} imported, {found.known:,} there already")
    if found.naive:
        click.echo(f"taken as UTC: {_count(found.naive, 'instant')} without an offset", err=True)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _size(source: TextIO) -> int:
    """How much there is to read, in bytes; 0 where nobody knows."""
    try:
        found = os.fstat(source.fileno())
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _told(source: TextIO, done: Callable[[int], None]) -> Iterator[str]:
    while lines := list(islice(source, LINES_AT_ONCE)):
        yield from lines
        done(sum(map(len, lines)))

"""`credit-monitor db`: the schema, and what is kept how long."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import config_option, load, open_reader, row_options
from monitor.cli.output import print_rows, progress
from monitor.cli.streams import verdict
from monitor.cli.table import Row
from monitor.errors import SchemaOutdated

if TYPE_CHECKING:
    from monitor.cli.db_copy import Begin, Copied
    from monitor.config import Settings

COLUMNS: Final = ("sort", "rows", "before")


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@config_option
def upgrade(config_file: Path | None) -> None:
    """Bring the schema up to date; a SQLite file is copied before."""
    from monitor.store import migrate  # noqa: PLC0415
    from monitor.store.writer import Store  # noqa: PLC0415

    settings = load(config_file)
    opened = Store(settings.database.url)
    try:
        done = migrate.upgrade(opened.engine)
    finally:
        opened.close()
    with verdict(0):
        if done.copy:
            click.echo(f"copied to {done.copy}")
        change = "already at" if done.before == done.after else f"{done.before or 'empty'} →"
        click.echo(f"{settings.database.shown_url}: {change} {done.after}")


@db.command(short_help="Print the schema's version.")
@config_option
def current(config_file: Path | None) -> None:
    """Print the schema's version; exit 75 when it is not the one this version needs."""
    from monitor.store import engines, migrate  # noqa: PLC0415

    settings = load(config_file)
    engine = engines.open_reader(settings.database.url)
    try:
        version, problem = migrate.current(engine) or "empty", None
        try:
            migrate.require_current(engine)
        except SchemaOutdated as error:
            problem = error
    finally:
        engine.dispose()
    with verdict(problem.exit_code if problem else 0):
        click.echo(f"{settings.database.shown_url}: {version}")
        if problem:
            click.echo(str(problem), err=True)


# --- retention --------------------------------------------------------------------------------------------------------


@db.command(short_help="Remove now what retention does not keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@row_options
def prune(config_file: Path | None, style: str, *, dry_run: bool) -> None:
    """Remove now what [retention] does not keep; a daemon does it by itself, and may run meanwhile."""
    from monitor.daemon import retention  # noqa: PLC0415

    settings = load(config_file)
    now = datetime.now(UTC)
    with open_reader(settings):
        portions = retention.expired_portions(settings, now)
    found: Counter[str] = Counter()
    for portion in portions:
        found[portion.kind.value] += portion.rows
    if not dry_run and found:
        found = _prune(settings, now, found.total())
    with verdict(0) if not dry_run else nullcontext():
        print_rows(_rows(found, _cutoffs(settings, now)), COLUMNS, style=style, zone=settings.timezone)


def _cutoffs(settings: "Settings", now: datetime) -> dict[str, datetime | None]:
    """What may be removed at all, and before when; None: never."""
    from monitor.daemon import retention  # noqa: PLC0415
    from monitor.store.pruning import Kind  # noqa: PLC0415

    before = retention.cutoffs(settings.retention, now)
    sorts = {
        Kind.SNAPSHOTS: before.raw,
        Kind.HOURS: before.hourly,
        Kind.DAYS: before.daily,
        Kind.CHECKS: before.raw,
        Kind.ATTEMPTS: before.raw,
    }
    return {sort.value: at for sort, at in sorts.items()}


def _prune(settings: "Settings", now: datetime, expected: int) -> Counter[str]:
    """Remove it; gives how many rows of each sort went."""
    from monitor.daemon import retention  # noqa: PLC0415
    from monitor.store.writer import Store  # noqa: PLC0415

    gone: Counter[str] = Counter()
    opened = Store(settings.database.url)
    try:
        with progress("removing", expected) as done:
            for portion, rows in retention.prune(opened, settings, now):
                gone[portion.kind.value] += rows
                done(rows)
    finally:
        opened.close()
    return gone


def _rows(found: Counter[str], before: dict[str, datetime | None]) -> Iterable[Row]:
    return ({"sort": sort, "rows": found[sort], "before": at} for sort, at in before.items())


# --- import -----------------------------------------------------------------------------------------------------------


LINES_AT_ONCE: Final = 1000


@db.command("import", short_help="Add balances of a CSV file to the history.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--organization",
    metavar="NAME",
    shell_complete=organization_names,
    help="Whose balances all of these are, whatever the file says.",
)
@config_option
def import_(file: Path, organization: str | None, config_file: Path | None) -> None:
    """Add the balances of a CSV FILE (columns taken_at, credits, organization) to the history; - is standard input."""
    from monitor.app import open_database  # noqa: PLC0415
    from monitor.importer import csv, insert, prepare  # noqa: PLC0415

    settings, name = load(config_file), csv.shown(file)
    with csv.open_text(file) as source:
        opened = open_database(settings)
        try:
            with open_reader(settings) as engine, progress("reading", _size(source)) as done:
                found = prepare(
                    _told(source, done), name, settings, engine, organization=organization, now=datetime.now(UTC)
                )
            with progress("importing", found.count) as done:
                count = insert(opened, settings, found, done)
        finally:
            opened.close()
    where = _count(len(found.balances), "organization")
    with verdict(0):
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


# --- a new name -------------------------------------------------------------------------------------------------------


@db.command(short_help="Join the history of OLD to that of NEW.")
@click.argument("old")
@click.argument("new")
@config_option
def rename(old: str, new: str, config_file: Path | None) -> None:
    """Join the history of OLD, which is watched no more, to that of NEW: balances, use, incidents, silences.

    Both are names of organizations, or of accounts: then of all that they watch.  No daemon may run meanwhile.
    """
    from monitor.cli import db_rename  # noqa: PLC0415

    settings = load(config_file)
    with verdict(0):
        for done in db_rename.rename(settings, old, new, at=datetime.now(UTC)):
            click.echo(f"{done.old} is {done.new} now: {_count(done.balances, 'balance')} joined")


# --- backup and copy --------------------------------------------------------------------------------------------------


@contextmanager
def _bar(label: str) -> "Iterator[Begin]":
    """A bar that begins when it is known how much there is to do."""
    with ExitStack() as stack:

        def begin(total: int) -> Callable[[int], None]:
            return stack.enter_context(progress(label, total))

        yield begin


@db.command(short_help="Write all of it to a new SQLite file.")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config_file: Path | None) -> None:
    """Write all of the database to FILE, a new SQLite database, while the daemon runs."""
    from monitor.cli import db_copy  # noqa: PLC0415

    settings = load(config_file)
    with _bar("backing up") as begin:
        done = db_copy.backup(settings, file, begin)
    with verdict(0):
        click.echo(f"{file}: {_copied(done)}, verified")


@db.command(short_help="Move all of it to another, empty database.")
@click.option("--to", "url", metavar="URL", help="An empty database: postgresql://… or sqlite:///….")
@click.option("--to-file", "file", type=click.File(), help="A file with its URL; - is standard input.")
@config_option
def copy(url: str | None, file: TextIO | None, config_file: Path | None) -> None:
    """Move on to another database: put everything into the empty one at URL, all of it or nothing.

    A password belongs into a file (--to-file), ~/.pgpass or PGPASSWORD: everybody here can read arguments.
    """
    from monitor.cli import db_copy  # noqa: PLC0415

    if (url is None) == (file is None):
        raise click.UsageError("expected --to URL or --to-file FILE")
    url = db_copy.given_url(url, file)
    settings = load(config_file)
    with _bar("copying") as begin:
        done = db_copy.copy(settings, url, begin)
    with verdict(0):
        click.echo(f"{done.shown_url}: {_copied(done)}, verified")
        click.echo(f'Now put it into the configuration, and start the daemon:\n\n[database]\nurl = "{done.shown_url}"')
        if done.shown_url != url:
            click.echo("(with the password, or without one and with ~/.pgpass)")


def _copied(done: "Copied") -> str:
    tables = sum(rows > 0 for rows in done.rows.values())
    return f"{sum(done.rows.values()):,} rows of {tables} tables"

"""`credit-monitor db`: the schema, and what is kept how long."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.importing import import_
from monitor.cli.moving import backup, copy
from monitor.cli.options import asking, config_option, load, reading
from monitor.cli.output import Row, show
from monitor.cli.progress import progress

if TYPE_CHECKING:
    from monitor.config import Settings

COLUMNS: Final = ("sort", "rows", "before")


@click.group()
def db() -> None:
    """Look after the database."""


for command in (import_, backup, copy):
    db.add_command(command)


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
        click.echo(f"{settings.database.shown_url}: {migrate.current(engine) or 'empty'}")
        migrate.require_current(engine)
    finally:
        engine.dispose()


# --- retention --------------------------------------------------------------------------------------------------------


@db.command(short_help="Remove now what retention does not keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@asking
def prune(config_file: Path | None, style: str, *, dry_run: bool) -> None:
    """Remove now what [retention] does not keep; a daemon does it by itself, and may run meanwhile."""
    from monitor.daemon import retention  # noqa: PLC0415

    settings = load(config_file)
    now = datetime.now(UTC)
    with reading(settings):
        portions = retention.removable(settings, now)
    found: Counter[str] = Counter()
    for portion in portions:
        found[portion.sort.value] += portion.rows
    if not dry_run and found:
        found = _prune(settings, now, found.total())
    show(_rows(found, _cutoffs(settings, now)), COLUMNS, style=style)


def _cutoffs(settings: "Settings", now: datetime) -> dict[str, datetime | None]:
    """What may be removed at all, and before when; None: never."""
    from monitor.daemon import retention  # noqa: PLC0415
    from monitor.store.pruning import Sort  # noqa: PLC0415

    before = retention.cutoffs(settings.retention, now)
    sorts = {
        Sort.SNAPSHOTS: before.raw,
        Sort.HOURS: before.hourly,
        Sort.DAYS: before.daily,
        Sort.CHECKS: before.raw,
        Sort.ATTEMPTS: before.raw,
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
                gone[portion.sort.value] += rows
                done(rows)
    finally:
        opened.close()
    return gone


def _rows(found: Counter[str], before: dict[str, datetime | None]) -> Iterable[Row]:
    return ({"sort": sort, "rows": found[sort], "before": at} for sort, at in before.items())

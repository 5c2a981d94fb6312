"""`credit-monitor db`: the schema."""

from pathlib import Path

import click

from monitor.cli.options import config_option, load


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@config_option
def upgrade(config_file: Path | None) -> None:
    """Bring the schema up to date; a SQLite file is copied before."""
    from monitor import migrate  # noqa: PLC0415
    from monitor.store import Store  # noqa: PLC0415

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


@db.command()
@config_option
def current(config_file: Path | None) -> None:
    """Print the schema's version; exit 75 when it is not the one this version needs."""
    from monitor import migrate, store  # noqa: PLC0415

    settings = load(config_file)
    engine = store.open_reader(settings.database.url)
    try:
        click.echo(f"{settings.database.shown_url}: {migrate.current(engine) or 'empty'}")
        migrate.require_current(engine)
    finally:
        engine.dispose()

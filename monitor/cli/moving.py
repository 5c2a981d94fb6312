"""`credit-monitor db backup` and `db copy`: all of the database, somewhere else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import config_option, load
from monitor.cli.progress import progress

if TYPE_CHECKING:
    from monitor.moving import Begin, Moved


@contextmanager
def _bar(label: str) -> "Iterator[Begin]":
    """A bar that begins when it is known how much there is to do."""
    with ExitStack() as stack:

        def begin(total: int) -> Callable[[int], None]:
            return stack.enter_context(progress(label, total))

        yield begin


@click.command(short_help="Write all of it to a new SQLite file.")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config_file: Path | None) -> None:
    """Write all of the database to FILE, a new SQLite database, while the daemon runs."""
    from monitor import moving  # noqa: PLC0415

    settings = load(config_file)
    with _bar("backing up") as begin:
        done = moving.backup(settings, file, begin)
    click.echo(f"{file}: {_rows(done)}, verified")


@click.command(short_help="Move all of it to another, empty database.")
@click.option("--to", "url", required=True, metavar="URL", help="An empty database: postgresql://… or sqlite:///….")
@config_option
def copy(url: str, config_file: Path | None) -> None:
    """Move on to another database: put everything into the empty one at URL, all of it or nothing."""
    from monitor import moving  # noqa: PLC0415

    settings = load(config_file)
    with _bar("copying") as begin:
        done = moving.copy(settings, url, begin)
    click.echo(f"{done.shown_url}: {_rows(done)}, verified")
    click.echo(f'Now put it into the configuration, and start the daemon:\n\n[database]\nurl = "{done.shown_url}"')
    if done.shown_url != url:
        click.echo("(with the password, or without one and with ~/.pgpass)")


def _rows(done: "Moved") -> str:
    tables = sum(rows > 0 for rows in done.rows.values())
    return f"{sum(done.rows.values()):,} rows of {tables} tables"

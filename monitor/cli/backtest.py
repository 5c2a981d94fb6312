"""What rules would have said: backtest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import When, in_zone, load, open_reader, require_period, row_options
from monitor.cli.output import print_rows
from monitor.cli.table import Row
from monitor.errors import UsageError
from monitor.rows.encode import format_hours

if TYPE_CHECKING:
    from monitor.backtest import ReplayedMessage
    from monitor.config import Settings

COLUMNS: Final = ("at", "organization", "rule", "reason", "severity", "credits", "runway_hours")
LEAST: Final = ("runway_hours", "credits", "severity")
NO_HISTORY: Final = "No history to replay."
Replay = tuple[
    Iterator["ReplayedMessage"], Callable[[], int]
]  # what would have been said, and of how many checks so far


@click.command(short_help="What rules would have said of your history.")
@click.argument("organization", required=False, shell_complete=organization_names)
@click.option("--since", type=When(), help="Judge from this instant, date or time ago (30d) on.")
@click.option("--until", type=When(), help="Before this instant, date or time ago.")
@click.option(
    "--input",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CSV file with the columns taken_at and credits, instead of the database.",
)
@click.option(
    "--organization",
    "named",
    metavar="NAME",
    shell_complete=organization_names,
    help="The organization; with --input, whose rules are taken.",
)
@row_options
def backtest(
    organization: str | None,
    since: datetime | None,
    until: datetime | None,
    listed: Path | None,
    named: str | None,
    config_file: Path | None,
    style: str,
) -> None:
    """What the rules of a configuration would have said of recorded history; sends and keeps nothing."""
    if organization and named and organization != named:
        raise UsageError(f"two organizations are named, {organization} and {named}; name one")
    name = named or organization
    settings = load(config_file)
    since, until = in_zone(since, settings.timezone), in_zone(until, settings.timezone)
    require_period(since, until)
    if listed is None:
        with _recorded(settings, name, since, until) as replay:
            _show(replay, settings, style)
    elif name is None:
        raise UsageError("--input needs --organization NAME: whose balances these are")
    else:
        _show(_listed(settings, listed, name, since, until), settings, style)


@contextmanager
def _recorded(
    settings: "Settings", name: str | None, since: datetime | None, until: datetime | None
) -> Iterator[Replay]:
    from monitor import backtest  # noqa: PLC0415

    with open_reader(settings) as engine:
        led = backtest.courses(engine, settings, name)
        said = backtest.replay(engine, led, since=since, until=until)
        yield said, lambda: sum(course.judged for course in led.values())


def _listed(settings: "Settings", path: Path, name: str, since: datetime | None, until: datetime | None) -> Replay:
    from monitor import backtest  # noqa: PLC0415
    from monitor.poll import named, rules_of  # noqa: PLC0415

    organization = named(settings, name)
    course = backtest.Course.begin(name, rules_of(settings, organization), unit=organization.unit)
    said = backtest.replay_snapshots(course, backtest.read_snapshots(path), since=since, until=until)
    return said, lambda: course.judged


def _show(replay: Replay, settings: "Settings", style: str) -> None:
    said, judged = replay
    first = list(islice(said, 1))  # only then is it known whether there is any history
    empty = f"Nothing would have been said of {judged():,} checks." if judged() else NO_HISTORY
    rows = map(_row, chain(first, said))
    print_rows(rows, COLUMNS, style=style, empty=empty, zone=settings.timezone, least=LEAST)
    if not judged() and style != "table":
        click.echo(NO_HISTORY, err=True)
    elif first:
        click.echo(f"{judged():,} checks replayed.", err=True)


def _row(one: "ReplayedMessage") -> Row:
    return {
        "at": one.at,
        "organization": one.organization,
        "rule": one.rule.value,
        "reason": one.reason.value,
        "severity": one.severity.label,
        "credits": one.credits,
        "runway_hours": format_hours(one.runway),
        "unit": one.unit,
    }

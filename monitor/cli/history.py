"""`credit-monitor history`: the recorded balances, with a picture of them where a person watches."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import Duration, When, in_zone, load, open_reader, require_period, row_options
from monitor.cli.output import print_rows, progress, say
from monitor.cli.sparkline import Traces
from monitor.cli.table import format_cell
from monitor.errors import UsageError
from monitor.rows.encode import Row, format_local

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.rows.recorded import Asked
    from monitor.store.writer import Engine

LEAST: Final = ("change", "snapshots", "runway_hours", "lowest", "highest")
LONG: Final = 1_000  # rows whose export is worth a progress bar
SHORTEST: Final = timedelta(minutes=1)  # that a picture shows
MOST_INCIDENTS: Final = 1_000
STEP: Final = 500  # rows between its movements


@click.command()
@click.argument("organization", required=False, shell_complete=organization_names)
@click.option("--since", type=When(), help="From this instant, date or time ago (7d) on.")
@click.option("--until", type=When(), help="Before this instant, date or time ago.")
@click.option("--every", type=Duration(), help="One row for each stretch of so long: last, lowest, highest.")
@click.option("--runway", "with_runway", is_flag=True, help="With the runway as it was to be foreseen then.")
@click.option("--svg", "picture", metavar="FILE", help="Draw one organization into FILE instead; - is standard output.")
@row_options
def history(
    organization: str | None,
    since: datetime | None,
    until: datetime | None,
    every: timedelta | None,
    picture: str | None,
    config_file: Path | None,
    style: str,
    *,
    with_runway: bool,
) -> None:
    """The recorded balances, oldest first."""
    settings = load(config_file)
    since, until = in_zone(since, settings.timezone), in_zone(until, settings.timezone)
    require_period(since, until)
    if picture is not None:
        if organization is None or every or with_runway:
            raise click.UsageError("--svg draws one organization, whose name it needs, without --every and --runway")
        with open_reader(settings) as engine:
            _write(_drawn(engine, settings, organization, since, until), picture)
        return
    from monitor.rows.recorded import Asked, history_rows  # noqa: PLC0415

    asked = Asked(organization, {"since": since, "until": until}, every, with_runway)
    with open_reader(settings) as engine:
        rows = history_rows(engine, asked)
        if every is None or with_runway:
            _tell_removed(engine, asked, settings.timezone)
        if style == "table":
            _show_table(rows, asked, settings.timezone)
        else:
            print_rows(_watched(rows, engine, asked), asked.columns, style=style)


def _drawn(engine: "Engine", settings: "Settings", name: str, since: datetime | None, until: datetime | None) -> str:
    """The course of one organization as SVG: of the period that is asked for, else of all that is recorded."""
    from monitor import query  # noqa: PLC0415
    from monitor.chart import draw  # noqa: PLC0415
    from monitor.message import format_amount  # noqa: PLC0415
    from monitor.web.courses import Period, read_course  # noqa: PLC0415

    ids = {each.id for each in query.find_organizations(engine, name)}
    found = [row for row in query.status(engine, watched_only=False) if row.id in ids]
    if len(found) > 1:
        raise UsageError(f"{name}: {len(found)} organizations have this name; expected the vendor's id of one")
    (row,) = found
    now = datetime.now(UTC)
    ends_at = min(until or now, now)
    begins_at = since or query.first_at(engine, row.id) or ends_at
    period = Period(min(begins_at, ends_at - SHORTEST), ends_at)
    course = read_course(
        engine,
        settings,
        row,
        period,
        now=now,
        runway=query.runways(engine, [row.id]).get(row.id),
        incidents=query.incidents(engine, organization=name, limit=MOST_INCIDENTS),
    )
    return draw(course, lambda amount: format_amount(amount, row.unit))


def _write(drawn: str, file: str) -> None:
    """Put it into a file, whole or not at all; one of that name is replaced, as a report is every month."""
    if file == "-":
        click.echo(drawn)
        return
    path = Path(file)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_text(drawn + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {(error.strerror or type(error).__name__).lower()}") from None
    finally:
        part.unlink(missing_ok=True)


def _show_table(rows: Iterator[Row], asked: "Asked", zone: tzinfo) -> None:
    """The rows, and where a person watches their picture."""
    traces = Traces.for_terminal(sys.stdout)
    print_rows(
        traces.following(rows, asked.at) if traces else rows, asked.columns, style="table", zone=zone, least=LEAST
    )
    for line in traces.lines() if traces else ():
        click.echo(line)


def _tell_removed(engine: "Engine", asked: "Asked", zone: tzinfo) -> None:
    """One line on standard error where retention has left less than what is asked for."""
    from monitor import query  # noqa: PLC0415

    gone = query.removed(engine, asked.organization, **asked.period)
    if not gone:
        return
    last = max(one.until for one in gone)
    of = "" if len(gone) == 1 else f" (of {len(gone)} organizations)"
    every = "1h" if all(one.hours for one in gone) else "1d"
    name = format_cell(gone[0].organization) if len(gone) == 1 else "retention"
    before = f"balances before {format_local(last, zone)}{of}"
    say(f"{name}: {before} are no longer kept one by one; --every {every} has them", err=True)


def _watched(rows: Iterator[Row], engine: "Engine", asked: "Asked") -> Iterator[Row]:
    """The rows, with a progress bar where a person waits for a long export."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        return rows
    from monitor import query  # noqa: PLC0415

    expected = query.expected_rows(engine, asked.organization, every=asked.every, **asked.period)
    return _with_bar(rows, expected) if expected >= LONG else rows


def _with_bar(rows: Iterator[Row], expected: int) -> Iterator[Row]:
    with progress("rows", expected) as done:
        for number, row in enumerate(rows, 1):
            yield row
            if number % STEP == 0:
                done(STEP)

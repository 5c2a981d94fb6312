"""Options that several commands share, and what they turn into."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor import durations
from monitor.cli.output import FORMATS, say
from monitor.errors import UsageError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from monitor.config import Settings
    from monitor.store.writer import Engine


PROVIDERS_VARIABLE: Final = "CREDIT_MONITOR_PROVIDERS"

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="The configuration file.",
)
format_option = click.option(
    "--format", "style", type=click.Choice(FORMATS), default="table", show_default=True, help="How rows are printed."
)


def row_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that prints rows."""
    return config_option(format_option(command))


provider_option = click.option(
    "--provider",
    "vendors",
    multiple=True,
    metavar="NAME",
    help="A vendor whose key is in its own variable (`credit-monitor providers` lists them); repeatable.",
)


def with_vendors(environ: Mapping[str, str], vendors: Sequence[str]) -> Mapping[str, str]:
    """The environment in which these vendors are named, with those that it names."""
    if not vendors:
        return environ
    named = [*environ.get(PROVIDERS_VARIABLE, "").split(","), *vendors]
    return {**environ, PROVIDERS_VARIABLE: ",".join(filter(None, named))}


def load(config_file: Path | None, vendors: Sequence[str] = ()) -> "Settings":
    """The settings, as the service has them when its file is in use, with their warnings on standard error."""
    from monitor import config  # noqa: PLC0415
    from monitor.config.service import service_environ  # noqa: PLC0415

    settings = config.load(config_file, service_environ(config_file, with_vendors(os.environ, vendors)))
    tell_warnings(settings)
    return settings


def tell_warnings(settings: "Settings") -> None:
    """What should be changed in the configuration although it works, on standard error."""
    for warning in settings.warnings:
        say(f"warning: {warning}", err=True)


@contextmanager
def open_reader(settings: "Settings") -> "Iterator[Engine]":
    """The database for reading, of the schema we know; none is made."""
    from monitor.store import engines, migrate  # noqa: PLC0415

    engine = engines.open_reader(settings.database.url)
    try:
        migrate.require_current(engine)
        yield engine
    finally:
        engine.dispose()


FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
LONGEST: Final = timedelta(days=365_000_000)  # a stretch of history may be as long as it likes


class When(click.ParamType[datetime]):
    """An instant (ISO 8601), a date, or how long ago ("7d"); naive where no offset is given: see `in_zone`."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if re.fullmatch(r"([0-9]+[a-z])+", value.strip()):
            try:
                return datetime.now(UTC) - timedelta(seconds=durations.seconds(value.strip()))
            except ValueError:
                self.fail(f"{value!r} is not an instant, a date or a time ago such as 7d", param, ctx)
            except OverflowError:
                self.fail(f"{value!r} lies before all calendars", param, ctx)
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is not an instant, a date or a time ago such as 7d", param, ctx)
        try:
            return at if at.tzinfo is None else at.astimezone(UTC)
        except OverflowError:
            self.fail(f"{value!r} lies outside all calendars", param, ctx)


class Duration(click.ParamType[timedelta]):
    """A length of time such as 90s, 5m, 1h30m, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return durations.parse(value.strip(), longest=LONGEST)
        except ValueError:
            self.fail(f"{value!r} is not a length of time such as 90s, 5m, 1h30m or 7d", param, ctx)


class SilenceId(click.ParamType[int]):
    """The number of a silence."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", str(value).strip()):
            self.fail(f"expected the ID that `silences` shows, not {value!r}", param, ctx)
        return int(value)


class Zone(click.ParamType["ZoneInfo"]):
    """A time zone such as Europe/Berlin."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "ZoneInfo":
        from monitor.config.fields import zone  # noqa: PLC0415

        try:
            return zone(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


def in_zone(at: datetime | None, zone: "ZoneInfo") -> datetime | None:
    """What was written without an offset is local time there; a date begins when the day does."""
    from monitor.query import begin  # noqa: PLC0415

    if at is None or at.tzinfo is not None:
        return at
    try:
        return begin(at.date(), zone) if at.time() == time() else at.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:  # at the ends of the calendar a day may begin before, or end after it
        return FIRST if at.year == 1 else LAST


def require_period(since: datetime | None, until: datetime | None) -> None:
    """`UsageError` for a period that ends before it begins."""
    if since and until and since >= until:
        raise UsageError(f"--since {since:%Y-%m-%dT%H:%M:%SZ} is not before --until {until:%Y-%m-%dT%H:%M:%SZ}")

"""`credit-monitor usage`: what was used, when, and what it cost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import When, Zone, in_zone, load, open_reader, require_period, row_options
from monitor.cli.output import print_rows
from monitor.cli.table import Percent, Row

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from monitor.query import By, Total, Usage

BY: Final = ("hour", "day", "week", "month")
SHARED_OUT: Final = "gap, shared out by time"
UNKNOWN: Final = "gap, not known"


@click.command(short_help="Credits used, topped up, and their cost.")
@click.argument("organization", required=False, shell_complete=organization_names)
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="One row for each of these.")
@click.option("--since", type=When(), help="From the bucket on that holds this instant, date or time ago.")
@click.option("--until", type=When(), help="Before this instant, date or time ago; its bucket is shown whole.")
@click.option("--tz", "zone", type=Zone(), metavar="ZONE", help="Whose days they are; default: `timezone`.")
@row_options
def usage(
    organization: str | None,
    by: str,
    since: datetime | None,
    until: datetime | None,
    zone: "ZoneInfo | None",
    config_file: Path | None,
    style: str,
) -> None:
    """Credits used and topped up, and what they cost; gaps in the data are shown as gaps."""
    from monitor import query  # noqa: PLC0415
    from monitor.rows.recorded import USAGE_KEYS, usage_row  # noqa: PLC0415

    settings = load(config_file)
    zone = zone or settings.timezone
    question = query.UsageQuestion(
        by=query.By(by),
        zone=zone,
        price=lambda row: settings.price(row.account, row.provider),
        now=datetime.now(UTC),
        since=in_zone(since, zone),
        until=in_zone(until, zone),
    )
    require_period(question.since, question.until)
    with open_reader(settings) as engine, query.usage(engine, question, organization) as answer:
        if style == "table":
            columns = ("organization", _column(question.by, zone), "used", "topped_up", "cost", "share", "gap")
            print_rows(_lines(answer, question.by, zone), columns, style=style, least=("share", "topped_up", "cost"))
        else:
            print_rows(map(usage_row, answer.rows), USAGE_KEYS, style=style)


# --- for people -------------------------------------------------------------------------------------------------------


def _lines(answer: "Usage", by: "By", zone: "ZoneInfo") -> Iterator[Row]:
    """The rows in local time, and below them their total."""
    empty = True
    for row in answer.rows:
        empty = False
        yield {
            "organization": row.organization,
            _column(by, zone): _begin(row.starts_at, by, zone),
            "used": row.used,
            "topped_up": row.topped_up,
            "cost": row.cost,
            "share": None if row.share is None else Percent(row.share),
            "gap": (UNKNOWN if row.used is None else SHARED_OUT) if row.gap else "",
            "unit": row.unit,
        }
    for total in () if empty else answer.totals:
        yield {
            "organization": _total_of(total, answer),
            _column(by, zone): "",
            "used": total.used,
            "topped_up": total.topped_up,
            "cost": total.cost,
            "share": Percent(1) if total.used else None,
            "gap": "",
            "unit": total.unit,
        }


def _total_of(total: "Total", answer: "Usage") -> str:
    """Whose total it is, where several vendors count in units of one name."""
    alike = [other for other in answer.totals if other.unit == total.unit]
    return f"total {total.vendor}" if len(alike) > 1 and total.vendor else "total"


def _column(by: "By", zone: "ZoneInfo") -> str:
    """The head of the column that has the buckets: whose days they are stands in it."""
    return f"{by.value} ({zone})"


def _begin(at: datetime, by: "By", zone: "ZoneInfo") -> str:
    """A bucket by its local beginning; an hour with its offset, for one may occur twice."""
    local = at.astimezone(zone)
    if by.value == "month":
        return f"{local:%Y-%m}"
    return local.isoformat(" ", "minutes") if by.value == "hour" else f"{local:%Y-%m-%d}"

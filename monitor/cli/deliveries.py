"""`credit-monitor deliveries`: who was told what, when, and after how many attempts."""

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from monitor.cli.options import When, in_zone, load, open_reader, row_options
from monitor.cli.output import print_rows

STATES: Final = ("pending", "delivered", "unknown", "folded", "given_up", "withdrawn")
LEAST: Final = ("notification", "ended_at", "severity", "last_error")
COLUMNS: Final = ("created_at", "channel", "subject", "rule", "severity", "reason", "state", "attempts", "last_error")


@click.command()
@click.argument("organization", required=False)
@click.option("--state", type=click.Choice(STATES), help="Only those that are so.")
@click.option("--since", type=When(), help="Written at this instant, date or time ago (7d), or later.")
@row_options
def deliveries(
    organization: str | None, state: str | None, since: datetime | None, config_file: Path | None, style: str
) -> None:
    """Who was told what, the newest last."""
    from monitor import query  # noqa: PLC0415
    from monitor.model import DeliveryState  # noqa: PLC0415
    from monitor.rows.recorded import delivery_rows  # noqa: PLC0415

    settings = load(config_file)
    asked = query.DeliveryQuestion(
        organization=organization,
        state=DeliveryState(state) if state else None,
        since=in_zone(since, settings.timezone),
    )
    with open_reader(settings) as engine:
        rows = delivery_rows(engine, asked)
    print_rows(rows, COLUMNS, style=style, empty="Nobody was told anything.", zone=settings.timezone, least=LEAST)

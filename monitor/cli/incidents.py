"""`credit-monitor incidents`: what went wrong, and when it ended."""

from pathlib import Path
from typing import Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import load, open_reader, row_options
from monitor.cli.output import print_rows

LEAST: Final = ("folded", "given_up", "pending", "credits", "resolved_at", "id")


@click.command()
@click.argument("organization", required=False, shell_complete=organization_names)
@click.option("--open", "open_only", is_flag=True, help="Only those that stand.")
@row_options
def incidents(organization: str | None, config_file: Path | None, style: str, *, open_only: bool) -> None:
    """What went wrong, the newest last."""
    from monitor.rows.recorded import incident_rows  # noqa: PLC0415

    settings = load(config_file)
    with open_reader(settings) as engine:
        rows = incident_rows(engine, open_only=open_only, organization=organization)
        columns = (
            "id",
            "subject",
            "rule",
            "worst_severity",
            "opened_at",
            "resolved_at",
            "credits",
            "pending",
            "folded",
            "given_up",
        )
        shown = (row | {"folded": len(row["folded"])} for row in rows) if style == "table" else rows
        print_rows(shown, columns, style=style, empty="No incident.", zone=settings.timezone, least=LEAST)

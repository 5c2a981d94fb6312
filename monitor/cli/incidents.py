"""`credit-monitor incidents`: what went wrong, and when it ended."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.options import load, open_reader, row_options
from monitor.cli.output import print_rows
from monitor.cli.table import Row

LEAST: Final = ("folded", "given_up", "pending", "credits", "resolved_at", "id")


@click.command()
@click.argument("organization", required=False, shell_complete=organization_names)
@click.option("--open", "open_only", is_flag=True, help="Only those that stand.")
@row_options
def incidents(organization: str | None, config_file: Path | None, style: str, *, open_only: bool) -> None:
    """What went wrong, the newest last."""
    from monitor import query  # noqa: PLC0415

    settings = load(config_file)
    with open_reader(settings) as engine:
        rows = query.incidents(engine, open_only=open_only, organization=organization)
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
        table = style == "table"
        shown = (_incident_row(row, table=table) for row in rows)
        print_rows(shown, columns, style=style, empty="No incident.", zone=settings.timezone, least=LEAST)


def _incident_row(row: Any, *, table: bool) -> Row:
    return {
        "id": row.id,
        "subject": row.organization or f"account {row.account}",
        "organization": row.organization,
        "account": row.account,
        "rule": row.rule.value,
        "severity": row.severity.label,
        "worst_severity": row.worst_severity.label,
        "opened_at": row.opened_at,
        "credits": row.opened_credits,
        "resolved_at": row.resolved_at,
        "resolved_credits": row.resolved_credits,
        "reason": row.resolved_reason or "opened",
        "delivered": row.delivered,
        "pending": row.pending,
        "given_up": row.given_up,
        "unknown": row.unknown,
        "folded": len(row.folds) if table else [asdict(fold) for fold in row.folds],
        "unit": row.unit or None,
    }

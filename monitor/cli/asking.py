"""The questions: history, incidents, organizations."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from monitor.cli.options import Duration, When, asking, load, reading, require_period
from monitor.cli.output import Row, hours, show
from monitor.errors import FetchError


@click.command()
@click.argument("organization", required=False)
@click.option("--since", type=When(), help="From this instant, date or time ago (7d) on.")
@click.option("--until", type=When(), help="Before this instant, date or time ago.")
@click.option("--every", type=Duration(), help="One row for each stretch of so long: last, lowest, highest.")
@click.option("--runway", "with_runway", is_flag=True, help="With the runway as it was to be foreseen then.")
@asking
def history(
    organization: str | None,
    since: datetime | None,
    until: datetime | None,
    every: timedelta | None,
    config_file: Path | None,
    style: str,
    *,
    with_runway: bool,
) -> None:
    """The recorded balances, oldest first."""
    from monitor import query  # noqa: PLC0415

    require_period(since, until)
    more = ("runway_hours",) * with_runway
    with reading(load(config_file)) as engine:
        if every:
            buckets = query.history_buckets(
                engine, organization, every=every, since=since, until=until, with_runway=with_runway
            )
            columns = ("organization", "starts_at", "credits", "lowest", "highest", "snapshots", *more)
            show((_bucket_row(row) | _runway(row, with_runway) for row in buckets), columns, style=style)
        else:
            ask = query.history_with_runway if with_runway else query.history
            rows = ask(engine, organization, since=since, until=until)
            columns = ("organization", "taken_at", "credits", "change", *more)
            show((_history_row(row) | _runway(row, with_runway) for row in rows), columns, style=style)


def _runway(row: Any, wanted: bool) -> dict[str, Any]:  # noqa: FBT001
    return {"runway_hours": hours(getattr(row.runway, "likely", None))} if wanted else {}


def _history_row(row: Any) -> dict[str, Any]:
    return {
        "organization": row.organization,
        "id": row.vendor_id,
        "account": row.account,
        "taken_at": row.taken_at,
        "credits": row.credits,
        "change": row.change,
    }


def _bucket_row(row: Any) -> dict[str, Any]:
    return {
        "organization": row.organization,
        "id": row.vendor_id,
        "account": row.account,
        "starts_at": row.starts_at,
        "credits": row.credits,
        "lowest": row.lowest,
        "highest": row.highest,
        "snapshots": row.snapshots,
    }


@click.command()
@click.argument("organization", required=False)
@click.option("--open", "open_only", is_flag=True, help="Only those that stand.")
@asking
def incidents(organization: str | None, config_file: Path | None, style: str, *, open_only: bool) -> None:
    """What went wrong, the newest last."""
    from monitor import query  # noqa: PLC0415

    with reading(load(config_file)) as engine:
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
            "given_up",
        )
        show(map(_incident_row, rows), columns, style=style, empty="No incident.")


def _incident_row(row: Any) -> Row:
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
    }


@click.command()
@asking
def organizations(config_file: Path | None, style: str) -> None:
    """What each account's key sees, asked of the vendor now."""
    import asyncio  # noqa: PLC0415

    from monitor.app import require_accounts, seen_organizations  # noqa: PLC0415

    settings = load(config_file)
    require_accounts(settings)
    seen = asyncio.run(seen_organizations(settings))
    names = {o.id: o.name for o in settings.organizations.values() if o.id}
    rows = [
        {
            "account": account,
            "id": one.id,
            "title": one.name,
            "default": one.is_default,
            "organization": names.get(one.id, one.id),
        }
        for account, found in seen.items()
        if not isinstance(found, FetchError)
        for one in found
    ]
    show(rows, ("account", "id", "title", "default", "organization"), style=style, empty="No organization.")
    failed = {account: found for account, found in seen.items() if isinstance(found, FetchError)}
    for account, error in failed.items():
        click.echo(f"account {account}: {error}", err=True)
    if failed:
        raise click.exceptions.Exit(69)

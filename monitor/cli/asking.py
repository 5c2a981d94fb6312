"""The questions: status, history, incidents, organizations."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.options import Duration, When, asking, load, require_period
from monitor.cli.output import Row, show
from monitor.errors import FetchError

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.store import Engine

RECENT: Final = timedelta(days=7)  # deliveries given up longer ago are history


@contextmanager
def _reader(settings: "Settings") -> "Iterator[Engine]":
    """The database for reading, of the schema we know."""
    from monitor import migrate, store  # noqa: PLC0415

    engine = store.open_reader(settings.database.url)
    try:
        migrate.require_current(engine)
        yield engine
    finally:
        engine.dispose()


@click.command()
@asking
def status(config_file: Path | None, style: str) -> None:
    """How every organization stands, as last recorded."""
    from monitor import query  # noqa: PLC0415

    settings = load(config_file)
    with _reader(settings) as engine:
        now = datetime.now(UTC)
        rows = [_status_row(one, now) for one in query.status(engine)]
        columns = ("organization", "credits", "change", "taken_at", "state", "open")
        show(rows, columns, style=style, empty="No organization yet; `credit-monitor check` finds them.")
        troubles = list(
            _troubles(settings, query.account_incidents(engine), query.channels(engine, since=now - RECENT))
        )
    for trouble in troubles:
        click.echo(trouble, err=style != "table")


def _status_row(one: Any, now: datetime) -> Row:
    return {
        "organization": one.name,
        "id": one.vendor_id,
        "title": one.title,
        "account": one.account,
        "credits": one.credits,
        "change": one.change,
        "taken_at": one.taken_at,
        "age_seconds": int((now - one.taken_at).total_seconds()) if one.taken_at else None,
        "state": one.state,
        "severity": one.incidents[0].severity.label if one.incidents else None,
        "open": [i.rule.value for i in one.incidents],
        "checked_at": one.checked_at,
        "failure": one.failure.value if one.failure else None,
        "failure_message": one.failure_message,
        "failing_since": one.failing_since,
    }


def _troubles(settings: "Settings", accounts: Any, queues: Any) -> Iterator[str]:
    """What is wrong beside the balances, a line each."""
    for one in accounts:
        since = f"{one.incident.opened_at:%Y-%m-%d %H:%M}Z"
        yield f"{one.incident.severity.label.upper()}: account {one.account}: the key is rejected since {since}"
    for queue in queues:
        if queue.retrying:
            yield f"channel {queue.channel}: {queue.pending} waiting, last error: {queue.last_error}"
        if queue.given_up:
            yield f"channel {queue.channel}: {queue.given_up} given up in the last 7 days: {queue.last_error}"
    if not settings.channels:
        yield "NOBODY WILL BE TOLD: no channel is configured; add [channels.NAME] with url_file"


@click.command()
@click.argument("organization", required=False)
@click.option("--since", type=When(), help="From this instant, date or time ago (7d) on.")
@click.option("--until", type=When(), help="Before this instant, date or time ago.")
@click.option("--every", type=Duration(), help="One row for each stretch of so long: last, lowest, highest.")
@asking
def history(
    organization: str | None,
    since: datetime | None,
    until: datetime | None,
    every: timedelta | None,
    config_file: Path | None,
    style: str,
) -> None:
    """The recorded balances, oldest first."""
    from monitor import query  # noqa: PLC0415

    require_period(since, until)
    with _reader(load(config_file)) as engine:
        if every:
            buckets = query.history_buckets(engine, organization, every=every, since=since, until=until)
            columns = ("organization", "starts_at", "credits", "lowest", "highest", "snapshots")
            show(map(_bucket_row, buckets), columns, style=style)
        else:
            rows = query.history(engine, organization, since=since, until=until)
            show(map(_history_row, rows), ("organization", "taken_at", "credits", "change"), style=style)


def _history_row(row: Any) -> Row:
    return {
        "organization": row.organization,
        "id": row.vendor_id,
        "account": row.account,
        "taken_at": row.taken_at,
        "credits": row.credits,
        "change": row.change,
    }


def _bucket_row(row: Any) -> Row:
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
    """What went wrong, the newest first."""
    from monitor import query  # noqa: PLC0415

    with _reader(load(config_file)) as engine:
        rows = query.incidents(engine, open_only=open_only, organization=organization)
        columns = ("id", "subject", "rule", "severity", "opened_at", "resolved_at", "credits", "pending", "given_up")
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

"""What is recorded: the rows of `history`, `usage`, `incidents` and `deliveries`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitor import query
from monitor.model import DeliveryState
from monitor.query import UsageRow
from monitor.rows.encode import format_hours
from monitor.store.writer import Engine

Row = dict[str, Any]

# --- history ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of the history: of whom, `since` and `until` when, in stretches or one by one."""

    organization: str | None
    period: dict[str, datetime | None]
    every: timedelta | None
    with_runway: bool = False

    @property
    def at(self) -> str:
        """The column that has the instants."""
        return "starts_at" if self.every else "taken_at"

    @property
    def figures(self) -> tuple[str, ...]:
        """The columns that have the balances."""
        return ("credits", "lowest", "highest", "snapshots") if self.every else ("credits", "change")

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of a table."""
        return ("organization", self.at, *self.figures, *("runway_hours",) * self.with_runway)


def history_rows(engine: Engine, asked: Asked) -> Iterator[Row]:
    """Return the balances that are asked for, oldest first; `UsageError` at once as `query.history`."""
    of, period = asked.organization, asked.period
    if asked.every:
        buckets = query.history_buckets(engine, of, every=asked.every, with_runway=asked.with_runway, **period)
        return (_history_row(bucket, asked) for bucket in buckets)
    ask = query.history_with_runway if asked.with_runway else query.history
    return (_history_row(balance, asked) for balance in ask(engine, of, **period))


def _history_row(balance: Any, asked: Asked) -> Row:
    row = {"organization": balance.organization, "id": balance.vendor_id, "account": balance.account}
    row |= {key: getattr(balance, key) for key in (asked.at, *asked.figures)}
    if asked.with_runway:
        row["runway_hours"] = format_hours(getattr(balance.runway, "likely", None))
    row["unit"] = balance.unit or None
    return row


# --- usage ------------------------------------------------------------------------------------------------------------

USAGE_KEYS: Final = (
    *("organization", "id", "account", "starts_at", "ends_at", "used"),
    *("topped_up", "cost", "share", "snapshots", "gap", "unit"),
)


def usage_row(usage: UsageRow) -> Row:
    """Return one bucket."""
    return {key: usage.vendor_id if key == "id" else getattr(usage, key) for key in USAGE_KEYS}


# --- incidents and deliveries -----------------------------------------------------------------------------------------


def incident_rows(
    engine: Engine,
    *,
    open_only: bool = False,
    organization: str | None = None,
    limit: int | None = None,
    skip: int | None = None,
) -> list[Row]:
    """Return incidents, the newest last; `limit` and `skip` as in `query.incidents`."""
    rows = query.incidents(engine, open_only=open_only, organization=organization, limit=limit, skip=skip)
    return [_incident_row(row) for row in rows]


def _incident_row(row: query.IncidentRow) -> Row:
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
        "folded": [asdict(fold) for fold in row.folds],
        "unit": row.unit or None,
    }


def delivery_rows(engine: Engine, asked: query.DeliveryQuestion) -> list[Row]:
    """Return who was told what, oldest first, each with every attempt."""
    return [_delivery_row(row) for row in query.deliveries(engine, asked)]


def _delivery_row(row: query.DeliveryRow) -> Row:
    return {
        "id": row.id,
        "notification": row.notification,
        "channel": row.channel,
        "subject": _subject(row),
        "organization": row.organization,
        "account": row.account,
        "incident": row.incident,
        "rule": row.rule.value if row.rule else None,
        "severity": row.severity.label,
        "reason": row.reason.value,
        "state": row.state.value,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "next_attempt_at": row.next_attempt_at if row.state is DeliveryState.PENDING else None,
        "last_error": row.last_error,
        "folded_into": row.folded_into,
        "tries": [asdict(attempt) for attempt in row.tries],
    }


def _subject(row: query.DeliveryRow) -> str:
    if row.incident is None:
        return "digest"
    return row.organization or (f"account {row.account}" if row.account else "every account")

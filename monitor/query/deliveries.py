"""Deliveries: who was told what, when, and after how many attempts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.model import DeliveryState, Reason, Rule, Severity, Subject
from monitor.query.organizations import find_organizations
from monitor.store.engines import transaction
from monitor.store.tables import accounts, attempts, incidents, notifications, organizations
from monitor.store.tables import deliveries as table


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt; `error` None: the service took the message."""

    ended_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One notification on its way to one channel; `incident` and `rule` are None for a digest."""

    id: int
    notification: str
    channel: str
    incident: int | None
    organization: str | None
    account: str | None
    rule: Rule | None
    severity: Severity
    reason: Reason
    state: DeliveryState
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    next_attempt_at: datetime
    last_error: str | None
    folded_into: str | None
    held: bool
    tries: tuple[Try, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuestion:
    """Which deliveries: of an organization, in a state; `after` an id, or the newest; `limit` at most."""

    organization: str | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    after: int | None = None  # an id: those behind it, the oldest of them
    before: int | None = None  # an id: those in front of it, the newest of them
    limit: int | None = None


def deliveries(engine: sa.Engine, asked: DeliveryQuestion) -> list[DeliveryRow]:
    """Return deliveries, the newest last; `UsageError` for an organization the database does not know."""
    forwards = asked.after is not None
    question = _wanted(engine, asked).order_by(table.c.id if forwards else table.c.id.desc()).limit(asked.limit)
    with transaction(engine) as tx:
        rows = tx.execute(question).all()
        tries = _tries(tx, [row.id for row in rows])
    return [_delivery(row, tries.get(row.id, ())) for row in (rows if forwards else reversed(rows))]


def _wanted(engine: sa.Engine, asked: DeliveryQuestion) -> sa.Select[Any]:
    question = _question()
    if asked.organization is not None:
        ids = [row.id for row in find_organizations(engine, asked.organization)]
        question = question.where(incidents.c.subject == Subject.ORGANIZATION, incidents.c.subject_id.in_(ids))
    if asked.state is not None:
        question = question.where(table.c.state == asked.state.value)
    if asked.since is not None:
        question = question.where(notifications.c.created_at >= asked.since)
    if asked.after is not None:
        question = question.where(table.c.id > asked.after)
    return question if asked.before is None else question.where(table.c.id < asked.before)


def _question() -> sa.Select[Any]:
    is_organization = (incidents.c.subject == Subject.ORGANIZATION) & (organizations.c.id == incidents.c.subject_id)
    is_account = (incidents.c.subject == Subject.ACCOUNT) & (accounts.c.id == incidents.c.subject_id)
    return sa.select(
        table,
        notifications.c.severity,
        notifications.c.reason,
        notifications.c.created_at,
        incidents.c.rule,
        organizations.c.name.label("organization"),
        sa.func.coalesce(organizations.c.account, accounts.c.name).label("account"),
    ).select_from(
        table.join(notifications, notifications.c.id == table.c.notification_id)
        .outerjoin(incidents, incidents.c.id == table.c.incident_id)
        .outerjoin(organizations, is_organization)
        .outerjoin(accounts, is_account)
    )


IDS_AT_ONCE = 10_000


def _tries(tx: sa.Connection, ids: Sequence[int]) -> dict[int, list[Try]]:
    tries = defaultdict(list)
    question = sa.select(attempts.c.delivery_id, attempts.c.ended_at, attempts.c.error).order_by(attempts.c.id)
    for start in range(0, len(ids), IDS_AT_ONCE):
        for row in tx.execute(question.where(attempts.c.delivery_id.in_(ids[start : start + IDS_AT_ONCE]))):
            tries[row.delivery_id].append(Try(row.ended_at, row.error))
    return tries


def _delivery(row: sa.Row[Any], tries: Sequence[Try]) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        notification=row.notification_id,
        channel=row.channel,
        incident=row.incident_id,
        organization=row.organization,
        account=row.account,
        rule=Rule(row.rule) if row.rule else None,
        severity=Severity.of(row.severity),
        reason=Reason(row.reason),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        created_at=row.created_at,
        ended_at=row.ended_at,
        next_attempt_at=row.next_attempt_at,
        last_error=row.last_error,
        folded_into=row.folded_into,
        held=row.held,
        tries=tuple(tries),
    )

"""Incidents, open and resolved, with how many of their deliveries arrived."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from monitor.model import DeliveryState, Rule, Severity, Subject
from monitor.query.organizations import find_organizations
from monitor.store.engines import transaction
from monitor.store.tables import accounts, deliveries, organizations
from monitor.store.tables import incidents as table


@dataclass(frozen=True, slots=True)
class Fold:
    """A notification that a channel is told with a newer one of its incident."""

    channel: str
    notification: str
    folded_into: str


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident; `resolved_at` is None while it is open.  Its deliveries are counted by state, over all channels."""

    id: int
    subject: Subject
    organization: str | None  # None when it concerns a whole account
    account: str | None
    rule: Rule
    severity: Severity  # now, or when it ended
    worst_severity: Severity
    opened_at: datetime
    opened_credits: Decimal | None
    resolved_at: datetime | None
    resolved_credits: Decimal | None
    resolved_reason: str | None
    delivered: int
    pending: int
    given_up: int
    unknown: int
    folds: tuple[Fold, ...]  # its notifications that a channel was, or is to be, told with a newer one
    unit: str | None = None  # of the organization's amounts


def incidents(
    engine: sa.Engine,
    *,
    open_only: bool = False,
    organization: str | None = None,
    limit: int | None = None,
    skip: int | None = None,
) -> list[IncidentRow]:
    """Return every incident, or those that are open, or those of one organization; the newest last.

    `limit` keeps the newest, or with `skip` the oldest after so many.  `UsageError` for an organization the database
    does not know.
    """
    if skip is None:
        question = _question().order_by(table.c.opened_at.desc(), table.c.id.desc()).limit(limit)
    else:
        question = _question().order_by(table.c.opened_at, table.c.id).offset(skip).limit(limit)
    if organization is not None:
        ids = [row.id for row in find_organizations(engine, organization)]
        question = question.where(table.c.subject == Subject.ORGANIZATION, table.c.subject_id.in_(ids))
    if open_only:
        question = question.where(table.c.resolved_at.is_(None))
    with transaction(engine) as connection:
        rows = connection.execute(question).all()
        folds = _folds(connection, since=min((row.id for row in rows), default=0))
    return [_incident(row, folds.get(row.id, [])) for row in (rows if skip is not None else reversed(rows))]


def _folds(tx: sa.Connection, *, since: int) -> dict[int, list[Fold]]:
    """Return what is folded into what, by incident, from an incident's id on."""
    columns = (deliveries.c[name] for name in ("incident_id", "channel", "notification_id", "folded_into"))
    mine = (deliveries.c.state == DeliveryState.FOLDED) & (deliveries.c.incident_id >= since)
    folds = defaultdict(list)
    for incident_id, *fold in tx.execute(sa.select(*columns).where(mine).order_by(deliveries.c.id)):
        folds[incident_id].append(Fold(*fold))
    return folds


def _question() -> sa.Select[tuple[Any, ...]]:
    is_organization = (table.c.subject == Subject.ORGANIZATION) & (organizations.c.id == table.c.subject_id)
    is_account = (table.c.subject == Subject.ACCOUNT) & (accounts.c.id == table.c.subject_id)
    return sa.select(
        table,
        organizations.c.name.label("organization"),
        organizations.c.unit,
        sa.func.coalesce(organizations.c.account, accounts.c.name).label("account"),
        *(_deliveries(state).label(state.value) for state in DeliveryState),
    ).select_from(table.outerjoin(organizations, is_organization).outerjoin(accounts, is_account))


def _deliveries(state: DeliveryState) -> sa.ScalarSelect[int]:
    of_this = (deliveries.c.incident_id == table.c.id) & (deliveries.c.state == state)
    return sa.select(sa.func.count()).select_from(deliveries).where(of_this).scalar_subquery()


def _incident(row: sa.Row[Any], folds: Iterable[Fold]) -> IncidentRow:
    return IncidentRow(
        id=row.id,
        subject=Subject(row.subject),
        organization=row.organization,
        account=row.account,
        rule=Rule(row.rule),
        severity=Severity.of(row.severity),
        worst_severity=Severity.of(row.worst_severity),
        opened_at=row.opened_at,
        opened_credits=row.opened_credits,
        resolved_at=row.resolved_at,
        resolved_credits=row.resolved_credits,
        resolved_reason=row.resolved_reason,
        delivered=row.delivered,
        pending=row.pending,
        given_up=row.given_up,
        unknown=row.unknown,
        folds=tuple(folds),
        unit=row.unit,
    )

"""Silences, active and ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.model import Rule, Severity, Subject
from monitor.store.engines import transaction
from monitor.store.tables import accounts, organizations
from monitor.store.tables import silences as table


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """One silence; `until` None is an acknowledgement, `rule` None every rule but `credential`."""

    id: int
    subject: Subject
    subject_id: int
    organization: str | None  # None when it concerns an account
    account: str | None
    rule: Rule | None
    up_to: Severity
    created_at: datetime
    until: datetime | None
    author: str
    reason: str
    ended_at: datetime | None  # None while it is active


def silences(engine: sa.Engine, *, at: datetime, active_only: bool = True) -> list[SilenceRow]:
    """Return the silences that are active at an instant, or all ever; the newest last."""
    is_organization = (table.c.subject == Subject.ORGANIZATION) & (organizations.c.id == table.c.subject_id)
    is_account = (table.c.subject == Subject.ACCOUNT) & (accounts.c.id == table.c.subject_id)
    question = sa.select(
        table,
        organizations.c.name.label("organization"),
        sa.func.coalesce(organizations.c.account, accounts.c.name).label("account"),
    ).select_from(table.outerjoin(organizations, is_organization).outerjoin(accounts, is_account))
    with transaction(engine) as connection:
        rows = [_silence(row, at) for row in connection.execute(question.order_by(table.c.id))]
    return [row for row in rows if not active_only or row.ended_at is None]


def _silence(row: sa.Row[Any], at: datetime) -> SilenceRow:
    has_expired = row.until_at is not None and row.until_at <= at
    return SilenceRow(
        id=row.id,
        subject=Subject(row.subject),
        subject_id=row.subject_id,
        organization=row.organization,
        account=row.account,
        rule=Rule(row.rule) if row.rule else None,
        up_to=Severity.of(row.up_to),
        created_at=row.created_at,
        until=row.until_at,
        author=row.author,
        reason=row.reason,
        ended_at=row.ended_at or (row.until_at if has_expired else None),
    )

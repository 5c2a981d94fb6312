"""Silences, with author and reason."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from monitor.model import Rule, Severity, Silence, Subject
from monitor.store.tables import silences
from monitor.store.writer import Transaction


def insert_silence(tx: Transaction, silence: Silence) -> int:
    """Insert a silence (its `id` is ignored); return its id."""
    values = {
        "subject": silence.subject.value,
        "subject_id": silence.subject_id,
        "rule": silence.rule.value if silence.rule else None,
        "up_to": silence.up_to.label,
        "created_at": silence.created_at,
        "until_at": silence.until,
        "author": silence.author,
        "reason": silence.reason,
    }
    return int(tx.execute(silences.insert().values(values).returning(silences.c.id)).scalar_one())


def active_silences(
    tx: Transaction, *, at: datetime, subject: Subject | None = None, ids: Collection[int] | None = None
) -> list[Silence]:
    """Return the silences that have not ended, oldest first."""
    query = sa.select(silences).where(
        silences.c.ended_at.is_(None), silences.c.until_at.is_(None) | (silences.c.until_at > at)
    )
    if subject is not None:
        query = query.where(silences.c.subject == subject.value)
    if ids is not None:
        query = query.where(silences.c.subject_id.in_(ids))
    return [_silence(row) for row in tx.execute(query.order_by(silences.c.id))]


def _silence(row: sa.Row[tuple[object, ...]]) -> Silence:
    return Silence(
        row.id,
        Subject(row.subject),
        row.subject_id,
        Rule(row.rule) if row.rule else None,
        Severity.of(row.up_to),
        row.created_at,
        row.until_at,
        row.author,
        row.reason,
    )


def end_silence(tx: Transaction, silence_id: int, *, at: datetime) -> bool:
    """End a silence; return False when no active one has this id."""
    row = silences.update().where(silences.c.id == silence_id, silences.c.ended_at.is_(None)).values(ended_at=at)
    return bool(tx.execute(row).rowcount)

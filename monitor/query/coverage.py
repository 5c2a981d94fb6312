"""How far back an organization's history reaches, and how finely: what retention has left."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from monitor.proration import HOUR, floor
from monitor.store.engines import transaction
from monitor.store.tables import balance_days, balance_hours, organizations, snapshots

ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
IDS_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is left of one organization with at least one snapshot; `ALWAYS` where nothing was removed."""

    first_at: datetime  # of the first snapshot ever
    newest_at: datetime
    raw_since: datetime  # from then on every snapshot is kept ...
    hours_since: datetime  # ... and from then on use by hour

    @property
    def is_whole(self) -> bool:
        """Whether nothing was removed."""
        return self.raw_since is ALWAYS


def coverage_of(tx: sa.Connection, ids: Sequence[int]) -> dict[int, Coverage]:
    """Return the coverage of each of these organizations; those without a snapshot are left out."""
    c = organizations.c
    question = sa.select(
        c.id,
        _earliest(balance_days, balance_days.c.starts_at),
        _earliest(balance_days, balance_days.c.first_at),
        c.newest_at,
        _earliest(snapshots, snapshots.c.taken_at),
        _earliest(balance_hours, balance_hours.c.starts_at),
    )
    rows = (
        row
        for start in range(0, len(ids), IDS_AT_ONCE)
        for row in tx.execute(question.where(c.id.in_(ids[start : start + IDS_AT_ONCE]), c.newest_at.is_not(None)))
    )
    return {row[0]: _coverage(*row[1:]) for row in rows}


def _earliest(table: sa.Table, column: sa.Column[datetime]) -> sa.ScalarSelect[datetime]:
    """Select the column's value in an organization's first row, found by key."""
    mine = table.c.organization_id == organizations.c.id
    by_time = list(table.primary_key)[1]
    return sa.select(column).where(mine).order_by(by_time).limit(1).scalar_subquery()


def _coverage(
    day: datetime, first_at: datetime, newest_at: datetime, raw_at: datetime | None, hour_at: datetime | None
) -> Coverage:
    first_at = max(first_at, day)  # where days were removed the first that stays is marked just before its beginning
    raw_at = raw_at or newest_at
    if raw_at <= first_at:
        return Coverage(first_at, newest_at, ALWAYS, ALWAYS)
    hours = raw_at if hour_at is None else min(hour_at, raw_at)
    return Coverage(first_at, newest_at, raw_at, ALWAYS if hours <= floor(first_at, HOUR) else hours)


def first_at(engine: sa.Engine, organization_id: int) -> datetime | None:
    """Return when the first snapshot of an organization was taken; None where there is none."""
    with transaction(engine) as tx:
        known = coverage_of(tx, [organization_id])
    return known[organization_id].first_at if known else None

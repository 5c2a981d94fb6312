"""What is left of raw history: for whom a part of what is asked for is gone, and how many rows to expect."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.proration import DAY, floor
from monitor.query.coverage import Kept, kept
from monitor.query.organizations import wanted_organizations
from monitor.store.engines import transaction
from monitor.store.tables import balance_days


@dataclass(frozen=True, slots=True)
class Removed:
    """Snapshots of an organization before `until` are no longer kept one by one; `hours` is whether hours are."""

    organization: str
    until: datetime
    hours: bool


def removed(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Removed]:
    """The organizations of which a part of this period is gone; `UsageError` for an unknown one."""
    names = {row.id: row.name for row in wanted_organizations(engine, organization)}
    with transaction(engine) as tx:
        found = kept(tx, list(names))
    gone = []
    for id_, one in found.items():
        begins = max(since or one.first_at, one.first_at)
        if begins < one.raw_since and (until is None or until > one.first_at):
            gone.append(Removed(names[id_], one.raw_since, floor(begins, DAY) >= floor(one.hours_since, DAY)))
    return gone


def expected_rows(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    every: timedelta | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """About how many rows history has, found without reading it."""
    wanted = [row.id for row in wanted_organizations(engine, organization)]
    with transaction(engine) as tx:
        found = kept(tx, wanted)
        if every:
            return sum(_stretches(one, every, since, until) for one in found.values())
        whole = [id_ for id_, one in found.items() if one.is_whole]
        parts = [([id_], one.raw_since) for id_, one in found.items() if not one.is_whole]
        return sum(_snapshots(tx, ids, max(since or begins, begins), until) for ids, begins in parts) + _snapshots(
            tx, whole, since, until
        )


def _stretches(one: Kept, every: timedelta, since: datetime | None, until: datetime | None) -> int:
    begins, ends = max(since or one.first_at, one.first_at), min(until or one.newest_at, one.newest_at)
    return max(0, (ends - begins) // every + 1)


def _snapshots(tx: sa.Connection, ids: Sequence[int], since: datetime | None, until: datetime | None) -> int:
    c = balance_days.c
    question = sa.select(sa.func.coalesce(sa.func.sum(c.snapshots), 0)).where(c.organization_id.in_(ids))
    question = question.where(c.starts_at >= floor(since, DAY)) if since else question
    return int(tx.execute(question.where(c.starts_at < until) if until else question).scalar_one())

"""How long credits last and how many were used, from what is recorded."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

import sqlalchemy as sa

from monitor.forecast import Estimator, Runway, Unknown
from monitor.proration import DAY, HOUR, floor
from monitor.query.amounts import by_days
from monitor.query.coverage import Kept, kept
from monitor.store import snapshots
from monitor.store.engines import transaction
from monitor.store.organizations import load_usage
from monitor.store.tables import organizations

MEMORY: Final = timedelta(days=28)  # of snapshots that a forecast is made from when nothing of it is kept


@dataclass(frozen=True, slots=True)
class Used:
    """Credits used and topped up within a period."""

    used: Decimal
    topped_up: Decimal


def runways(engine: sa.Engine, ids: Collection[int]) -> dict[int, Runway | Unknown]:
    """The forecast of each of these organizations, from its last snapshot on; those without one are left out."""
    c = organizations.c
    question = sa.select(c.id, c.taken_at).where(c.id.in_(ids), c.taken_at.is_not(None))
    with transaction(engine) as connection:
        return {row.id: _runway(connection, row.id, row.taken_at) for row in connection.execute(question).all()}


def _runway(connection: sa.Connection, organization_id: int, taken_at: datetime) -> Runway | Unknown:
    text, kept_at = load_usage(connection, organization_id)
    usage = Estimator.load(text) if text else Estimator()
    since = kept_at if text and kept_at else taken_at - MEMORY
    for snapshot in snapshots.snapshots_after(connection, organization_id, since, until=taken_at):
        usage.add(snapshot)
    return usage.runway()


def used_within(engine: sa.Engine, ids: Collection[int], *, since: datetime, until: datetime) -> dict[int, Used]:
    """Every fall and every rise after `since`, up to `until`; organizations without two snapshots are left out.

    Where retention has removed snapshots of the period, it begins with the whole hour (or, if those are gone too, the
    whole UTC day) that `since` is in.
    """
    with transaction(engine) as tx:
        found = {
            id_: _used(tx, id_, since, until) if one.raw_since <= since else _used_of_kept(tx, id_, one, since, until)
            for id_, one in kept(tx, list(ids)).items()
        }
    return {id_: used for id_, used in found.items() if used}


def _used(tx: sa.Connection, organization_id: int, since: datetime, until: datetime) -> Used | None:
    within = snapshots.snapshots_after(tx, organization_id, since, until=until)
    before = snapshots.snapshot_before(tx, organization_id, since)
    if not within or before is None or before == within[-1]:
        return None
    changes = [after.credits - earlier.credits for earlier, after in pairwise([before, *within])]
    return Used(
        sum((-one for one in changes if one < 0), Decimal(0)), sum((one for one in changes if one > 0), Decimal(0))
    )


def _used_of_kept(tx: sa.Connection, organization_id: int, one: Kept, since: datetime, until: datetime) -> Used | None:
    if one.newest_at <= max(since, one.first_at):
        return None
    ends = [floor(since, HOUR if one.hours_since <= since else DAY), until]
    (_, (amount,)) = next(by_days(tx, [organization_id], ends, removed=[organization_id]))
    return Used(amount.used, amount.topped_up)

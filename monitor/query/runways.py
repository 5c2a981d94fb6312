"""Runways and the use within a period, from what is recorded."""

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
from monitor.query.coverage import Coverage, coverage_of
from monitor.store import snapshots
from monitor.store.engines import transaction
from monitor.store.organizations import load_usage
from monitor.store.tables import organizations

MEMORY: Final = timedelta(days=28)  # of snapshots that a forecast is made from when its state is not stored


@dataclass(frozen=True, slots=True)
class Used:
    """Credits used and topped up within a period."""

    used: Decimal
    topped_up: Decimal


def runways(engine: sa.Engine, ids: Collection[int]) -> dict[int, Runway | Unknown]:
    """Return the forecast of each organization from its last snapshot on; those without a snapshot are left out."""
    c = organizations.c
    question = sa.select(c.id, c.taken_at).where(c.id.in_(ids), c.taken_at.is_not(None))
    with transaction(engine) as tx:
        return {row.id: _runway(tx, row.id, row.taken_at) for row in tx.execute(question).all()}


def _runway(tx: sa.Connection, organization_id: int, taken_at: datetime) -> Runway | Unknown:
    text, usage_at = load_usage(tx, organization_id)
    estimator = Estimator.load(text) if text else Estimator()
    since = usage_at if text and usage_at else taken_at - MEMORY
    for snapshot in snapshots.snapshots_after(tx, organization_id, since, until=taken_at):
        estimator.add(snapshot)
    return estimator.runway()


def used_within(engine: sa.Engine, ids: Collection[int], *, since: datetime, until: datetime) -> dict[int, Used]:
    """Return the use after `since`, up to `until`, by organization; those without two snapshots are left out.

    Where retention has removed snapshots of the period, it begins with the whole hour (or, if those are gone too, the
    whole UTC day) that `since` is in.
    """
    with transaction(engine) as tx:
        used = {
            id_: _used(tx, id_, since, until)
            if coverage.raw_since <= since
            else _used_of_rollups(tx, id_, coverage, since, until)
            for id_, coverage in coverage_of(tx, list(ids)).items()
        }
    return {id_: amounts for id_, amounts in used.items() if amounts}


def _used(tx: sa.Connection, organization_id: int, since: datetime, until: datetime) -> Used | None:
    within = snapshots.snapshots_after(tx, organization_id, since, until=until)
    before = snapshots.snapshot_before(tx, organization_id, since)
    if not within or before is None or before == within[-1]:
        return None
    changes = [after.credits - earlier.credits for earlier, after in pairwise([before, *within])]
    falls, rises = [-change for change in changes if change < 0], [change for change in changes if change > 0]
    return Used(sum(falls, Decimal(0)), sum(rises, Decimal(0)))


def _used_of_rollups(
    tx: sa.Connection, organization_id: int, coverage: Coverage, since: datetime, until: datetime
) -> Used | None:
    if coverage.newest_at <= max(since, coverage.first_at):
        return None
    borders = [floor(since, HOUR if coverage.hours_since <= since else DAY), until]
    (_, (amount,)) = next(by_days(tx, [organization_id], borders, removed=[organization_id]))
    return Used(amount.used, amount.topped_up)

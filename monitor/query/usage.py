"""How long credits last and how many were used, from what is recorded."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

import sqlalchemy as sa

from monitor import store
from monitor.forecast import Runway, Unknown, Usage
from monitor.store.engines import transaction
from monitor.tables import organizations

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
    text, kept_at = store.kept_usage(connection, organization_id)
    usage = Usage.load(text) if text else Usage()
    since = kept_at if text and kept_at else taken_at - MEMORY
    for snapshot in store.snapshots_after(connection, organization_id, since, until=taken_at):
        usage.add(snapshot)
    return usage.runway()


def used_within(engine: sa.Engine, ids: Collection[int], *, since: datetime, until: datetime) -> dict[int, Used]:
    """Every fall and every rise after `since`, up to `until`; organizations without two snapshots are left out."""
    with transaction(engine) as connection:
        found = {id_: _used(connection, id_, since=since, until=until) for id_ in ids}
    return {id_: used for id_, used in found.items() if used}


def _used(connection: sa.Connection, organization_id: int, *, since: datetime, until: datetime) -> Used | None:
    within = store.snapshots_after(connection, organization_id, since, until=until)
    before = store.snapshot_before(connection, organization_id, since)
    if not within or before is None or before == within[-1]:
        return None
    changes = [after.credits - earlier.credits for earlier, after in pairwise([before, *within])]
    return Used(
        sum((-one for one in changes if one < 0), Decimal(0)), sum((one for one in changes if one > 0), Decimal(0))
    )

"""The balances of one organization, `video`, and what the store makes of them: days, hours and what is left."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from filled import NOON

from monitor.model import Snapshot
from monitor.proration import DAY, HOUR, prorate
from monitor.store import pruning, rollups
from monitor.store.pruning import Cutoffs, Kind
from monitor.store.tables import balance_days, balance_hours, snapshots

VIDEO = 2  # has no snapshot in `fill`


def taken(minutes: float, balance: float) -> tuple[int, Snapshot]:
    return VIDEO, Snapshot(NOON + timedelta(minutes=minutes), Decimal(balance))


def rows(tx: sa.Connection, table: sa.Table) -> list[Any]:
    return list(tx.execute(sa.select(table).order_by(*table.primary_key)).all())


def left(tx: sa.Connection) -> list[Snapshot]:
    c = snapshots.c
    mine = sa.select(c.taken_at, c.credits).where(c.organization_id == VIDEO).order_by(c.taken_at)
    return [Snapshot(*row) for row in tx.execute(mine)]


def by_hour(tx: sa.Connection) -> dict[datetime, tuple[Decimal, Decimal]]:
    """Use and top-ups of each hour in which there were any: what is kept, and the changes between what is left."""
    found: dict[datetime, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    shares = [
        (row.starts_at, row.used, row.topped_up) for row in rows(tx, balance_hours) if row.organization_id == VIDEO
    ]
    for before, after in pairwise(left(tx)):
        shares += prorate(before, after, HOUR)
    for starts_at, used, topped_up in shares:
        found[starts_at][0] += used
        found[starts_at][1] += topped_up
    return {at: (used, topped_up) for at, (used, topped_up) in found.items() if used or topped_up}


def remove_all(tx: sa.Connection, cutoffs: Cutoffs) -> dict[Kind, int]:
    """Remove everything in one transaction; return how many rows of each sort."""
    gone: dict[Kind, int] = defaultdict(int)
    while portions := list(pruning.expired_portions(tx, cutoffs)):
        for portion in portions:
            while removed := pruning.delete_slice(tx, portion):
                gone[portion.kind] += removed
    return gone


def days(tx: sa.Connection) -> list[tuple[object, ...]]:
    """What is kept; a day that has no snapshot and no use says nothing."""
    c = balance_days.c
    rows = tx.execute(sa.select(balance_days).where(c.organization_id == VIDEO).order_by(c.starts_at))
    return [tuple(row) for row in rows if row.snapshots or row.used or row.topped_up]


def expected(tx: sa.Connection) -> list[tuple[object, ...]]:
    """The same from all snapshots at once."""
    c = snapshots.c
    rows = tx.execute(sa.select(c.taken_at, c.credits).where(c.organization_id == VIDEO).order_by(c.taken_at))
    days = rollups.Rollups(DAY)
    points = [Snapshot(*row) for row in rows]
    for point in points:
        days.add_snapshot(VIDEO, point)
    for before, after in pairwise(points):
        days.prorate(VIDEO, before, after)
    values = [tuple(rollups.row_of(*key, day).values()) for key, day in sorted(days.rows.items())]
    return [row for row in values if row[4] or row[2] or row[3]]

"""Join the history of an organization to that of another name of it: a key under a new account, a relay, a new name."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from monitor.errors import UsageError
from monitor.model import Snapshot, Subject
from monitor.proration import DAY, HOUR
from monitor.store.organizations import OrganizationRow
from monitor.store.rollups import Rollups
from monitor.store.tables import balance_days, balance_hours, checks, incidents, organizations, silences, snapshots
from monitor.store.writer import Transaction

ROLLUPS = ((balance_days, DAY), (balance_hours, HOUR))
OF_ONE = (checks.c.organization_id, snapshots.c.organization_id)


def join_history(tx: Transaction, old: OrganizationRow, new: OrganizationRow) -> int:
    """Move everything of `old` to `new`, and remove `old`; return how many balances moved.

    `UsageError` where both have balances of one time, or in different units.  What stands of `new` has ended before.
    """
    if old.unit != new.unit and "" not in {old.unit, new.unit}:
        raise UsageError(f"{old.name} is counted in {old.unit}, and {new.name} in {new.unit}: they are two")
    before, after = _ends(tx, old.id), _ends(tx, new.id)
    if before and after and before[0] <= after[1] and after[0] <= before[1]:
        raise UsageError(
            f"{old.name} and {new.name} both have balances from {max(before[0], after[0]):%Y-%m-%d %H:%M}Z"
            f" to {min(before[1], after[1]):%Y-%m-%d %H:%M}Z: they are two"
        )
    bridge = _bridge(tx, (old.id, new.id), (before, after))
    for table, step in ROLLUPS:
        _move_rollups(tx, table, step, old.id, new.id)
    moved = 0
    for column in OF_ONE:
        rows = tx.execute(column.table.update().where(column == old.id).values(organization_id=new.id)).rowcount
        moved = rows if column.table is snapshots else moved
    for table in (incidents, silences):
        mine = (table.c.subject == Subject.ORGANIZATION) & (table.c.subject_id == old.id)
        tx.execute(table.update().where(mine).values(subject_id=new.id))
    _join_current_rows(tx, old.id, new.id, bridge)
    tx.execute(organizations.delete().where(organizations.c.id == old.id))
    return moved


def _ends(tx: Transaction, id_: int) -> tuple[datetime, datetime] | None:
    """Return when the first and the last balance were taken, those among them that retention has removed."""
    of_raw = tx.execute(_min_max(snapshots.c.taken_at, snapshots.c.taken_at, id_)).one()
    of_days = tx.execute(_min_max(balance_days.c.first_at, balance_days.c.last_at, id_)).one()
    found: list[datetime] = [at for at in (*of_raw, *of_days) if at is not None]
    return (min(found), max(found)) if found else None


def _min_max(first: sa.Column[datetime], last: sa.Column[datetime], id_: int) -> Any:
    return sa.select(sa.func.min(first), sa.func.max(last)).where(first.table.c.organization_id == id_)


Ends = tuple[datetime, datetime] | None


def _bridge(tx: Transaction, ids: tuple[int, int], ends: tuple[Ends, Ends]) -> tuple[Snapshot, Snapshot] | None:
    """Return the last balance of the earlier and the first of the later, and add the change between to the days."""
    if ends[0] is None or ends[1] is None:
        return None
    earlier, later = (0, 1) if ends[0] < ends[1] else (1, 0)
    last, first = _end(tx, ids[earlier], newest=True), _end(tx, ids[later], newest=False)
    if last is None or first is None:
        return None
    days = Rollups(DAY)
    days.prorate(ids[1], last, first)
    days.add_to(tx, balance_days)
    return last, first


def _end(tx: Transaction, id_: int, *, newest: bool) -> Snapshot | None:
    c = snapshots.c
    order = c.taken_at.desc() if newest else c.taken_at
    row = tx.execute(sa.select(c.taken_at, c.credits).where(c.organization_id == id_).order_by(order).limit(1)).first()
    return Snapshot(*row) if row else None


def _move_rollups(tx: Transaction, table: sa.Table, step: timedelta, old: int, new: int) -> None:
    """Move rollups; one that both have is added up."""
    rollups = Rollups(step)
    shared = sa.select(table.c.starts_at).where(table.c.organization_id == new)
    for row in tx.execute(sa.select(table).where(table.c.organization_id == old, table.c.starts_at.in_(shared))).all():
        rollup = rollups.at(new, row.starts_at)
        rollup.used, rollup.topped_up, rollup.snapshots = row.used, row.topped_up, row.snapshots
        rollup.first = Snapshot(row.first_at, row.first) if row.first_at else None
        rollup.last = Snapshot(row.last_at, row.last) if row.last_at else None
        rollup.lowest, rollup.highest = row.lowest, row.highest
    twice = list(rollups.rows)
    rollups.add_to(tx, table)
    if twice:
        starts = [starts_at for _, starts_at in twice]
        tx.execute(table.delete().where(table.c.organization_id == old, table.c.starts_at.in_(starts)))
    tx.execute(table.update().where(table.c.organization_id == old).values(organization_id=new))


def _join_current_rows(tx: Transaction, old: int, new: int, bridge: tuple[Snapshot, Snapshot] | None) -> None:
    c = organizations.c
    rows = {row.id: row for row in tx.execute(sa.select(organizations).where(c.id.in_([old, new])))}
    before, after = rows[old], rows[new]
    change = bridge[1].credits - bridge[0].credits if bridge else 0
    values = {
        "used": before.used + after.used - min(change, 0),
        "topped_up": before.topped_up + after.topped_up + max(change, 0),
        "newest_at": max((at for at in (before.newest_at, after.newest_at) if at), default=None),
        "unit": after.unit or before.unit,
        "title": after.title or before.title,
        "usage": None,  # the forecast is made again from what is recorded
        "usage_at": None,
    }
    if after.taken_at is None:
        names = ("credits", "taken_at", "previous_credits", "previous_at")
        values |= {name: getattr(before, name) for name in names}
    elif after.previous_at is None and bridge and bridge[1].taken_at == after.taken_at:
        values |= {"previous_credits": bridge[0].credits, "previous_at": bridge[0].taken_at}
    if after.top_up_at is None:
        values |= {"top_up_credits": before.top_up_credits, "top_up_at": before.top_up_at}
    tx.execute(organizations.update().where(c.id == new).values(values))

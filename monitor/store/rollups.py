"""Days (and hours) of use: each snapshot adds its share to the days it concerns, in whatever order snapshots arrive.

Refuses to decide how long anything is kept; `retention` does.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import Snapshot
from monitor.proration import DAY, floor, parts
from monitor.store.bulk import put_rows
from monitor.store.tables import balance_days, organizations, snapshots
from monitor.store.writer import Transaction, insert

Key = tuple[int, datetime]  # organization, beginning
_C: Final = snapshots.c
MANY: Final = 1000  # rows that PostgreSQL takes in quicker in another way


@dataclass(slots=True)
class Stretch:
    """What is known of one stretch of time; balances are None where no snapshot was taken in it."""

    used: Decimal = Decimal(0)
    topped_up: Decimal = Decimal(0)
    snapshots: int = 0
    first: Snapshot | None = None
    last: Snapshot | None = None
    lowest: Decimal | None = None
    highest: Decimal | None = None

    def see(self, snapshot: Snapshot) -> None:
        """One more balance in it."""
        self.snapshots += 1
        if self.first is None or snapshot.taken_at < self.first.taken_at:
            self.first = snapshot
        if self.last is None or snapshot.taken_at > self.last.taken_at:
            self.last = snapshot
        self.lowest = snapshot.credits if self.lowest is None else min(self.lowest, snapshot.credits)
        self.highest = snapshot.credits if self.highest is None else max(self.highest, snapshot.credits)


@dataclass(slots=True)
class Stretches:
    """What a number of snapshots adds to the stretches of `step` of their organizations."""

    step: timedelta
    found: dict[Key, Stretch] = field(default_factory=dict)

    def at(self, organization_id: int, starts_at: datetime) -> Stretch:
        """The stretch of an organization that begins then."""
        key = (organization_id, starts_at)
        stretch = self.found.get(key)
        if stretch is None:
            stretch = self.found[key] = Stretch()
        return stretch

    def see(self, organization_id: int, snapshot: Snapshot) -> None:
        """One more balance."""
        self.at(organization_id, floor(snapshot.taken_at, self.step)).see(snapshot)

    def share_out(self, organization_id: int, before: Snapshot, after: Snapshot, *, sign: int = 1) -> None:
        """Add (or with -1 take away) the change between two neighbours."""
        starts_at = floor(before.taken_at, self.step)
        if after.taken_at - starts_at <= self.step:  # nearly always
            stretch, change = self.at(organization_id, starts_at), sign * (after.credits - before.credits)
            if after.credits < before.credits:
                stretch.used -= change
            else:
                stretch.topped_up += change
            return
        for starts_at, used, topped_up in parts(before, after, self.step):
            stretch = self.at(organization_id, starts_at)
            stretch.used += sign * used
            stretch.topped_up += sign * topped_up

    def add_to(self, tx: Transaction, table: sa.Table) -> None:
        """Add all of it to what is kept."""
        rows = [_values(*key, stretch) for key, stretch in sorted(self.found.items(), key=lambda item: item[0])]
        if rows:
            tx.execute(_adding(tx.dialect.name, table), rows)


def _values(organization_id: int, starts_at: datetime, one: Stretch) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "starts_at": starts_at,
        "used": one.used,
        "topped_up": one.topped_up,
        "snapshots": one.snapshots,
        "first": one.first.credits if one.first else None,
        "first_at": one.first.taken_at if one.first else None,
        "last": one.last.credits if one.last else None,
        "last_at": one.last.taken_at if one.last else None,
        "lowest": one.lowest,
        "highest": one.highest,
    }


@cache
def _adding(dialect: str, table: sa.Table) -> Any:
    """An INSERT that adds to the row that is there."""
    new = insert(dialect, table)
    c, n = table.c, new.excluded

    def better(name: str, *, by: str, is_better: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        return sa.case((n[by].is_(None), c[name]), (c[by].is_(None) | is_better, n[name]), else_=c[name])

    return new.on_conflict_do_update(
        index_elements=[c.organization_id, c.starts_at],
        set_={
            **{name: c[name] + n[name] for name in ("used", "topped_up", "snapshots")},
            **{name: better(name, by="first_at", is_better=n.first_at < c.first_at) for name in ("first", "first_at")},
            **{name: better(name, by="last_at", is_better=n.last_at > c.last_at) for name in ("last", "last_at")},
            "lowest": better("lowest", by="lowest", is_better=n.lowest < c.lowest),
            "highest": better("highest", by="highest", is_better=n.highest > c.highest),
        },
    )


# --- snapshots, as they arrive ----------------------------------------------------------------------------------------


def keep_snapshots(tx: Transaction, taken: Sequence[tuple[int, Snapshot]]) -> None:
    """Keep the snapshots of organizations in order of arrival, each once, and add them to their days.

    One that was taken before others that are kept already (a clock stepped back, a late fact) finds its place among
    them; one from before all that retention has left is dropped, for nobody knows its neighbours.
    """
    newest = _newest(tx, {organization_id for organization_id, _ in taken})
    days = Stretches(DAY)
    rows, late, newer = [], [], {}
    for organization_id, snapshot in taken:
        last = newest.get(organization_id)
        if last is not None and snapshot.taken_at <= last.taken_at:
            late.append((organization_id, snapshot))
            continue
        days.see(organization_id, snapshot)
        if last is not None:
            days.share_out(organization_id, last, snapshot)
        newest[organization_id] = newer[organization_id] = snapshot
        rows.append((organization_id, snapshot))
    _insert(tx, rows, newer)
    days.add_to(tx, balance_days)
    for organization_id, snapshot in late:
        since = kept_since(tx, organization_id)
        if since is None or snapshot.taken_at > since:
            merge_snapshots(tx, organization_id, [snapshot])


def merge_snapshots(tx: Transaction, organization_id: int, new: Iterable[Snapshot]) -> int:
    """Put snapshots into their places among those that are kept, each once; gives how many there were to keep.

    Where one is kept of the same instant, that one stays.
    """
    ordered = sorted({one.taken_at: one for one in new}.values(), key=_by_time)
    if not ordered:
        return 0
    before, there, after = _around(tx, organization_id, ordered[0].taken_at, ordered[-1].taken_at)
    kept = {one.taken_at for one in there}
    missing = [one for one in ordered if one.taken_at not in kept]
    days = Stretches(DAY)
    for sign, members in ((-1, there), (1, sorted([*there, *missing], key=_by_time))):
        known = [one for one in (before, *members, after) if one is not None]
        for earlier, later in pairwise(known):
            days.share_out(organization_id, earlier, later, sign=sign)
    for snapshot in missing:
        days.see(organization_id, snapshot)
    _insert(tx, [(organization_id, one) for one in missing], {} if after else {organization_id: ordered[-1]})
    days.add_to(tx, balance_days)
    return len(missing)


def kept_since(tx: Transaction, organization_id: int) -> datetime | None:
    """The oldest snapshot's instant, where retention has removed older ones; None where it has not."""
    first = tx.execute(sa.select(sa.func.min(_C.taken_at)).where(_C.organization_id == organization_id)).scalar_one()
    of_day = balance_days.c
    question = sa.select(sa.func.min(of_day.first_at)).where(of_day.organization_id == organization_id)
    oldest = tx.execute(question).scalar_one()
    return first if first is not None and oldest is not None and oldest < first else None


def hold_history(tx: Transaction, organization_id: int) -> datetime | None:
    """`kept_since`, which no other process changes before this transaction ends."""
    lock_rows(tx, organizations, [organization_id])
    return kept_since(tx, organization_id)


def lock_rows(tx: Transaction, table: sa.Table, ids: Collection[int]) -> None:
    """Keep other processes from settling the same accounts or organizations until this transaction ends.

    SQLite has one writer anyway.
    """
    if tx.dialect.name == "postgresql" and ids:
        tx.execute(
            sa.select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update(key_share=True)
        )


# --- parts ------------------------------------------------------------------------------------------------------------


def _by_time(snapshot: Snapshot) -> datetime:
    return snapshot.taken_at


_NEWEST: Final = sa.select(
    organizations.c.id, organizations.c.newest_at, organizations.c.taken_at, organizations.c.credits
).where(organizations.c.id.in_(sa.bindparam("ids", expanding=True)), organizations.c.newest_at.is_not(None))


def _newest(tx: Transaction, ids: Collection[int]) -> dict[int, Snapshot]:
    """The snapshot of each organization with the latest instant."""
    found = {}
    for row in tx.execute(_NEWEST, {"ids": list(ids)}).all():
        amount = row.credits
        if row.newest_at != row.taken_at:  # what arrived last was taken earlier
            amount = tx.execute(_at(row.id, row.newest_at)).scalar_one()
        found[row.id] = Snapshot(row.newest_at, amount)
    return found


def _at(organization_id: int, at: datetime) -> sa.Select[tuple[Decimal]]:
    return sa.select(_C.credits).where(_C.organization_id == organization_id, _C.taken_at == at)


def _around(
    tx: Transaction, organization_id: int, first: datetime, last: datetime
) -> tuple[Snapshot | None, list[Snapshot], Snapshot | None]:
    """The neighbour before a stretch, what is in it, the neighbour after it."""
    mine = sa.select(_C.taken_at, _C.credits).where(_C.organization_id == organization_id)
    before = tx.execute(mine.where(_C.taken_at < first).order_by(_C.taken_at.desc()).limit(1)).first()
    within = tx.execute(mine.where(_C.taken_at.between(first, last)).order_by(_C.taken_at))
    there = [Snapshot(*row) for row in within]
    after = tx.execute(mine.where(_C.taken_at > last).order_by(_C.taken_at).limit(1)).first()
    return Snapshot(*before) if before else None, there, Snapshot(*after) if after else None


_NEWER: Final = (
    organizations.update().where(organizations.c.id == sa.bindparam("key")).values(newest_at=sa.bindparam("newest_at"))
)


def _insert(tx: Transaction, taken: Sequence[tuple[int, Snapshot]], newest: Mapping[int, Snapshot]) -> None:
    """Write snapshots, and for each organization in `newest` which one is its latest now."""
    rows = [{"organization_id": id_, "taken_at": one.taken_at, "credits": one.credits} for id_, one in taken]
    if len(rows) >= MANY:
        put_rows(tx, snapshots, [[tuple(row.values()) for row in rows]])
    elif rows:
        tx.execute(snapshots.insert(), rows)
    if newest:
        tx.execute(_NEWER, [{"key": id_, "newest_at": one.taken_at} for id_, one in newest.items()])

"""Snapshots: inserted in order of arrival, each once, and read by time.  Each adds its share to the daily rollups."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Final

import sqlalchemy as sa

from monitor.model import Check, Snapshot
from monitor.proration import DAY
from monitor.store import rollups
from monitor.store.checks import insert_failures
from monitor.store.tables import accounts, balance_days, organizations, snapshots
from monitor.store.writer import Transaction, insert_many

ROWS_AT_ONCE: Final = 5000


def record_checks(tx: Transaction, batch: Sequence[Check]) -> None:
    """Record the checks of a batch: snapshots, each once, and failures as rows of `checks`."""
    lock_rows(tx, accounts, {check.account_id for check in batch})
    lock_rows(tx, organizations, {check.organization_id for check in batch if check.organization_id is not None})
    taken = [
        (check.organization_id, check.outcome)
        for check in batch
        if check.organization_id is not None and isinstance(check.outcome, Snapshot)
    ]
    if taken:
        insert_snapshots(tx, taken)
    insert_failures(tx, batch)


def snapshot_before(tx: Transaction, organization_id: int, at: datetime) -> Snapshot | None:
    """Return the last snapshot taken at or before an instant, else the first ever."""
    mine = sa.select(snapshots.c.taken_at, snapshots.c.credits).where(snapshots.c.organization_id == organization_id)
    before = mine.where(snapshots.c.taken_at <= at).order_by(snapshots.c.taken_at.desc()).limit(1)
    row = tx.execute(before).first() or tx.execute(mine.order_by(snapshots.c.taken_at).limit(1)).first()
    return Snapshot(row.taken_at, row.credits) if row else None


def snapshots_after(tx: Transaction, organization_id: int, since: datetime, *, until: datetime) -> list[Snapshot]:
    """Return the snapshots with `since` < `taken_at` <= `until`, by time."""
    c = snapshots.c
    mine = (c.organization_id == organization_id) & (c.taken_at > since) & (c.taken_at <= until)
    return [Snapshot(*row) for row in tx.execute(sa.select(c.taken_at, c.credits).where(mine).order_by(c.taken_at))]


def snapshots_between(tx: Transaction, organization_id: int, first: datetime, last: datetime) -> Iterator[Snapshot]:
    """Yield the snapshots with `first` <= `taken_at` <= `last`, by time, in constant memory."""
    c = snapshots.c
    mine = (c.organization_id == organization_id) & c.taken_at.between(first, last)
    question = sa.select(c.taken_at, c.credits).where(mine).order_by(c.taken_at)
    for part in tx.execution_options(yield_per=ROWS_AT_ONCE).execute(question).partitions():
        yield from (Snapshot(*row) for row in part)


def by_identity(tx: Transaction) -> list[tuple[str, str, Snapshot]]:
    """Return every snapshot with the base URL and the vendor's id of its organization, by time."""
    of, c = organizations.c, snapshots.c
    joined = snapshots.join(organizations, of.id == c.organization_id)
    columns = (of.base_url, of.vendor_id, c.taken_at, c.credits)
    question = sa.select(*columns).select_from(joined).order_by(c.taken_at)
    return [(row.base_url, row.vendor_id, Snapshot(row.taken_at, row.credits)) for row in tx.execute(question)]


_C: Final = snapshots.c


MANY: Final = 1000  # rows from which on PostgreSQL is faster with COPY


def insert_snapshots(tx: Transaction, taken: Sequence[tuple[int, Snapshot]]) -> None:
    """Insert snapshots of organizations in order of arrival, each once, and add them to the daily rollups.

    One that is older than others already stored (a clock stepped back, a result that came late) is merged among them;
    one from before all that retention has left is dropped, for its neighbours are unknown.
    """
    newest = _newest(tx, {organization_id for organization_id, _ in taken})
    days = rollups.Rollups(DAY)
    rows, late, newer = [], [], {}
    for organization_id, snapshot in taken:
        last = newest.get(organization_id)
        if last is not None and snapshot.taken_at <= last.taken_at:
            late.append((organization_id, snapshot))
            continue
        days.add_snapshot(organization_id, snapshot)
        if last is not None:
            days.prorate(organization_id, last, snapshot)
        newest[organization_id] = newer[organization_id] = snapshot
        rows.append((organization_id, snapshot))
    _insert(tx, rows, newer)
    days.add_to(tx, balance_days)
    for organization_id, snapshot in late:
        since = pruned_before(tx, organization_id)
        if since is None or snapshot.taken_at > since:
            merge_snapshots(tx, organization_id, [snapshot])


def merge_snapshots(tx: Transaction, organization_id: int, new: Iterable[Snapshot]) -> int:
    """Insert snapshots among those that are stored, each once; return how many were new.

    A stored one of the same instant stays.
    """
    ordered = sorted({snapshot.taken_at: snapshot for snapshot in new}.values(), key=_by_time)
    if not ordered:
        return 0
    before, stored, after = _around(tx, organization_id, ordered[0].taken_at, ordered[-1].taken_at)
    instants = {snapshot.taken_at for snapshot in stored}
    missing = [snapshot for snapshot in ordered if snapshot.taken_at not in instants]
    days = rollups.Rollups(DAY)
    for sign, members in ((-1, stored), (1, sorted([*stored, *missing], key=_by_time))):
        known = [snapshot for snapshot in (before, *members, after) if snapshot is not None]
        for earlier, later in pairwise(known):
            days.prorate(organization_id, earlier, later, sign=sign)
    for snapshot in missing:
        days.add_snapshot(organization_id, snapshot)
    _insert(tx, [(organization_id, snapshot) for snapshot in missing], {} if after else {organization_id: ordered[-1]})
    days.add_to(tx, balance_days)
    return len(missing)


def pruned_before(tx: Transaction, organization_id: int) -> datetime | None:
    """Return the instant before which retention has removed snapshots; None where it has removed none."""
    first = tx.execute(sa.select(sa.func.min(_C.taken_at)).where(_C.organization_id == organization_id)).scalar_one()
    of_day = balance_days.c
    question = sa.select(sa.func.min(of_day.first_at)).where(of_day.organization_id == organization_id)
    oldest = tx.execute(question).scalar_one()
    return first if first is not None and oldest is not None and oldest < first else None


def lock_history(tx: Transaction, organization_id: int) -> datetime | None:
    """Return `pruned_before`, locked: no other process changes it before this transaction ends."""
    lock_rows(tx, organizations, [organization_id])
    return pruned_before(tx, organization_id)


def lock_rows(tx: Transaction, table: sa.Table, ids: Collection[int]) -> None:
    """Lock rows of accounts or organizations against other processes until this transaction ends.

    SQLite has one writer anyway.
    """
    if tx.dialect.name == "postgresql" and ids:
        tx.execute(
            sa.select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update(key_share=True)
        )


def _by_time(snapshot: Snapshot) -> datetime:
    return snapshot.taken_at


_NEWEST: Final = sa.select(
    organizations.c.id, organizations.c.newest_at, organizations.c.taken_at, organizations.c.credits
).where(organizations.c.id.in_(sa.bindparam("ids", expanding=True)), organizations.c.newest_at.is_not(None))


def _newest(tx: Transaction, ids: Collection[int]) -> dict[int, Snapshot]:
    """Return the snapshot of each organization with the latest instant."""
    newest = {}
    for row in tx.execute(_NEWEST, {"ids": list(ids)}).all():
        amount = row.credits
        if row.newest_at != row.taken_at:  # what arrived last was taken earlier
            amount = tx.execute(_at(row.id, row.newest_at)).scalar_one()
        newest[row.id] = Snapshot(row.newest_at, amount)
    return newest


def _at(organization_id: int, at: datetime) -> sa.Select[tuple[Decimal]]:
    return sa.select(_C.credits).where(_C.organization_id == organization_id, _C.taken_at == at)


def _around(
    tx: Transaction, organization_id: int, first: datetime, last: datetime
) -> tuple[Snapshot | None, list[Snapshot], Snapshot | None]:
    """Return the snapshot before `first`, those from `first` to `last`, and the one after `last`."""
    mine = sa.select(_C.taken_at, _C.credits).where(_C.organization_id == organization_id)
    before = tx.execute(mine.where(_C.taken_at < first).order_by(_C.taken_at.desc()).limit(1)).first()
    within = tx.execute(mine.where(_C.taken_at.between(first, last)).order_by(_C.taken_at))
    members = [Snapshot(*row) for row in within]
    after = tx.execute(mine.where(_C.taken_at > last).order_by(_C.taken_at).limit(1)).first()
    return Snapshot(*before) if before else None, members, Snapshot(*after) if after else None


_NEWER: Final = (
    organizations.update().where(organizations.c.id == sa.bindparam("key")).values(newest_at=sa.bindparam("newest_at"))
)


def _insert(tx: Transaction, taken: Sequence[tuple[int, Snapshot]], newest: Mapping[int, Snapshot]) -> None:
    """Insert snapshots, and update `newest_at` of each organization in `newest`."""
    rows = [
        {"organization_id": id_, "taken_at": snapshot.taken_at, "credits": snapshot.credits} for id_, snapshot in taken
    ]
    if len(rows) >= MANY:
        insert_many(tx, snapshots, [[tuple(row.values()) for row in rows]])
    elif rows:
        tx.execute(snapshots.insert(), rows)
    if newest:
        tx.execute(_NEWER, [{"key": id_, "newest_at": snapshot.taken_at} for id_, snapshot in newest.items()])

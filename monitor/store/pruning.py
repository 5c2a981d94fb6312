"""Delete expired rows in small transactions, each of which leaves every total as it was.

Use by the hour is always `balance_hours` plus the changes between the snapshots that are left: a snapshot is rolled up
together with its change to the next one, and the newest is never deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import DeliveryState, Snapshot
from monitor.proration import DAY, HOUR, MICROSECOND, floor, prorate
from monitor.store.rollups import Rollups
from monitor.store.snapshots import lock_rows
from monitor.store.tables import attempts, balance_days, balance_hours, checks, deliveries, organizations, snapshots
from monitor.store.writer import Transaction

SLICE: Final = 500  # rows in one transaction: about 20 ms, which is how long a poll's results may have to wait


class Kind(StrEnum):
    """What kind of rows expire."""

    SNAPSHOTS = "snapshots"
    HOURS = "hours"
    DAYS = "days"
    CHECKS = "failed checks"
    ATTEMPTS = "attempts"


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Rows older than these instants (midnights in UTC) have expired; None: they never do."""

    raw: datetime | None
    hourly: datetime | None
    daily: datetime | None


@dataclass(frozen=True, slots=True)
class Portion:
    """Expired rows of one kind, of one organization where they belong to one."""

    kind: Kind
    before: datetime
    rows: int
    organization_id: int | None = None
    last_id: int = 0  # of failed checks and attempts: the highest id among them


def expired_portions(tx: Transaction, cutoffs: Cutoffs, *, most: int | None = None) -> Iterator[Portion]:
    """Yield what has expired; hours into which snapshots are still to be rolled up are not counted yet.

    `most` limits how many rows of each portion are counted, for callers that only ask whether there are any.
    """
    for organization_id in tx.execute(sa.select(organizations.c.id).order_by(organizations.c.id)).scalars().all():
        yield from _of_organization(tx, organization_id, cutoffs, most)
    for kind in (Kind.CHECKS, Kind.ATTEMPTS):
        if cutoffs.raw:
            table, old = _expired_rows(kind, cutoffs.raw)
            if rows := _count(tx, table, old, most):
                last_id = tx.execute(sa.select(sa.func.max(table.c.id)).where(old)).scalar_one()
                yield Portion(kind, cutoffs.raw, rows, last_id=last_id)


def delete_slice(tx: Transaction, portion: Portion) -> int:
    """Delete at most `SLICE` rows of a portion; return how many, 0 when none is left."""
    if portion.kind in {Kind.CHECKS, Kind.ATTEMPTS}:
        return _delete_rows(tx, portion)
    assert portion.organization_id is not None  # noqa: S101 -- the other kinds belong to one
    lock_rows(tx, organizations, [portion.organization_id])
    delete = {Kind.SNAPSHOTS: _roll_up_snapshots, Kind.HOURS: _delete_hours, Kind.DAYS: _delete_days}
    return delete[portion.kind](tx, portion.organization_id, portion.before)


# --- balances ---------------------------------------------------------------------------------------------------------


def _of_organization(tx: Transaction, organization_id: int, cutoffs: Cutoffs, most: int | None) -> Iterator[Portion]:
    newest = tx.execute(_end(sa.func.max, snapshots.c.taken_at, organization_id)).scalar_one()
    if newest is None:
        return
    limits = (
        (Kind.SNAPSHOTS, snapshots.c.taken_at, cutoffs.raw and min(cutoffs.raw, newest)),
        (Kind.HOURS, balance_hours.c.starts_at, cutoffs.hourly),
        (Kind.DAYS, balance_days.c.starts_at, cutoffs.daily and min(cutoffs.daily, floor(newest, DAY))),
    )
    for kind, at, before in limits:
        if before is not None:
            mine = at.table.c.organization_id == organization_id
            if rows := _count(tx, at.table, mine & (at < before), most):
                yield Portion(kind, before, rows, organization_id)


def _count(tx: Transaction, table: Any, old: sa.ColumnElement[bool], most: int | None) -> int:
    rows = sa.select(sa.literal(1)).select_from(table).where(old).limit(most).subquery()
    return tx.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()


def _roll_up_snapshots(tx: Transaction, organization_id: int, before: datetime) -> int:
    """Move the oldest snapshots into `balance_hours`."""
    c = snapshots.c
    mine = sa.select(c.taken_at, c.credits).where(c.organization_id == organization_id)
    oldest = [Snapshot(*row) for row in tx.execute(mine.order_by(c.taken_at).limit(SLICE + 1))]
    hours, expired = Rollups(HOUR), []
    if len(oldest) > 1 and oldest[0].taken_at < before and oldest[1].taken_at - oldest[0].taken_at > SLICE * HOUR:
        _prorate_far(tx, organization_id, *oldest[:2])
        tx.execute(snapshots.delete().where(c.organization_id == organization_id, c.taken_at <= oldest[0].taken_at))
        return 1
    for snapshot, following in pairwise(oldest):
        is_far = following.taken_at - snapshot.taken_at > SLICE * HOUR
        if snapshot.taken_at >= before or len(hours.rows) >= SLICE or is_far:  # far apart: many hours, done alone
            break
        expired.append(snapshot.taken_at)
        hours.add_snapshot(organization_id, snapshot)
        hours.prorate(organization_id, snapshot, following)
    if not expired:
        return 0
    # An hour without a snapshot and without use holds no information.
    hours.rows = {key: hour for key, hour in hours.rows.items() if hour.snapshots or hour.used or hour.topped_up}
    hours.add_to(tx, balance_hours)
    tx.execute(snapshots.delete().where(c.organization_id == organization_id, c.taken_at <= expired[-1]))
    return len(expired)


def _prorate_far(tx: Transaction, organization_id: int, before: Snapshot, after: Snapshot) -> None:
    """Prorate a change over years (a machine began in 1970, before its clock was set) in constant memory."""
    hours = Rollups(HOUR)
    hours.add_snapshot(organization_id, before)
    for starts_at, used, topped_up in prorate(before, after, HOUR):
        if used or topped_up:
            hour = hours.at(organization_id, starts_at)
            hour.used, hour.topped_up = hour.used + used, hour.topped_up + topped_up
        if len(hours.rows) >= SLICE:
            hours.add_to(tx, balance_hours)
            hours = Rollups(HOUR)
    hours.add_to(tx, balance_hours)


def _delete_hours(tx: Transaction, organization_id: int, before: datetime) -> int:
    return len(_delete_oldest(tx, balance_hours, organization_id, before))


def _delete_days(tx: Transaction, organization_id: int, before: datetime) -> int:
    """Delete days whose snapshots are gone, and mark the oldest that stays: there were others before it."""
    oldest = tx.execute(_end(sa.func.min, snapshots.c.taken_at, organization_id)).scalar_one()
    deleted = _delete_oldest(tx, balance_days, organization_id, min(before, floor(oldest, DAY)))
    if deleted:
        c = balance_days.c
        first = tx.execute(_end(sa.func.min, c.first_at, organization_id)).scalar_one()
        # By this mark `pruned_before` tells that older balances cannot be inserted: some of their use is in this day.
        mark = floor(first, DAY) - MICROSECOND
        tx.execute(
            balance_days.update().where(c.organization_id == organization_id, c.first_at == first), {"first_at": mark}
        )
    return len(deleted)


def _delete_oldest(tx: Transaction, table: sa.Table, organization_id: int, before: datetime) -> list[datetime]:
    c = table.c
    mine = c.organization_id == organization_id
    old = sa.select(c.starts_at).where(mine, c.starts_at < before).order_by(c.starts_at).limit(SLICE)
    deleted = list(tx.execute(old).scalars())
    if deleted:
        tx.execute(table.delete().where(mine, c.starts_at <= deleted[-1]))
    return deleted


def _end(end: Any, at: sa.Column[Any], organization_id: int) -> sa.Select[tuple[Any]]:
    return sa.select(end(at)).where(at.table.c.organization_id == organization_id)


# --- failed checks, attempts ------------------------------------------------------------------------------------------


def _delete_rows(tx: Transaction, portion: Portion) -> int:
    table, old = _expired_rows(portion.kind, portion.before)
    first = sa.select(table.c.id).where(old, table.c.id <= portion.last_id).order_by(table.c.id).limit(SLICE)
    ids = list(tx.execute(first).scalars())
    if ids:
        tx.execute(table.delete().where(table.c.id.in_(ids)))
    return len(ids)


def _expired_rows(kind: Kind, before: datetime) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """Return the table of a kind, and which of its rows have expired: attempts of a pending delivery have not."""
    if kind is Kind.CHECKS:
        return checks, checks.c.ended_at < before
    pending = sa.select(deliveries.c.id).where(deliveries.c.state == DeliveryState.PENDING)
    return attempts, (attempts.c.ended_at < before) & attempts.c.delivery_id.not_in(pending)

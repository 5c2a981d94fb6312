"""Removes what has grown too old, in small transactions, each of which leaves every total as it was.

Refuses to decide how old that is.  Whatever becomes of it, use by the hour is `balance_hours` plus the changes between
the snapshots that are left: a snapshot goes together with its change to the next one, and the newest never goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import DeliveryState, Snapshot
from monitor.proration import DAY, HOUR, MICROSECOND, floor, parts
from monitor.store.rollups import Stretches
from monitor.store.snapshots import lock_rows
from monitor.store.tables import attempts, balance_days, balance_hours, checks, deliveries, organizations, snapshots
from monitor.store.writer import Transaction

SLICE: Final = 500  # rows in one transaction: about 20 ms, which is how long a poll's results may have to wait


class Sort(StrEnum):
    """What there is to remove."""

    SNAPSHOTS = "snapshots"
    HOURS = "hours"
    DAYS = "days"
    CHECKS = "failed checks"
    ATTEMPTS = "attempts"


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What is older than these instants (midnights in UTC) may go; None: nothing."""

    raw: datetime | None
    hourly: datetime | None
    daily: datetime | None


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows of one sort that are to go, of one organization where they belong to one."""

    sort: Sort
    before: datetime
    rows: int
    organization_id: int | None = None
    last_id: int = 0  # of failed checks and attempts: none of them is behind it


def expired_portions(tx: Transaction, cutoffs: Cutoffs, *, most: int | None = None) -> Iterator[Portion]:
    """Everything that is to go now.  What snapshots leave behind in hours is not counted before it is there.

    `most`: how many rows of each portion are counted at most, for those who only want to know whether there are any.
    """
    for organization_id in tx.execute(sa.select(organizations.c.id).order_by(organizations.c.id)).scalars().all():
        yield from _of_organization(tx, organization_id, cutoffs, most)
    for sort in (Sort.CHECKS, Sort.ATTEMPTS):
        if cutoffs.raw:
            table, old = _old(sort, cutoffs.raw)
            if rows := _count(tx, table, old, most):
                last_id = tx.execute(sa.select(sa.func.max(table.c.id)).where(old)).scalar_one()
                yield Portion(sort, cutoffs.raw, rows, last_id=last_id)


def delete_slice(tx: Transaction, portion: Portion) -> int:
    """Remove at most `SLICE` rows of a portion; gives how many, 0 when none is left."""
    if portion.sort in {Sort.CHECKS, Sort.ATTEMPTS}:
        return _remove_rows(tx, portion)
    assert portion.organization_id is not None  # noqa: S101 -- the other sorts belong to one
    lock_rows(tx, organizations, [portion.organization_id])
    take = {Sort.SNAPSHOTS: _remove_snapshots, Sort.HOURS: _remove_hours, Sort.DAYS: _remove_days}
    return take[portion.sort](tx, portion.organization_id, portion.before)


# --- balances ---------------------------------------------------------------------------------------------------------


def _of_organization(tx: Transaction, organization_id: int, cutoffs: Cutoffs, most: int | None) -> Iterator[Portion]:
    newest = tx.execute(_end(sa.func.max, snapshots.c.taken_at, organization_id)).scalar_one()
    if newest is None:
        return
    limits = (
        (Sort.SNAPSHOTS, snapshots.c.taken_at, cutoffs.raw and min(cutoffs.raw, newest)),
        (Sort.HOURS, balance_hours.c.starts_at, cutoffs.hourly),
        (Sort.DAYS, balance_days.c.starts_at, cutoffs.daily and min(cutoffs.daily, floor(newest, DAY))),
    )
    for sort, at, before in limits:
        if before is not None:
            mine = at.table.c.organization_id == organization_id
            if rows := _count(tx, at.table, mine & (at < before), most):
                yield Portion(sort, before, rows, organization_id)


def _count(tx: Transaction, table: Any, old: sa.ColumnElement[bool], most: int | None) -> int:
    found = sa.select(sa.literal(1)).select_from(table).where(old).limit(most).subquery()
    return tx.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()


def _remove_snapshots(tx: Transaction, organization_id: int, before: datetime) -> int:
    c = snapshots.c
    mine = sa.select(c.taken_at, c.credits).where(c.organization_id == organization_id)
    oldest = [Snapshot(*row) for row in tx.execute(mine.order_by(c.taken_at).limit(SLICE + 1))]
    hours, going = Stretches(HOUR), []
    if len(oldest) > 1 and oldest[0].taken_at < before and oldest[1].taken_at - oldest[0].taken_at > SLICE * HOUR:
        _share_out_far(tx, organization_id, *oldest[:2])
        tx.execute(snapshots.delete().where(c.organization_id == organization_id, c.taken_at <= oldest[0].taken_at))
        return 1
    for snapshot, following in pairwise(oldest):
        is_far = following.taken_at - snapshot.taken_at > SLICE * HOUR
        if snapshot.taken_at >= before or len(hours.found) >= SLICE or is_far:  # those far apart concern many hours
            break
        going.append(snapshot.taken_at)
        hours.see(organization_id, snapshot)
        hours.share_out(organization_id, snapshot, following)
    if not going:
        return 0
    # An hour of a gap in which nothing was used says nothing.
    hours.found = {key: one for key, one in hours.found.items() if one.snapshots or one.used or one.topped_up}
    hours.add_to(tx, balance_hours)
    tx.execute(snapshots.delete().where(c.organization_id == organization_id, c.taken_at <= going[-1]))
    return len(going)


def _share_out_far(tx: Transaction, organization_id: int, before: Snapshot, after: Snapshot) -> None:
    """A change over years (a machine began in 1970, before its clock was set), in little memory."""
    hours = Stretches(HOUR)
    hours.see(organization_id, before)
    for starts_at, used, topped_up in parts(before, after, HOUR):
        if used or topped_up:
            hour = hours.at(organization_id, starts_at)
            hour.used, hour.topped_up = hour.used + used, hour.topped_up + topped_up
        if len(hours.found) >= SLICE:
            hours.add_to(tx, balance_hours)
            hours = Stretches(HOUR)
    hours.add_to(tx, balance_hours)


def _remove_hours(tx: Transaction, organization_id: int, before: datetime) -> int:
    return len(_remove_oldest(tx, balance_hours, organization_id, before))


def _remove_days(tx: Transaction, organization_id: int, before: datetime) -> int:
    """Days go after the snapshots in them, and the oldest that stays shows that there were others."""
    oldest = tx.execute(_end(sa.func.min, snapshots.c.taken_at, organization_id)).scalar_one()
    gone = _remove_oldest(tx, balance_days, organization_id, min(before, floor(oldest, DAY)))
    if gone:
        c = balance_days.c
        first = tx.execute(_end(sa.func.min, c.first_at, organization_id)).scalar_one()
        # `pruned_before` sees by it that older balances cannot be put in any more: some of their use is in this day.
        mark = floor(first, DAY) - MICROSECOND
        tx.execute(
            balance_days.update().where(c.organization_id == organization_id, c.first_at == first), {"first_at": mark}
        )
    return len(gone)


def _remove_oldest(tx: Transaction, table: sa.Table, organization_id: int, before: datetime) -> list[datetime]:
    c = table.c
    mine = c.organization_id == organization_id
    old = sa.select(c.starts_at).where(mine, c.starts_at < before).order_by(c.starts_at).limit(SLICE)
    found = list(tx.execute(old).scalars())
    if found:
        tx.execute(table.delete().where(mine, c.starts_at <= found[-1]))
    return found


def _end(end: Any, at: sa.Column[Any], organization_id: int) -> sa.Select[tuple[Any]]:
    return sa.select(end(at)).where(at.table.c.organization_id == organization_id)


# --- failed checks, attempts ------------------------------------------------------------------------------------------


def _remove_rows(tx: Transaction, portion: Portion) -> int:
    table, old = _old(portion.sort, portion.before)
    first = sa.select(table.c.id).where(old, table.c.id <= portion.last_id).order_by(table.c.id).limit(SLICE)
    ids = list(tx.execute(first).scalars())
    if ids:
        tx.execute(table.delete().where(table.c.id.in_(ids)))
    return len(ids)


def _old(sort: Sort, before: datetime) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """The table of a sort, and what in it may go: the attempts of a delivery that is still under way stay."""
    if sort is Sort.CHECKS:
        return checks, checks.c.ended_at < before
    pending = sa.select(deliveries.c.id).where(deliveries.c.state == DeliveryState.PENDING)
    return attempts, (attempts.c.ended_at < before) & attempts.c.delivery_id.not_in(pending)

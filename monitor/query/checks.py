"""The recorded checks, succeeded and failed, by time and in bounded memory."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

import sqlalchemy as sa

from monitor.model import Check, Failure, FailureKind, Snapshot
from monitor.proration import MICROSECOND
from monitor.store.engines import transaction
from monitor.store.tables import checks, snapshots

SPAN: Final = timedelta(days=7)  # read at a time


def _within(table: sa.Table, at: sa.Column[datetime]) -> sa.ColumnElement[bool]:
    mine = table.c.organization_id == sa.bindparam("id")
    return mine & (at >= sa.bindparam("since")) & (at < sa.bindparam("until"))


_SNAPSHOTS: Final = (
    sa.select(snapshots.c.taken_at, snapshots.c.credits)
    .where(_within(snapshots, snapshots.c.taken_at))
    .order_by(snapshots.c.taken_at)
)
_FAILED: Final = sa.select(checks).where(_within(checks, checks.c.ended_at)).order_by(checks.c.ended_at, checks.c.id)


def recorded(
    engine: sa.Engine, ids: Collection[int], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[tuple[datetime, int, list[Check]]]:
    """Yield the checks with `since` <= instant < `until`, a `SPAN` at a time.

    Each item is the beginning of the span, an organization's id and its checks in the span by time; organizations
    without a check in it are left out.  A snapshot's check ended when it was taken; which account's key was used is not
    recorded, so `account_id` is 0.
    """
    with transaction(engine) as connection:
        first, last = _ends(connection, ids)
        if first is None or last is None:
            return
        begin = first if since is None else max(first, since)
        end = last + MICROSECOND if until is None else min(last + MICROSECOND, until)
        while begin < end:
            span = {"since": begin, "until": min(begin + SPAN, end)}
            for id_ in ids:
                if batch := _checks(connection, id_, span):
                    yield begin, id_, batch
            begin += SPAN


def _ends(connection: sa.Connection, ids: Collection[int]) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last of their checks was."""
    pairs = ((snapshots, snapshots.c.taken_at), (checks, checks.c.ended_at))
    ends = [
        # One question for each end: either database answers it from the index.
        connection.execute(sa.select(end(at)).where(table.c.organization_id == id_)).scalar_one()
        for id_ in ids
        for table, at in pairs
        for end in (sa.func.min, sa.func.max)
    ]
    known = [at for at in ends if at is not None]
    return min(known, default=None), max(known, default=None)


def _checks(connection: sa.Connection, id_: int, span: dict[str, datetime]) -> list[Check]:
    given = {"id": id_, **span}
    taken = [Check(0, id_, at, Snapshot(at, amount)) for at, amount in connection.execute(_SNAPSHOTS, given)]
    failed = [
        Check(0, id_, row.ended_at, Failure(FailureKind(row.kind), row.message, row.status, row.vendor_error_id))
        for row in connection.execute(_FAILED, given)
    ]
    return list(merge(taken, failed, key=lambda check: check.ended_at)) if failed else taken


def last_failure(engine: sa.Engine, organization_id: int) -> Check | None:
    """Return the newest failed check of an organization; None where none is kept."""
    mine = sa.select(checks).where(checks.c.organization_id == organization_id)
    with transaction(engine) as tx:
        row = tx.execute(mine.order_by(checks.c.ended_at.desc(), checks.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    failure = Failure(FailureKind(row.kind), row.message, row.status, row.vendor_error_id)
    return Check(row.account_id, organization_id, row.ended_at, failure)

"""What was recorded, as the checks it came from: snapshots and failed checks by time, in bounded memory."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

import sqlalchemy as sa

from monitor.model import Check, Failure, FailureKind, Snapshot
from monitor.store.engines import transaction
from monitor.store.tables import MICROSECOND, checks, snapshots

STRETCH: Final = timedelta(days=7)


def _stretch(table: sa.Table, at: sa.Column[datetime]) -> sa.ColumnElement[bool]:
    mine = table.c.organization_id == sa.bindparam("id")
    return mine & (at >= sa.bindparam("since")) & (at < sa.bindparam("until"))


_SNAPSHOTS: Final = (
    sa.select(snapshots.c.taken_at, snapshots.c.credits)
    .where(_stretch(snapshots, snapshots.c.taken_at))
    .order_by(snapshots.c.taken_at)
)
_FAILED: Final = sa.select(checks).where(_stretch(checks, checks.c.ended_at)).order_by(checks.c.ended_at, checks.c.id)


def recorded(
    engine: sa.Engine, ids: Collection[int], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[tuple[datetime, int, list[Check]]]:
    """The checks with `since` <= instant < `until`: a stretch of time, an organization's id, its checks in it by time.

    Stretch after stretch, of each every organization that has something in it.  A snapshot's check ended when it was
    taken; which account's key was used is not kept, and 0 here.
    """
    with transaction(engine) as connection:
        first, last = _ends(connection, ids)
        if first is None or last is None:
            return
        begin = first if since is None else max(first, since)
        end = last + MICROSECOND if until is None else min(last + MICROSECOND, until)
        while begin < end:
            stretch = {"since": begin, "until": min(begin + STRETCH, end)}
            for id_ in ids:
                if found := _checks(connection, id_, stretch):
                    yield begin, id_, found
            begin += STRETCH


def _ends(connection: sa.Connection, ids: Collection[int]) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of their checks was."""
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


def _checks(connection: sa.Connection, id_: int, stretch: dict[str, datetime]) -> list[Check]:
    given = {"id": id_, **stretch}
    taken = [Check(0, id_, at, Snapshot(at, amount)) for at, amount in connection.execute(_SNAPSHOTS, given)]
    failed = [
        Check(0, id_, row.ended_at, Failure(FailureKind(row.kind), row.message, row.status, row.vendor_error_id))
        for row in connection.execute(_FAILED, given)
    ]
    return list(merge(taken, failed, key=lambda check: check.ended_at)) if failed else taken

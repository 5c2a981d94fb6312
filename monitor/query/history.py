"""The balances that were recorded, row by row or in buckets of time, in constant memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from monitor.forecast import Runway, Unknown, Usage
from monitor.model import Snapshot
from monitor.query.names import OrganizationRow, find_organizations, organizations
from monitor.query.usage import MEMORY
from monitor.store.engines import transaction
from monitor.tables import EPOCH, snapshots

ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One snapshot; `change` is against the snapshot before it, None for the first one.

    `runway` is what was to be foreseen then, where it was asked for.
    """

    organization: str
    vendor_id: str
    account: str
    taken_at: datetime
    credits: Decimal
    change: Decimal | None
    runway: Runway | Unknown | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The snapshots of one stretch of time: the last balance and runway, the extremes and how many there were."""

    organization: str
    vendor_id: str
    account: str
    starts_at: datetime
    credits: Decimal
    lowest: Decimal
    highest: Decimal
    snapshots: int
    runway: Runway | Unknown | None = None


def history(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> Iterator[HistoryRow]:
    """Snapshots with `since` <= `taken_at` < `until`, organization by organization, the newest last in each.

    `limit` keeps the newest of each organization.  `UsageError` at once for an unknown one; a name that two vendors'
    organizations share gives both.
    """
    wanted = organizations(engine) if organization is None else find_organizations(engine, organization)
    return _rows(engine, wanted, since=since, until=until, limit=limit)


def history_with_runway(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[HistoryRow]:
    """The same with the runway at each snapshot: forecast anew along the way, from 28 days before `since` on."""
    start = max(since, EPOCH + MEMORY) - MEMORY if since else None
    return _forecast(history(engine, organization, since=start, until=until), since)


def history_buckets(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    every: timedelta,
    since: datetime | None = None,
    until: datetime | None = None,
    with_runway: bool = False,
) -> Iterator[Bucket]:
    """The same in buckets of `every`, counted from 1970 in UTC; a bucket without a snapshot is left out."""
    ask = history_with_runway if with_runway else history
    return _buckets(ask(engine, organization, since=since, until=until), every)


def _forecast(rows: Iterable[HistoryRow], since: datetime | None) -> Iterator[HistoryRow]:
    for _, members in groupby(rows, lambda row: (row.organization, row.vendor_id, row.account)):
        usage = Usage()
        for row in members:
            usage.add(Snapshot(row.taken_at, row.credits))
            if since is None or row.taken_at >= since:
                yield replace(row, runway=usage.runway())


def _rows(
    engine: sa.Engine,
    wanted: list[OrganizationRow],
    *,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> Iterator[HistoryRow]:
    with transaction(engine) as connection:
        for row in wanted:
            question = _question(row.id, since=since, until=until, limit=limit)
            for taken_at, credits_, previous in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(question):
                change = None if previous is None else credits_ - previous
                yield HistoryRow(row.name, row.vendor_id, row.account, taken_at, credits_, change)


def _question(
    organization_id: int, *, since: datetime | None, until: datetime | None, limit: int | None
) -> sa.Select[tuple[Any, ...]]:
    earlier = snapshots.alias("earlier")
    previous = (
        sa.select(earlier.c.credits)
        .where(earlier.c.organization_id == organization_id, earlier.c.taken_at < snapshots.c.taken_at)
        .order_by(earlier.c.taken_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    question = sa.select(snapshots.c.taken_at, snapshots.c.credits, previous.label("previous"))
    question = question.where(snapshots.c.organization_id == organization_id)
    if since is not None:
        question = question.where(snapshots.c.taken_at >= since)
    if until is not None:
        question = question.where(snapshots.c.taken_at < until)
    if limit is None:
        return question.order_by(snapshots.c.taken_at)
    newest = question.order_by(snapshots.c.taken_at.desc()).limit(limit).subquery()
    return sa.select(newest).order_by(newest.c.taken_at)


def _buckets(rows: Iterable[HistoryRow], every: timedelta) -> Iterator[Bucket]:
    def bucket(row: HistoryRow) -> tuple[str, str, str, datetime]:
        starts_at = EPOCH + (row.taken_at - EPOCH) // every * every
        return row.organization, row.vendor_id, row.account, starts_at

    for key, members in groupby(rows, bucket):
        first = next(members)
        last, lowest, highest, count = first, first.credits, first.credits, 1
        for row in members:  # noqa: B031  # the rest of them
            last, lowest, highest = row, min(lowest, row.credits), max(highest, row.credits)
            count += 1
        yield Bucket(*key, last.credits, lowest, highest, count, last.runway)

"""The balances that were recorded, row by row, in constant memory."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import merge
from itertools import chain, groupby
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from monitor.errors import UsageError
from monitor.forecast import Estimator, Runway, Unknown
from monitor.model import Snapshot
from monitor.proration import DAY, HOUR, floor
from monitor.query.coverage import Kept, kept
from monitor.query.organizations import OrganizationRow, wanted_organizations
from monitor.query.runways import MEMORY
from monitor.store.engines import transaction
from monitor.store.tables import EPOCH, balance_days, balance_hours, snapshots

ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One snapshot; `change` is against the snapshot before it, None for the first one (that is kept).

    `runway` is what was to be foreseen then, where it was asked for.
    """

    organization: str
    vendor_id: str
    account: str
    taken_at: datetime
    credits: Decimal
    change: Decimal | None
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
    wanted = wanted_organizations(engine, organization)
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


def _forecast(rows: Iterable[HistoryRow], since: datetime | None) -> Iterator[HistoryRow]:
    for _, members in groupby(rows, lambda row: (row.organization, row.vendor_id, row.account)):
        usage = Estimator()
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
    with transaction(engine) as tx:
        for row in wanted:
            first, points = _points(tx, row.id, since=since, until=until, limit=limit)
            for taken_at, credits_ in points:
                change = None if first is None else credits_ - first
                yield HistoryRow(row.name, row.vendor_id, row.account, taken_at, credits_, change)
                first = credits_


def _points(
    tx: sa.Connection, organization_id: int, *, since: datetime | None, until: datetime | None, limit: int | None
) -> tuple[Decimal | None, Iterable[Any]]:
    """The balance before the first row, and the rows: instant and balance."""
    c = snapshots.c
    mine = sa.select(c.taken_at, c.credits).where(c.organization_id == organization_id)
    within = mine.where(c.taken_at >= since) if since is not None else mine
    within = within.where(c.taken_at < until) if until is not None else within
    if limit is not None:
        newest = within.order_by(c.taken_at.desc()).limit(limit).subquery()
        within = sa.select(newest)
    rows = iter(stream(tx, within.order_by(within.selected_columns.taken_at)))
    first = next(rows, None)
    if first is None:
        return None, ()
    before = mine.where(c.taken_at < first.taken_at).order_by(c.taken_at.desc()).limit(1)
    previous = tx.execute(before).first()
    return previous.credits if previous else None, chain([first], rows)


def stream(tx: sa.Connection, question: sa.Select[Any]) -> sa.Result[Any]:
    """The answer in constant memory: on PostgreSQL by a cursor of the server."""
    return tx.execute(question, execution_options={"yield_per": ROWS_AT_ONCE})


# --- buckets of history -----------------------------------------------------------------------------------------------


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


class Seen(NamedTuple):
    """One snapshot, or what is kept of several: when the last was taken or about that, and what was seen."""

    at: datetime
    credits: Decimal
    lowest: Decimal
    highest: Decimal
    snapshots: int
    runway: Runway | Unknown | None = None


def history_buckets(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    every: timedelta,
    since: datetime | None = None,
    until: datetime | None = None,
    with_runway: bool = False,
) -> Iterator[Bucket]:
    """Buckets of `every`, counted from 1970 in UTC, from the one that holds `since` to the one before `until`'s end.

    A bucket without a snapshot is left out.  Multiples of a day come from what is kept of each day.  `UsageError` at
    once for an unknown organization and for what is finer than retention has left; runways need the snapshots
    themselves and are told where those are left.
    """
    since, until = _widened(since, until, every)
    if with_runway:
        return _with_runway(engine, organization, every=every, since=since, until=until)
    wanted = wanted_organizations(engine, organization)
    with transaction(engine) as tx:
        found = kept(tx, [row.id for row in wanted])
    known = [(row, found[row.id]) for row in wanted if row.id in found]
    if every % DAY:
        _require_kept(known, every, since, until)
    return _buckets(engine, known, every, since, until)


def _widened(
    since: datetime | None, until: datetime | None, every: timedelta
) -> tuple[datetime | None, datetime | None]:
    """To whole stretches; what lies outside all calendars is no limit."""
    with suppress(OverflowError):
        since = floor(since, every) if since else None
    with suppress(OverflowError):
        until = _ceiling(until, every) if until else None
    return since, until


def _ceiling(at: datetime, every: timedelta) -> datetime:
    below = floor(at, every)
    return below if below == at else below + every


def _buckets(
    engine: sa.Engine,
    known: Sequence[tuple[OrganizationRow, Kept]],
    every: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Bucket]:
    with transaction(engine) as tx:
        for row, one in known:
            of = (row.name, row.vendor_id, row.account)
            yield from _grouped(of, _seen(tx, row.id, one, every, since, until), every)


def _seen(
    tx: sa.Connection, id_: int, one: Kept, every: timedelta, since: datetime | None, until: datetime | None
) -> Iterable[Seen]:
    if not every % DAY:
        return _stretches(tx, balance_days, id_, since, until)
    raw = _snapshots(tx, id_, since, until)
    if one.is_whole or (since and since >= one.raw_since):
        return raw
    # In the hour of the oldest one that is left there may be both, those of the hour first.
    return merge(_stretches(tx, balance_hours, id_, since, until), raw, key=lambda seen: floor(seen.at, HOUR))


def _snapshots(tx: sa.Connection, id_: int, since: datetime | None, until: datetime | None) -> Iterator[Seen]:
    c = snapshots.c
    question = _within(sa.select(c.taken_at, c.credits), snapshots, c.taken_at, id_, since, until)
    return (Seen(row.taken_at, row.credits, row.credits, row.credits, 1) for row in stream(tx, question))


def _stretches(
    tx: sa.Connection, table: sa.Table, id_: int, since: datetime | None, until: datetime | None
) -> Iterator[Seen]:
    c = table.c
    columns = sa.select(c.starts_at, c.last, c.lowest, c.highest, c.snapshots).where(c.snapshots > 0)
    return (Seen._make((*row, None)) for row in stream(tx, _within(columns, table, c.starts_at, id_, since, until)))


def _within(
    question: sa.Select[Any],
    table: sa.Table,
    at: sa.Column[datetime],
    id_: int,
    since: datetime | None,
    until: datetime | None,
) -> sa.Select[Any]:
    question = question.where(table.c.organization_id == id_).order_by(at)
    question = question.where(at >= since) if since else question
    return question.where(at < until) if until else question


def _with_runway(
    engine: sa.Engine,
    organization: str | None,
    *,
    every: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Bucket]:
    rows = history_with_runway(engine, organization, since=since, until=until)
    for of, members in groupby(rows, lambda row: (row.organization, row.vendor_id, row.account)):
        seen = (Seen(one.taken_at, one.credits, one.credits, one.credits, 1, one.runway) for one in members)
        yield from _grouped(of, seen, every)


def _grouped(of: tuple[str, str, str], seen: Iterable[Seen], every: timedelta) -> Iterator[Bucket]:
    for starts_at, members in groupby(seen, lambda one: floor(one.at, every)):
        last = next(members)
        lowest, highest, count = last.lowest, last.highest, last.snapshots
        for one in members:  # noqa: B031  # the rest of them
            last, lowest, highest = one, min(lowest, one.lowest), max(highest, one.highest)
            count += one.snapshots
        yield Bucket(*of, starts_at, last.credits, lowest, highest, count, last.runway)


def _require_kept(
    known: Sequence[tuple[OrganizationRow, Kept]], every: timedelta, since: datetime | None, until: datetime | None
) -> None:
    """`UsageError` when the stretches begin where too little is left, with what would work."""
    missing = []
    for row, one in known:
        limit = one.raw_since if every % HOUR else one.hours_since
        begins = floor(max(since or one.first_at, one.first_at), every)
        if begins < limit and (until is None or until > one.first_at):
            missing.append((limit, row.name, one.hours_since <= begins))
    if not missing:
        return
    limit, name, hours_are_left = max(missing)
    work = "--every 1h" if hours_are_left and all(one[2] for one in missing) else "--every 1d"
    later = _ceiling(limit, every)
    if until is None or later < until:
        work += f" or --since {later:%Y-%m-%dT%H:%M:%SZ}"
    raise UsageError(f"{name}: balances before {limit:%Y-%m-%d %H:%M}Z are no longer kept so finely; {work} works")


# --- what retention has left ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Removed:
    """Snapshots of an organization before `until` are no longer kept one by one; `hours` is whether hours are."""

    organization: str
    until: datetime
    hours: bool


def removed(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Removed]:
    """The organizations of which a part of this period is gone; `UsageError` for an unknown one."""
    names = {row.id: row.name for row in wanted_organizations(engine, organization)}
    with transaction(engine) as tx:
        found = kept(tx, list(names))
    gone = []
    for id_, one in found.items():
        begins = max(since or one.first_at, one.first_at)
        if begins < one.raw_since and (until is None or until > one.first_at):
            gone.append(Removed(names[id_], one.raw_since, floor(begins, DAY) >= floor(one.hours_since, DAY)))
    return gone


def expected_rows(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    every: timedelta | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """About how many rows history has, found without reading it."""
    wanted = [row.id for row in wanted_organizations(engine, organization)]
    with transaction(engine) as tx:
        found = kept(tx, wanted)
        if every:
            return sum(_bucket_count(one, every, since, until) for one in found.values())
        whole = [id_ for id_, one in found.items() if one.is_whole]
        parts = [([id_], one.raw_since) for id_, one in found.items() if not one.is_whole]
        return sum(
            _snapshot_count(tx, ids, max(since or begins, begins), until) for ids, begins in parts
        ) + _snapshot_count(tx, whole, since, until)


def _bucket_count(one: Kept, every: timedelta, since: datetime | None, until: datetime | None) -> int:
    begins, ends = max(since or one.first_at, one.first_at), min(until or one.newest_at, one.newest_at)
    return max(0, (ends - begins) // every + 1)


def _snapshot_count(tx: sa.Connection, ids: Sequence[int], since: datetime | None, until: datetime | None) -> int:
    c = balance_days.c
    question = sa.select(sa.func.coalesce(sa.func.sum(c.snapshots), 0)).where(c.organization_id.in_(ids))
    question = question.where(c.starts_at >= floor(since, DAY)) if since else question
    return int(tx.execute(question.where(c.starts_at < until) if until else question).scalar_one())

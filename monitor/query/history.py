"""The history of balances, snapshot by snapshot or in buckets, in constant memory."""

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
from monitor.model import STABILITY_UNIT, Snapshot
from monitor.proration import DAY, EPOCH, HOUR, floor
from monitor.query.coverage import Coverage, coverage_of
from monitor.query.organizations import wanted_organizations
from monitor.query.runways import MEMORY
from monitor.store.engines import transaction
from monitor.store.organizations import OrganizationRow
from monitor.store.tables import balance_days, balance_hours, snapshots

ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One snapshot; `change` is against the snapshot before it, None for the first that is left.

    `runway` is the forecast as of then, where it was asked for.
    """

    organization: str
    vendor_id: str
    account: str
    taken_at: datetime
    credits: Decimal
    change: Decimal | None
    runway: Runway | Unknown | None = None
    unit: str = STABILITY_UNIT


def history(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> Iterator[HistoryRow]:
    """Return snapshots with `since` <= `taken_at` < `until`, organization by organization, the newest last in each.

    `limit` keeps the newest of each organization.  `UsageError` at once for an unknown one; a name that organizations
    of two vendors share means both.
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
    """Return `history` with the runway at each snapshot, forecast again from 28 days before `since` on."""
    start = max(since, EPOCH + MEMORY) - MEMORY if since else None
    return _forecast(history(engine, organization, since=start, until=until), since)


def _forecast(rows: Iterable[HistoryRow], since: datetime | None) -> Iterator[HistoryRow]:
    for _, members in groupby(rows, lambda row: (row.organization, row.vendor_id, row.account, row.unit)):
        estimator = Estimator()
        for row in members:
            estimator.add(Snapshot(row.taken_at, row.credits))
            if since is None or row.taken_at >= since:
                yield replace(row, runway=estimator.runway())


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
            previous, points = _points(tx, row.id, since=since, until=until, limit=limit)
            for taken_at, credits_ in points:
                change = None if previous is None else credits_ - previous
                yield HistoryRow(row.name, row.vendor_id, row.account, taken_at, credits_, change, unit=row.unit)
                previous = credits_


def _points(
    tx: sa.Connection, organization_id: int, *, since: datetime | None, until: datetime | None, limit: int | None
) -> tuple[Decimal | None, Iterable[Any]]:
    """Return the balance before the first row, and the rows of instant and balance."""
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
    """Return the answer in constant memory: on PostgreSQL through a server-side cursor."""
    return tx.execute(question, execution_options={"yield_per": ROWS_AT_ONCE})


# --- buckets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bucket:
    """The snapshots of one bucket: the last balance and runway, the extremes and how many there were."""

    organization: str
    vendor_id: str
    account: str
    starts_at: datetime
    credits: Decimal
    lowest: Decimal
    highest: Decimal
    snapshots: int
    runway: Runway | Unknown | None = None
    unit: str = STABILITY_UNIT


class Point(NamedTuple):
    """One snapshot, or a rollup of several."""

    at: datetime  # when it was taken, or when the rollup begins
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
    """Return buckets of `every`, counted from 1970 in UTC, from the one that holds `since` to the last before `until`.

    A bucket without a snapshot is left out.  Multiples of a day are made from daily rollups.  `UsageError` at once for
    an unknown organization and for buckets finer than what retention has left; runways need the snapshots themselves
    and are given where those are left.
    """
    since, until = _widened(since, until, every)
    if with_runway:
        return _with_runway(engine, organization, every=every, since=since, until=until)
    wanted = wanted_organizations(engine, organization)
    with transaction(engine) as tx:
        coverages = coverage_of(tx, [row.id for row in wanted])
    known = [(row, coverages[row.id]) for row in wanted if row.id in coverages]
    if every % DAY:
        _require_kept(known, every, since, until)
    return _buckets(engine, known, every, since, until)


def _widened(
    since: datetime | None, until: datetime | None, every: timedelta
) -> tuple[datetime | None, datetime | None]:
    """Widen a period to whole buckets; a border beyond the calendar is no limit."""
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
    known: Sequence[tuple[OrganizationRow, Coverage]],
    every: timedelta,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Bucket]:
    with transaction(engine) as tx:
        for row, coverage in known:
            names = (row.name, row.vendor_id, row.account, row.unit)
            yield from _grouped(names, _bucket_points(tx, row.id, coverage, every, since, until), every)


def _bucket_points(
    tx: sa.Connection, id_: int, coverage: Coverage, every: timedelta, since: datetime | None, until: datetime | None
) -> Iterable[Point]:
    if not every % DAY:
        return _rollups(tx, balance_days, id_, since, until)
    raw = _snapshots(tx, id_, since, until)
    if coverage.is_whole or (since and since >= coverage.raw_since):
        return raw
    # The hour of the oldest snapshot that is left may have both: its rollup comes first.
    return merge(_rollups(tx, balance_hours, id_, since, until), raw, key=lambda point: floor(point.at, HOUR))


def _snapshots(tx: sa.Connection, id_: int, since: datetime | None, until: datetime | None) -> Iterator[Point]:
    c = snapshots.c
    question = _within(sa.select(c.taken_at, c.credits), snapshots, c.taken_at, id_, since, until)
    return (Point(row.taken_at, row.credits, row.credits, row.credits, 1) for row in stream(tx, question))


def _rollups(
    tx: sa.Connection, table: sa.Table, id_: int, since: datetime | None, until: datetime | None
) -> Iterator[Point]:
    c = table.c
    columns = sa.select(c.starts_at, c.last, c.lowest, c.highest, c.snapshots).where(c.snapshots > 0)
    return (Point._make((*row, None)) for row in stream(tx, _within(columns, table, c.starts_at, id_, since, until)))


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
    for names, members in groupby(rows, lambda row: (row.organization, row.vendor_id, row.account, row.unit)):
        points = (Point(row.taken_at, row.credits, row.credits, row.credits, 1, row.runway) for row in members)
        yield from _grouped(names, points, every)


def _grouped(names: tuple[str, str, str, str], points: Iterable[Point], every: timedelta) -> Iterator[Bucket]:
    for starts_at, members in groupby(points, lambda point: floor(point.at, every)):
        last = next(members)
        lowest, highest, count = last.lowest, last.highest, last.snapshots
        for point in members:  # noqa: B031  # the rest of them
            last, lowest, highest = point, min(lowest, point.lowest), max(highest, point.highest)
            count += point.snapshots
        yield Bucket(*names[:3], starts_at, last.credits, lowest, highest, count, last.runway, unit=names[3])


def _require_kept(
    known: Sequence[tuple[OrganizationRow, Coverage]], every: timedelta, since: datetime | None, until: datetime | None
) -> None:
    """Raise `UsageError` when buckets begin where too little is left, with what would work."""
    missing = []
    for row, coverage in known:
        limit = coverage.raw_since if every % HOUR else coverage.hours_since
        begins = floor(max(since or coverage.first_at, coverage.first_at), every)
        if begins < limit and (until is None or until > coverage.first_at):
            missing.append((limit, row.name, coverage.hours_since <= begins))
    if not missing:
        return
    limit, name, hours_are_left = max(missing)
    work = "--every 1h" if hours_are_left and all(hours for _, _, hours in missing) else "--every 1d"
    later = _ceiling(limit, every)
    if until is None or later < until:
        work += f" or --since {later:%Y-%m-%dT%H:%M:%SZ}"
    raise UsageError(f"{name}: balances before {limit:%Y-%m-%d %H:%M}Z are no longer kept so finely; {work} works")


# --- what retention has left ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Removed:
    """Snapshots of an organization before `until` are no longer kept one by one."""

    organization: str
    until: datetime
    hours: bool  # whether hourly rollups of them are


def removed(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Removed]:
    """Return the organizations of which a part of this period was removed; `UsageError` for an unknown one."""
    names = {row.id: row.name for row in wanted_organizations(engine, organization)}
    with transaction(engine) as tx:
        coverages = coverage_of(tx, list(names))
    rows = []
    for id_, coverage in coverages.items():
        begins = max(since or coverage.first_at, coverage.first_at)
        if begins < coverage.raw_since and (until is None or until > coverage.first_at):
            hours = floor(begins, DAY) >= floor(coverage.hours_since, DAY)
            rows.append(Removed(names[id_], coverage.raw_since, hours))
    return rows


def expected_rows(
    engine: sa.Engine,
    organization: str | None = None,
    *,
    every: timedelta | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Return about how many rows `history` or `history_buckets` gives, without reading them."""
    wanted = [row.id for row in wanted_organizations(engine, organization)]
    with transaction(engine) as tx:
        coverages = coverage_of(tx, wanted)
        if every:
            return sum(_bucket_count(coverage, every, since, until) for coverage in coverages.values())
        count = _snapshot_count(tx, [id_ for id_, coverage in coverages.items() if coverage.is_whole], since, until)
        for id_, coverage in coverages.items():
            if not coverage.is_whole:
                begins = max(since or coverage.raw_since, coverage.raw_since)
                count += _snapshot_count(tx, [id_], begins, until)
        return count


def _bucket_count(coverage: Coverage, every: timedelta, since: datetime | None, until: datetime | None) -> int:
    begins = max(since or coverage.first_at, coverage.first_at)
    ends = min(until or coverage.newest_at, coverage.newest_at)
    return max(0, (ends - begins) // every + 1)


def _snapshot_count(tx: sa.Connection, ids: Sequence[int], since: datetime | None, until: datetime | None) -> int:
    c = balance_days.c
    question = sa.select(sa.func.coalesce(sa.func.sum(c.snapshots), 0)).where(c.organization_id.in_(ids))
    question = question.where(c.starts_at >= floor(since, DAY)) if since else question
    return int(tx.execute(question.where(c.starts_at < until) if until else question).scalar_one())

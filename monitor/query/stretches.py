"""Balances in stretches of time, the last, lowest and highest of each: from snapshots, and what became of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from monitor.errors import UsageError
from monitor.forecast import Runway, Unknown
from monitor.proration import DAY, HOUR, floor
from monitor.query.coverage import Kept, kept
from monitor.query.history import history_with_runway, stream
from monitor.query.organizations import OrganizationRow, wanted_organizations
from monitor.store.engines import transaction
from monitor.store.tables import balance_days, balance_hours, snapshots


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

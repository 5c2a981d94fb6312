"""The balances that were recorded, row by row, in constant memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, groupby
from typing import Any, Final

import sqlalchemy as sa

from monitor.forecast import Estimator, Runway, Unknown
from monitor.model import Snapshot
from monitor.query.organizations import OrganizationRow, wanted_organizations
from monitor.query.runways import MEMORY
from monitor.store.engines import transaction
from monitor.store.tables import EPOCH, snapshots

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

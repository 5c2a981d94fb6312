"""What was used and topped up in periods of time: sums of rollups, and prorated changes between snapshots.

Neighbouring periods add up exactly to the longer one, to the millionth.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import chain, groupby, pairwise
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from monitor.amounts import from_micro
from monitor.model import Snapshot
from monitor.proration import DAY, EPOCH, HOUR, MICROSECOND, floor, share
from monitor.store.engines import transaction
from monitor.store.tables import Instant, balance_days, balance_hours, organizations, snapshots


class Period(NamedTuple):
    """`since` <= instant < `until`."""

    since: datetime
    until: datetime


def period_parameters(dialect: str, periods: Sequence[Period]) -> dict[str, Any]:
    """Return the parameters that `periods_table` and `period_number` need."""
    if dialect == "sqlite":
        return {"periods": json.dumps([[(end - EPOCH) // MICROSECOND for end in period] for period in periods])}
    return {
        "begins": [period.since for period in periods],
        "ends": [period.until for period in periods],
        "borders": list(chain.from_iterable(periods)),
    }


def periods_table(dialect: str) -> sa.FromClause:
    """Return a table of the periods with the columns `n` (from 0), `since` and `until`."""
    return _periods_on_sqlite() if dialect == "sqlite" else _periods_on_postgres()


def period_number(at: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    """Return, on PostgreSQL, 2n + 1 for an instant in period n (from 0), and an even number for one in no period.

    The periods must be in order; they may touch.
    """
    return sa.func.width_bucket(at, _array("borders"), type_=sa.Integer())


def _periods_on_sqlite() -> sa.FromClause:
    each = sa.func.json_each(sa.bindparam("periods", type_=sa.Text())).table_valued("key", "value")

    def end(place: int) -> sa.ColumnElement[Any]:
        return sa.type_coerce(sa.func.json_extract(each.c.value, f"$[{place}]"), Instant())

    question = sa.select(each.c.key.label("n"), end(0).label("since"), end(1).label("until"))
    return question.cte("periods").prefix_with("MATERIALIZED")


def _periods_on_postgres() -> sa.FromClause:
    columns = (sa.column("since", Instant()), sa.column("until", Instant()))
    arrays = (_array("begins"), _array("ends"))
    each = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality="place", name="each").render_derived()
    return sa.select((each.c.place - 1).label("n"), each.c.since, each.c.until).subquery("periods")


def _array(name: str) -> sa.ColumnElement[Any]:
    return sa.cast(sa.bindparam(name, type_=sa.ARRAY(Instant())), sa.ARRAY(sa.DateTime(timezone=True)))


SUMS_AT_ONCE: Final = 20_000  # in memory
ROWS_AT_ONCE: Final = 1_000
FEW_PIECES: Final = 30  # whose snapshots may be in memory all at once: of half a day each
PIECES_AT_ONCE: Final = 2_000  # whose snapshots are read by one query


class Amount(NamedTuple):
    """Credits used and topped up (both 0 or more), and how many snapshots were taken."""

    used: Decimal = Decimal(0)
    topped_up: Decimal = Decimal(0)
    snapshots: int = 0

    def plus(self, other: "Amount", sign: int = 1) -> "Amount":
        """Return the sum, or with -1 the difference."""
        return Amount(
            self.used + sign * other.used,
            self.topped_up + sign * other.topped_up,
            self.snapshots + sign * other.snapshots,
        )


NOTHING: Final = Amount()


def by_days(
    tx: sa.Connection, ids: Sequence[int], borders: Sequence[datetime], *, removed: Collection[int]
) -> Iterator[tuple[int, list[Amount]]]:
    """Yield each organization with its amounts between neighbouring borders, from whole UTC days.

    A border within a day costs the pieces from there to the nearer midnight, which are read from snapshots, and for
    organizations of which retention has `removed` some, from hours.
    """
    days = [Period(*ends) for ends in pairwise(map(_midnight, borders))]
    pieces = uneven(borders)
    at_once = max(1, SUMS_AT_ONCE // len(days))
    for start in range(0, len(ids), at_once):
        part = ids[start : start + at_once]
        sums = _sums(tx, balance_days, part, days)
        for id_ in part:
            amounts = sums.get(id_) or [NOTHING] * len(days)
            if pieces:
                inner = by_pieces(tx, id_, list(pieces.values()), removed=id_ in removed)
                amounts = _move_borders(amounts, borders, dict(zip(pieces, inner, strict=True)))
            yield id_, amounts


def uneven(borders: Sequence[datetime]) -> dict[datetime, Period]:
    """Return the borders that are no midnight in UTC, each with the piece between it and the nearest midnight."""
    ends = {at: (at, _midnight(at)) for at in borders if at != _midnight(at)}
    return {at: Period(min(both), max(both)) for at, both in ends.items()}


def _midnight(at: datetime) -> datetime:
    """Return the midnight in UTC that is nearest to an instant."""
    return floor(at + DAY / 2, DAY)


def _move_borders(amounts: Iterable[Amount], borders: Sequence[datetime], rest: dict[datetime, Amount]) -> list[Amount]:
    """Move each border from the nearest midnight to where it is, by the amounts between the two."""
    beyond = [NOTHING.plus(rest.get(at, NOTHING), 1 if at > _midnight(at) else -1) for at in borders]
    return [
        amount.plus(before, -1).plus(after) for amount, (before, after) in zip(amounts, pairwise(beyond), strict=True)
    ]


def by_pieces(tx: sa.Connection, organization_id: int, pieces: Sequence[Period], *, removed: bool) -> list[Amount]:
    """Return an organization's amounts in short periods, from snapshots and, where some are `removed`, from hours."""
    amounts: list[Amount] = []
    for start in range(0, len(pieces), PIECES_AT_ONCE):
        part = pieces[start : start + PIECES_AT_ONCE]
        raw = _raw(tx, organization_id, part)
        hours = _sums(tx, balance_hours, [organization_id], [_whole_hours(piece) for piece in part]) if removed else {}
        amounts += map(Amount.plus, raw, hours[organization_id]) if hours else raw
    return amounts


def _whole_hours(piece: Period) -> Period:
    since = floor(piece.since + HOUR - MICROSECOND, HOUR)
    return Period(since, max(since, floor(piece.until, HOUR)))


# --- rollups ----------------------------------------------------------------------------------------------------------


def _sums(tx: sa.Connection, table: sa.Table, ids: Sequence[int], wanted: Sequence[Period]) -> dict[int, list[Amount]]:
    """Return the sums of each organization that has rows in a table of rollups, one for each period."""
    rows = _sums_on_sqlite if tx.dialect.name == "sqlite" else _sums_on_postgres
    sums: dict[int, list[Amount]] = {}
    for id_, number, amount in rows(tx, table, ids, wanted):
        sums.setdefault(id_, [NOTHING] * len(wanted))[number] = amount
    return sums


_IDS: Final[sa.BindParameter[Any]] = sa.bindparam("ids", expanding=True)


_NAMES: Final = ("used", "topped_up", "snapshots")


def _sums_on_sqlite(
    tx: sa.Connection, table: sa.Table, ids: Sequence[int], wanted: Sequence[Period]
) -> Iterator[tuple[int, int, Amount]]:
    """Yield each organization and period that has rows, looked up by key."""
    for id_, number, sums in tx.execute(_packed(table), {"ids": ids, **period_parameters("sqlite", wanted)}).all():
        used, topped_up, count = sums[1:-1].split(",")
        if count != "null":
            amounts = from_micro(used), from_micro(topped_up)
            yield id_, number, Amount(*amounts, int(count))


@cache
def _packed(table: sa.Table) -> sa.Select[Any]:
    """Select the three sums in one array, so that the rows are read once: SQLite has no LATERAL."""
    period, id_, c = periods_table("sqlite"), organizations.c.id, table.c
    within = (c.organization_id == id_) & (c.starts_at >= period.c.since) & (c.starts_at < period.c.until)
    sums = sa.select(sa.func.json_array(*(sa.func.sum(c[name]) for name in _NAMES))).where(within)
    everything = organizations.join(period, sa.true())
    packed = sums.correlate(organizations, period).scalar_subquery()
    return sa.select(id_, period.c.n, packed).select_from(everything).where(id_.in_(_IDS))


def _sums_on_postgres(
    tx: sa.Connection, table: sa.Table, ids: Sequence[int], wanted: Sequence[Period]
) -> Iterator[tuple[int, int, Amount]]:
    """Yield each organization and period that has rows."""
    given = {"since": wanted[0].since, "until": wanted[-1].until, **period_parameters("postgresql", wanted)}
    for id_, number, *sums in tx.execute(_grouped(table), {"ids": ids, **given}).all():
        if number % 2:  # as `period_number` counts them
            yield id_, number // 2, Amount(sums[0], sums[1], int(sums[2]))


@cache
def _grouped(table: sa.Table) -> sa.Select[Any]:
    """Select the sums in one pass over the rows, each counted in its period.

    Rows between two periods are summed, too: PostgreSQL would estimate a condition on the number as a rare one, and
    sort all rows on disk where it could have summed them in memory.
    """
    c = table.c
    between = (c.starts_at >= sa.bindparam("since")) & (c.starts_at < sa.bindparam("until"))
    number = period_number(c.starts_at).label("number")
    sums = [sa.func.sum(c[name]) for name in _NAMES]
    question = sa.select(c.organization_id, number, *sums).where(c.organization_id.in_(_IDS), between)
    return question.group_by(c.organization_id, number)


# --- snapshots --------------------------------------------------------------------------------------------------------


def _raw(tx: sa.Connection, organization_id: int, pieces: Sequence[Period]) -> list[Amount]:
    amounts = [NOTHING] * len(pieces)
    dialect = tx.dialect.name
    parameters = {"id": organization_id, **period_parameters(dialect, pieces)}
    # A server-side cursor costs three round trips instead of one: not for the few pieces at the ends of months.
    options = {"yield_per": ROWS_AT_ONCE} if len(pieces) > FEW_PIECES else {}
    rows = tx.execute(_question(dialect), parameters, execution_options=options)
    for n, members in groupby(rows, lambda row: int(row[0])):
        amounts[n] = _amount([Snapshot(at, amount) for _, at, amount in members], pieces[n])
    return amounts


@cache
def _question(dialect: str) -> sa.Select[Any]:
    """Select the snapshots in each piece and its neighbours outside, by piece and instant."""
    period, c, id_ = periods_table(dialect), snapshots.c, sa.bindparam("id", type_=sa.BigInteger())
    other = snapshots.alias()

    def neighbour(
        end: sa.ColumnElement[datetime], which: Any, side: sa.ColumnElement[bool]
    ) -> sa.ColumnElement[datetime]:
        mine = (other.c.organization_id == id_) & side
        at = sa.select(which(other.c.taken_at)).where(mine).correlate(period).scalar_subquery()
        return sa.func.coalesce(at, end, type_=end.type)

    first = neighbour(period.c.since, sa.func.max, other.c.taken_at <= period.c.since)
    last = neighbour(period.c.until, sa.func.min, other.c.taken_at >= period.c.until)
    within = (c.organization_id == id_) & (c.taken_at >= first) & (c.taken_at <= last)
    question = sa.select(period.c.n, c.taken_at, c.credits).join_from(period, snapshots, within)
    return question.order_by(period.c.n, c.taken_at)


def _amount(points: Sequence[Snapshot], piece: Period) -> Amount:
    """Return the changes between neighbours, prorated to a piece."""
    used = topped_up = Decimal(0)
    for before, after in pairwise(points):
        change = share(before, after, *piece)
        if change < 0:
            used -= change
        else:
            topped_up += change
    return Amount(used, topped_up, sum(piece.since <= point.taken_at < piece.until for point in points))


def daily_balances(
    engine: sa.Engine, ids: Sequence[int], *, since: datetime
) -> dict[int, list[tuple[datetime, Decimal]]]:
    """Return the last balance of each UTC day from the one that holds `since`, with its instant, by organization."""
    c = balance_days.c
    question = (
        sa.select(c.organization_id, c.last_at, c.last)
        .where(c.organization_id.in_(ids), c.starts_at >= floor(since, DAY), c.snapshots > 0)
        .order_by(c.organization_id, c.starts_at)
    )
    with transaction(engine) as tx:
        rows = tx.execute(question).all()
    return {id_: [(row.last_at, row.last) for row in of] for id_, of in groupby(rows, lambda row: row.organization_id)}

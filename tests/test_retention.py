"""Old balances go, and what they add up to stays: by day as it was, by hour from what took their place."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor import retention, store
from monitor.config import Retention
from monitor.errors import DatabaseError
from monitor.model import Snapshot
from monitor.shares import DAY, HOUR, floor, parts
from monitor.store import Cutoffs, Sort, Store, pruning, stretches
from monitor.store.engines import transaction
from monitor.tables import (
    attempts,
    balance_days,
    balance_hours,
    checks,
    deliveries,
    organizations,
    snapshots,
)
from tests.filled import NOON, fill
from tests.test_crashes import broken

VIDEO = 2  # has no snapshot in `fill`
LATER = NOON + timedelta(days=1000)


def taken(minutes: float, balance: float) -> tuple[int, Snapshot]:
    return VIDEO, Snapshot(NOON + timedelta(minutes=minutes), Decimal(balance))


def rows(tx: sa.Connection, table: sa.Table) -> list[Any]:
    return list(tx.execute(sa.select(table).order_by(*table.primary_key)).all())


def left(tx: sa.Connection) -> list[Snapshot]:
    c = snapshots.c
    mine = sa.select(c.taken_at, c.credits).where(c.organization_id == VIDEO).order_by(c.taken_at)
    return [Snapshot(*row) for row in tx.execute(mine)]


def by_hour(tx: sa.Connection) -> dict[datetime, tuple[Decimal, Decimal]]:
    """Use and top-ups of each hour in which there were any: what is kept, and the changes between what is left."""
    found: dict[datetime, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    shares = [
        (row.starts_at, row.used, row.topped_up) for row in rows(tx, balance_hours) if row.organization_id == VIDEO
    ]
    for before, after in pairwise(left(tx)):
        shares += parts(before, after, HOUR)
    for starts_at, used, topped_up in shares:
        found[starts_at][0] += used
        found[starts_at][1] += topped_up
    return {at: (used, topped_up) for at, (used, topped_up) in found.items() if used or topped_up}


def remove_all(tx: sa.Connection, cutoffs: Cutoffs) -> dict[Sort, int]:
    """Remove everything in one transaction; gives how many rows of each sort."""
    gone: dict[Sort, int] = defaultdict(int)
    while portions := list(store.removable(tx, cutoffs)):
        for portion in portions:
            while removed := store.remove(tx, portion):
                gone[portion.sort] += removed
    return gone


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions of three rows."""
    monkeypatch.setattr(pruning, "SLICE", 3)


moves = st.lists(st.tuples(st.integers(-500, 4000), st.integers(0, 50)), min_size=1, max_size=12)


@given(moves, st.lists(st.integers(-2, 40), min_size=1, max_size=3), moves)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_removing_snapshots_changes_no_total_whatever_the_history(engine, small, steps, cuts, more):
    with transaction(engine) as tx:
        for table in (snapshots, balance_days, balance_hours, organizations):  # of the example before
            tx.execute(table.delete())
        values = {"base_url": "https://a.example", "vendor_id": "org-2", "name": "video", "account": "studio"}
        tx.execute(organizations.insert().values(id=VIDEO, **values))
        minutes, plain = 0, []
        for steps_now in (steps, more):
            for forward, balance in steps_now:
                minutes += forward
                since = stretches.kept_since(tx, VIDEO)
                one = taken(minutes, balance)
                if since is None or one[1].taken_at > since:
                    plain.append(one[1])
                stretches.keep_snapshots(tx, [one])
            whole = (rows(tx, balance_days), by_hour(tx), left(tx))
            for cut in cuts:
                before = floor(NOON, DAY) + cut * DAY
                remove_all(tx, Cutoffs(before, None, None))
                assert rows(tx, balance_days) == whole[0]
                assert by_hour(tx) == whole[1]
                assert left(tx) == [one for one in left(tx) if one.taken_at >= before] or len(left(tx)) == 1
                assert left(tx)[-1] == whole[2][-1]
        kept = sum(row.snapshots for row in rows(tx, balance_hours)) + len(left(tx))
        assert kept == len({one.taken_at for one in plain}) == sum(row.snapshots for row in rows(tx, balance_days))


def test_each_hour_keeps_its_first_last_lowest_and_highest_balance(engine, small):
    fill(engine)
    with transaction(engine) as tx:
        points = [(1, 50), (5, 70), (20, 40), (40, 45), (59, 44), (130, 30)]
        stretches.keep_snapshots(tx, [taken(*one) for one in points])
        remove_all(tx, Cutoffs(LATER, None, None))
        found = [row for row in rows(tx, balance_hours) if row.organization_id == VIDEO]
    keys = ("snapshots", "first", "last", "lowest", "highest", "used", "topped_up")
    first, second, third = ([getattr(row, key) for key in keys] for row in found)
    assert first[:5] == [5, 50, 44, 40, 70]
    assert second[:5] == third[:5] == [0, None, None, None, None]  # a gap, with its share of the use
    assert (sum(row.used for row in found), sum(row.topped_up for row in found)) == (30 + 1 + 14, 20 + 5)


def test_a_long_gap_without_use_leaves_no_rows(engine):
    fill(engine)
    with transaction(engine) as tx:
        stretches.keep_snapshots(tx, [taken(0, 50), taken(600 * 1440, 50), taken(600 * 1440 + 1, 50)])
        remove_all(tx, Cutoffs(LATER, None, None))
        assert sum(row.organization_id == VIDEO for row in rows(tx, balance_hours)) == 2


def test_hours_and_days_go_when_they_are_too_old_and_the_newest_balance_stays(engine, small):
    fill(engine)
    day = floor(NOON, DAY)
    with transaction(engine) as tx:
        stretches.keep_snapshots(tx, [taken(n * 720, 100 - n) for n in range(20)])
        gone = remove_all(tx, Cutoffs(day + 8 * DAY, day + 6 * DAY, day + 4 * DAY))
        mine = [
            [row for row in rows(tx, table) if row.organization_id == VIDEO] for table in (balance_hours, balance_days)
        ]
        assert mine[0][0].starts_at == day + 6 * DAY
        assert mine[1][0].starts_at == day + 4 * DAY
        assert [one.credits for one in left(tx)] == [100 - n for n in range(15, 20)]
        assert gone[Sort.DAYS] == 4 + 2  # two of organization 1; the one balance of organization 3 keeps its day
        remove_all(tx, Cutoffs(LATER, LATER, LATER))
        assert [one.credits for one in left(tx)] == [81]
        assert [row.organization_id for row in rows(tx, balance_days)] == [1, 2, 3]


def test_what_is_older_than_removed_days_is_still_refused(engine):
    fill(engine)
    day = floor(NOON, DAY)
    with transaction(engine) as tx:
        stretches.keep_snapshots(tx, [taken(n * 720, 100 - n) for n in range(20)])
        assert stretches.kept_since(tx, VIDEO) is None
        remove_all(tx, Cutoffs(day + 8 * DAY, day + 8 * DAY, day + 8 * DAY))
        since, before = stretches.kept_since(tx, VIDEO), rows(tx, balance_days)
        assert since == left(tx)[0].taken_at
        stretches.keep_snapshots(tx, [taken(5, 1), taken(-5000, 1)])
        assert (rows(tx, balance_days), left(tx)[0].taken_at) == (before, since)


def test_failed_checks_and_attempts_go_too_but_not_those_of_a_delivery_under_way(engine, small):
    fill(engine)
    with transaction(engine) as tx:
        for n in range(7):
            tx.execute(checks.insert().values(account_id=1, ended_at=NOON + n * DAY, kind="unavailable", message="x"))
            tx.execute(attempts.insert().values(delivery_id=1 + n % 2, ended_at=NOON + n * DAY, error="x"))
        gone = remove_all(tx, Cutoffs(NOON + 5 * DAY, None, None))
        assert (gone[Sort.CHECKS], gone[Sort.ATTEMPTS]) == (6, 4)
        assert [row.ended_at for row in rows(tx, checks)] == [NOON + 5 * DAY, NOON + 6 * DAY]
        pending = tx.execute(sa.select(deliveries.c.id).where(deliveries.c.state == "pending")).scalars().all()
        assert {row.delivery_id for row in rows(tx, attempts) if row.ended_at < NOON + 5 * DAY} == set(pending)


def test_nothing_goes_where_everything_is_kept(engine):
    fill(engine)
    kept = retention.cutoffs(Retention(None, None, None), LATER)
    with transaction(engine) as tx:
        assert list(store.removable(tx, kept)) == []


# --- the daemon's part, and the command's -----------------------------------------------------------------------------


class Kept:
    """Settings, as far as retention reads them."""

    def __init__(self, url: str, raw: int = 30, hourly: int = 60, daily: int | None = None) -> None:
        ages = (timedelta(days=raw), timedelta(days=hourly), timedelta(days=daily) if daily else None)
        self.retention = Retention(*ages)
        self.database = self
        self.url = url


@pytest.fixture
def opened(engine, database_url):
    """A database with a year of two balances a day, of one organization."""
    fill(engine)
    with transaction(engine) as tx:
        stretches.keep_snapshots(tx, [taken(n * 720, 10_000 - n) for n in range(730)])
    one = Store(database_url)
    yield one
    one.close()


NOW = NOON + timedelta(days=365)


def image(engine: sa.Engine) -> list[list[Any]]:
    with transaction(engine) as tx:
        return [rows(tx, table) for table in (snapshots, balance_hours, balance_days, checks, attempts)]


async def test_a_tick_moves_what_is_old_and_looks_again_in_an_hour(opened, engine, database_url, monkeypatch):
    looked: list[datetime] = []
    find = retention.removable
    monkeypatch.setattr(retention, "removable", lambda kept, now: looked.append(now) or find(kept, now))
    pruner = retention.Pruner(opened, Kept(database_url))
    for minutes in (0, 1, 2, 30, 61, 62, 63):
        await pruner.tick(NOW + timedelta(minutes=minutes))
    assert [(at - NOW) // timedelta(minutes=1) for at in looked] == [0, 1, 2, 62]
    with transaction(engine) as tx:
        assert left(tx)[0].taken_at >= floor(NOW - timedelta(days=30), DAY)
        assert min(row.starts_at for row in rows(tx, balance_hours)) >= floor(NOW - timedelta(days=60), DAY)
        assert sum(row.used for row in rows(tx, balance_days) if row.organization_id == VIDEO) == 729


async def test_a_tick_ends_with_its_budget_and_goes_on_at_the_next(opened, engine, database_url, monkeypatch):
    monkeypatch.setattr(retention, "BUDGET", -1)
    monkeypatch.setattr(pruning, "SLICE", 100)
    pruner, counts = retention.Pruner(opened, Kept(database_url)), [732]
    for minute in range(10):
        await pruner.tick(NOW + timedelta(minutes=minute))
        with transaction(engine) as tx:
            counts.append(len(left(tx)))
    gone = [before - after for before, after in pairwise(counts)]
    assert max(gone) <= 100
    assert gone.count(0) == 1  # the balances that came with the database, of another organization


async def test_a_polls_results_wait_for_one_small_transaction_at_most(opened, database_url, monkeypatch):
    """Whatever is given to the writer while old balances go is done after at most one more slice of them."""
    slices, waits, remove = [], [], store.remove
    hours = sa.select(sa.func.count()).select_from(balance_hours)

    def counted(tx: Any, portion: Any) -> int:
        before = tx.execute(hours).scalar_one()
        slices.append(remove(tx, portion))
        assert tx.execute(hours).scalar_one() - before < pruning.SLICE + 13  # the last change spans so many
        return slices[-1]

    async def poll() -> None:
        while True:
            begun = len(slices)
            await opened.write(lambda _, begun=begun: waits.append(len(slices) - begun))
            await asyncio.sleep(0)

    monkeypatch.setattr(store, "remove", counted)
    monkeypatch.setattr(pruning, "SLICE", 20)
    monkeypatch.setattr(retention, "BUDGET", 600)
    polling = asyncio.create_task(poll())
    await retention.Pruner(opened, Kept(database_url)).tick(NOW)
    polling.cancel()
    assert sum(slices) > 600
    assert max(slices) <= 20
    assert len(waits) > 100
    assert max(waits) <= 1


async def test_a_database_that_is_away_is_said_once(opened, engine, database_url, outage, caplog):
    pruner = retention.Pruner(opened, Kept(database_url))
    outage.begin(opened.engine)
    for minute in range(3):
        await pruner.tick(NOW + timedelta(minutes=minute))
    outage.end(opened.engine)
    assert [record.message.split(":")[0] for record in caplog.records] == ["old balances stay for now"]
    await pruner.tick(NOW + timedelta(minutes=3))
    with transaction(engine) as tx:
        assert len(left(tx)) < 100


def test_broken_off_at_any_statement_it_goes_on_as_if_undisturbed(opened, engine, database_url, monkeypatch, small):
    """Every total is right after every break, and at the end the rows are those of an undisturbed run."""
    kept = Kept(database_url, raw=350, hourly=355, daily=358)
    with transaction(engine) as tx:
        expected = (by_hour(tx), rows(tx, balance_days))
        point = tx.begin_nested()
        remove_all(tx, retention.cutoffs(kept.retention, NOW))
        undisturbed = [rows(tx, table) for table in (snapshots, balance_hours, balance_days, checks, attempts)]
        point.rollback()
    monkeypatch.setattr(retention, "PAUSE", 0)
    for at in count(1):
        with broken(opened.engine, at), suppress(DatabaseError):
            for _ in retention.prune(opened, kept, NOW):
                pass
            break
        with transaction(engine) as tx:
            since = min((row.starts_at for row in rows(tx, balance_hours)), default=NOON)
            assert {k: v for k, v in by_hour(tx).items() if k >= since} == {
                k: v for k, v in expected[0].items() if k >= since
            }
    assert at > 10
    assert image(engine) == undisturbed


async def test_two_that_remove_at_the_same_time_remove_each_row_once(opened, engine, database_url, small):
    with transaction(engine) as tx:
        expected, days = by_hour(tx), rows(tx, balance_days)
    other = Store(database_url)
    kept = Kept(database_url, hourly=10_000)
    await asyncio.gather(
        *(asyncio.to_thread(lambda one=one: list(retention.prune(one, kept, NOW))) for one in (opened, other))
    )
    other.close()
    with transaction(engine) as tx:
        assert by_hour(tx) == expected
        assert rows(tx, balance_days) == days

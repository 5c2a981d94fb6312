"""Retention in the daemon and in the command: small transactions, beside polls and beside each other."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count, pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from broken import broken
from filled import NOON, fill
from video import VIDEO, by_hour, left, remove_all, rows, taken
from wait import LONG

from monitor.config import Retention
from monitor.daemon import retention
from monitor.errors import DatabaseError
from monitor.proration import DAY, floor
from monitor.store import pruning
from monitor.store.engines import transaction
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import (
    attempts,
    balance_days,
    balance_hours,
    checks,
    snapshots,
)
from monitor.store.writer import Store


class Kept:
    """Settings, as far as retention reads them."""

    def __init__(self, url: str, raw: int = 30, hourly: int = 60, daily: int | None = None) -> None:
        ages = (timedelta(days=raw), timedelta(days=hourly), timedelta(days=daily) if daily else None)
        self.retention = Retention(*ages)
        self.database = self
        self.url = url


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a tick gets through."""
    monkeypatch.setattr(retention, "TICK_TIMEOUT", LONG)


@pytest.fixture
def opened(engine, database_url):
    """A database with a year of two balances a day, of one organization."""
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [taken(n * 720, 10_000 - n) for n in range(730)])
    opened = Store(database_url)
    yield opened
    opened.close()


NOW = NOON + timedelta(days=365)


def image(engine: sa.Engine) -> list[list[Any]]:
    with transaction(engine) as tx:
        return [rows(tx, table) for table in (snapshots, balance_hours, balance_days, checks, attempts)]


async def test_a_tick_moves_what_is_old_and_looks_again_in_an_hour(opened, engine, database_url, monkeypatch):
    looked: list[datetime] = []
    find = retention.expired_portions
    monkeypatch.setattr(
        retention, "expired_portions", lambda kept, now, *, most: looked.append(now) or find(kept, now, most=most)
    )
    pruner = retention.Pruner(opened, Kept(database_url))
    for minutes in (0, 1, 2, 30, 61, 62, 63):
        await pruner.tick(NOW + timedelta(minutes=minutes))
    assert [(at - NOW) // timedelta(minutes=1) for at in looked] == [0, 1, 2, 62]
    with transaction(engine) as tx:
        assert left(tx)[0].taken_at >= floor(NOW - timedelta(days=30), DAY)
        assert min(row.starts_at for row in rows(tx, balance_hours)) >= floor(NOW - timedelta(days=60), DAY)
        assert sum(row.used for row in rows(tx, balance_days) if row.organization_id == VIDEO) == 729


async def test_a_tick_ends_with_its_budget_and_goes_on_at_the_next(opened, engine, database_url, monkeypatch):
    monkeypatch.setattr(retention, "TICK_TIMEOUT", -1)
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
    slices, waits, remove = [], [], pruning.delete_slice
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

    monkeypatch.setattr(pruning, "delete_slice", counted)
    monkeypatch.setattr(pruning, "SLICE", 20)
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
        *(asyncio.to_thread(lambda store=store: list(retention.prune(store, kept, NOW))) for store in (opened, other))
    )
    other.close()
    with transaction(engine) as tx:
        assert by_hour(tx) == expected
        assert rows(tx, balance_days) == days

"""How long the results of a poll wait for the database: alone, and while a month of balances is being removed."""

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from benchmarks.history.commands import config
from benchmarks.history.stage import Stage
from benchmarks.history.year import BEGIN
from benchmarks.measure import table
from monitor import config as configuration
from monitor import query
from monitor.config import Retention, Settings
from monitor.daemon import retention
from monitor.model import Check, Snapshot
from monitor.poll import ForecastCache, settle
from monitor.store import engines, writer
from monitor.store.writer import Store

BATCH = 100
WARM, ALONE = 20, 200  # batches
CADENCE = 0.05  # seconds between batches: 2,000 checks a second
MONTH = timedelta(days=31)


def print_pruning(stage: Stage, newest: datetime) -> None:
    with stage.copy() as url:
        lines, rows, seconds = asyncio.run(_measure(stage, url, newest))
    table(("results of 100 checks, 20 times a second", "batches", "median", "95 %", "longest"), lines)
    print(f"\n{rows:,} rows removed in {seconds:.1f} s beside that: {rows / seconds:,.0f} a second.")


async def _measure(stage: Stage, url: str, newest: datetime) -> tuple[list[tuple[str, ...]], int, float]:
    now = newest + timedelta(minutes=52)
    kept = Retention(raw=now - BEGIN - MONTH, hourly=None, daily=None)
    settings = configuration.load(config(stage.folder, url), {}).model_copy(update={"retention": kept})
    opened = Store(url)
    batches = Batches(opened, settings, now)
    await batches.settle(WARM)
    before = _snapshots(url, newest)
    alone = await batches.settle(ALONE)
    began = time.monotonic()
    pruning = asyncio.create_task(_prune(opened, settings, now))
    beside = await batches.settle(1_000_000, until=pruning.done)
    seconds = time.monotonic() - began
    removed = before - _snapshots(url, newest)
    opened.close()
    return [_line("alone", alone), _line("while a month is removed", beside)], removed, seconds


async def _prune(opened: Store, settings: Settings, now: datetime) -> None:
    """Ticks one after the other; a daemon pauses for a minute between two."""
    pruner = retention.Pruner(opened, settings)
    while retention.expired_portions(settings, now):
        await pruner.tick(now)


class Batches:
    """A hundred results at a time, as the ledger settles them."""

    def __init__(self, opened: Store, settings: Settings, now: datetime) -> None:
        self._store, self._settings, self._now = opened, settings, now
        self._forecasts = ForecastCache()
        reader = engines.open_reader(settings.database.url)
        self._ids = [(row.id, row.credits or Decimal(0)) for row in query.status(reader)]
        reader.dispose()
        self._number = 0

    async def settle(self, count: int, until: Callable[[], bool] = lambda: False) -> list[float]:
        """How long each took, in milliseconds."""
        times = []
        for _ in range(count):
            if until():
                break
            batch = self._batch()
            began = time.perf_counter()
            await self._store.write(lambda tx, batch=batch: settle(tx, batch, self._settings, self._forecasts))
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(max(0.0, CADENCE - times[-1] / 1000))
        return times

    def _batch(self) -> list[Check]:
        first = self._number * BATCH % len(self._ids)
        at = self._now + self._number * timedelta(seconds=CADENCE)
        self._number += 1
        fall = Decimal(self._number).scaleb(-3)
        return [Check(1, id_, at, Snapshot(at, credits_ - fall)) for id_, credits_ in self._ids[first : first + BATCH]]


def _snapshots(url: str, until: datetime) -> int:
    from sqlalchemy import func, select

    from monitor.store.tables import snapshots

    reader = engines.open_reader(url)
    count = writer.read(
        reader, lambda tx: tx.execute(select(func.count()).where(snapshots.c.taken_at <= until)).scalar_one()
    )
    reader.dispose()
    return int(count)


def _line(what: str, times: list[float]) -> tuple[str, ...]:
    centiles = statistics.quantiles(times, n=20)
    figures = (statistics.median(times), centiles[-1], max(times))
    return (what, f"{len(times):,}", *(f"{milliseconds:,.1f} ms" for milliseconds in figures))

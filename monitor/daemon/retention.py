"""Rolls up old snapshots and deletes the rows that `[retention]` does not keep: for the daemon, and for `db prune`.

It does so in small transactions, so that the results of a poll wait for one of them at most.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from monitor.config import Retention, Settings
from monitor.errors import DatabaseError
from monitor.proration import DAY, floor
from monitor.store import engines, pruning, writer
from monitor.store.pruning import Cutoffs, Portion
from monitor.store.writer import Store

EVERY: Final = timedelta(hours=1)
TELL_EVERY: Final = timedelta(days=1)
TICK_TIMEOUT: Final = 3.0  # seconds
PAUSE: Final = 0.005  # seconds between two transactions, for others who write

log = logging.getLogger(__name__)


def cutoffs(kept: Retention, now: datetime) -> Cutoffs:
    """Return the midnights from which on rows are kept."""
    ages = (kept.raw, kept.hourly, kept.daily)
    return Cutoffs(*(None if age is None else floor(now - age, DAY) for age in ages))


def expired_portions(settings: Settings, now: datetime, *, most: int | None = None) -> list[Portion]:
    """Return the rows that have expired; no more than `most` of each portion are counted."""
    reader = engines.open_reader(settings.database.url)
    try:
        return writer.read(
            reader, lambda tx: list(pruning.expired_portions(tx, cutoffs(settings.retention, now), most=most))
        )
    finally:
        reader.dispose()


def prune(opened: Store, settings: Settings, now: datetime) -> Iterator[tuple[Portion, int]]:
    """Delete every expired row, beside a daemon that may run; yield how many rows each transaction deleted."""
    deleted = 1
    while deleted:
        deleted = 0
        for portion in expired_portions(settings, now, most=1):  # hours that are new from snapshots come next time
            while rows := opened.write_now(partial(pruning.delete_slice, portion=portion)):
                deleted += rows
                yield portion, rows
                time.sleep(PAUSE)


class Pruner:
    """The daemon's part: call `tick` once a minute; it prunes once an hour, and at every tick while rows are left."""

    def __init__(self, opened: Store, settings: Settings) -> None:
        self._store = opened
        self._settings = settings
        self._due_at: datetime | None = None  # None: now
        self._failing = False
        self._removed = 0  # rows that the log has not told of yet
        self._told_at: datetime | None = None

    async def tick(self, now: datetime) -> None:
        """Delete expired rows for a few seconds, when it is time."""
        if self._due_at is not None and self._due_at - EVERY <= now < self._due_at:
            return
        try:
            self._due_at = now + EVERY if await self._prune(now) else None
        except DatabaseError as error:
            if not self._failing:
                log.warning("old balances stay for now: %s", error)
            self._failing = True
        else:
            self._failing = False

    async def _prune(self, now: datetime) -> bool:
        """Delete expired rows; return whether none had expired."""
        portions, total = await asyncio.to_thread(expired_portions, self._settings, now, most=1), 0
        clock = asyncio.get_running_loop().time
        ends = clock() + TICK_TIMEOUT
        for portion in portions:
            rows = 1
            while rows:
                rows = await self._store.write(partial(pruning.delete_slice, portion=portion))
                total += rows
                if clock() > ends:
                    return False
                await asyncio.sleep(PAUSE)
        self._tell(total, now)
        return not portions

    def _tell(self, removed: int, now: datetime) -> None:
        """Log what was removed, once a day: every hour something is a day too old."""
        self._removed += removed
        if self._removed and (self._told_at is None or not timedelta(0) <= now - self._told_at < TELL_EVERY):
            log.info("%d old row(s) removed", self._removed)
            self._removed, self._told_at = 0, now

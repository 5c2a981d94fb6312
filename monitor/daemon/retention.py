"""Moves balances that have grown old from single ones to hours, and removes what the configuration does not keep.

In the background, a small transaction at a time: the results of a poll wait for one of them at most.  Refuses to lose
anything of the use by day; what it removes is decided by `[retention]` alone.
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
BUDGET: Final = 3.0  # seconds of one tick
PAUSE: Final = 0.005  # seconds between two transactions, for others who write

log = logging.getLogger(__name__)


def cutoffs(kept: Retention, now: datetime) -> Cutoffs:
    """From which midnights on things are kept."""
    ages = (kept.raw, kept.hourly, kept.daily)
    return Cutoffs(*(None if age is None else floor(now - age, DAY) for age in ages))


def removable(settings: Settings, now: datetime, *, most: int | None = None) -> list[Portion]:
    """What would go now; no more than `most` rows of each portion are counted."""
    reader = engines.open_reader(settings.database.url)
    try:
        return writer.read(
            reader, lambda tx: list(pruning.expired_portions(tx, cutoffs(settings.retention, now), most=most))
        )
    finally:
        reader.dispose()


def prune(opened: Store, settings: Settings, now: datetime) -> Iterator[tuple[Portion, int]]:
    """Remove all of it, beside a daemon that runs; tells after each transaction how many rows of what went."""
    went = 1
    while went:
        went = 0
        for portion in removable(settings, now, most=1):  # what snapshots leave behind is seen by the next look
            while rows := opened.write_now(partial(pruning.delete_slice, portion=portion)):
                went += rows
                yield portion, rows
                time.sleep(PAUSE)


class Pruner:
    """The daemon's part: `tick` once a minute; it looks once an hour, and again soon while there is more to do."""

    def __init__(self, opened: Store, settings: Settings) -> None:
        self._store = opened
        self._settings = settings
        self._due_at: datetime | None = None  # None: now
        self._failing = False

    async def tick(self, now: datetime) -> None:
        """Remove for a few seconds what is too old, when it is time to look."""
        if self._due_at is not None and self._due_at - EVERY <= now < self._due_at:
            return
        try:
            self._due_at = now + EVERY if await self._remove(now) else None
        except DatabaseError as error:
            if not self._failing:
                log.warning("old balances stay for now: %s", error)
            self._failing = True
        else:
            self._failing = False

    async def _remove(self, now: datetime) -> bool:
        """Whether all of it went."""
        portions, total = await asyncio.to_thread(removable, self._settings, now, most=1), 0
        clock = asyncio.get_running_loop().time
        ends = clock() + BUDGET
        for portion in portions:
            rows = 1
            while rows:
                rows = await self._store.write(partial(pruning.delete_slice, portion=portion))
                total += rows
                if clock() > ends:
                    return False
                await asyncio.sleep(PAUSE)
        if total:
            log.info("%d old row(s) removed", total)
        return not portions

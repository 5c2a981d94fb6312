"""APScheduler's one home: "every five minutes, this".  Knows nothing of balances.

A job never overlaps itself, is never dropped for being late, and disturbs no other one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

LOOK_EVERY: Final = timedelta(seconds=60)
SLACK: Final = timedelta(seconds=1)

log = logging.getLogger(__name__)


class Schedule:
    """Jobs by name; `start` inside a running event loop."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._intervals: dict[str, timedelta] = {}
        self._looking: asyncio.Task[None] | None = None
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            # Late is better than never, many late runs are one, and a run that is not finished is not begun again.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._under_way: set[asyncio.Task[None]] = set()
        self.turned_at = time.monotonic()  # of its last look at the jobs

    def every(
        self, interval: timedelta, job: Callable[[], Awaitable[object]], *, name: str, first_at: datetime
    ) -> None:
        """Run `job` at `first_at`, which is no further away than `interval`, and then every `interval`."""
        self._intervals[name] = interval

        async def run() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 -- the scheduler runs coroutines as tasks
            self._under_way.add(task)
            try:
                await job()
            except asyncio.CancelledError:
                log.info("%s was ended", name)  # by `stop`: the scheduler would complain of it at length
            except Exception:
                log.exception("%s failed", name)
            finally:
                self._under_way.discard(task)

        trigger = IntervalTrigger(seconds=interval.total_seconds(), start_date=first_at, timezone=UTC)
        self._scheduler.add_job(run, trigger, id=name, next_run_time=first_at)

    def next_at(self, prefix: str = "") -> datetime | None:
        """When the next job, of those whose name begins so, is due."""
        jobs = (job for job in self._scheduler.get_jobs() if job.id.startswith(prefix))
        due = [job.next_run_time for job in jobs if job.next_run_time]
        return min(due, default=None)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()
        self._looking = asyncio.create_task(self._keep_up(), name="schedule")

    async def _keep_up(self) -> None:
        """Run at once what a clock that was stepped back would keep waiting for longer than its interval."""
        while True:
            await asyncio.sleep(min([LOOK_EVERY, *self._intervals.values()]).total_seconds())
            now, self.turned_at = self._clock(), time.monotonic()
            for job in self._scheduler.get_jobs():
                if job.next_run_time > now + self._intervals[job.id] + SLACK:
                    log.warning("%s: the clock was stepped back; it runs now", job.id)
                    job.modify(next_run_time=now)

    async def stop(self, *, grace: timedelta) -> None:
        """Begin nothing more; give what runs `grace`, then cancel it."""
        if self._looking:
            self._looking.cancel()
        self._scheduler.pause()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace.total_seconds())
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._scheduler.shutdown(wait=False)

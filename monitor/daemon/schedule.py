"""Jobs that run at intervals, by APScheduler, which is imported here alone.

A job never overlaps itself, is never dropped for being late, and a job that fails or hangs disturbs no other.
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
TOLERANCE: Final = timedelta(seconds=1)

Job = Callable[[datetime], Awaitable[object]]  # is given the time at which it begins
log = logging.getLogger(__name__)


class Schedule:
    """Jobs by name; `start` it inside a running event loop."""

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

    def every(self, interval: timedelta, job: Job, *, name: str, first_at: datetime) -> None:
        """Run `job` at `first_at`, which is no further away than `interval`, and then every `interval`."""
        self._intervals[name] = interval

        async def run() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 -- the scheduler runs coroutines as tasks
            self._under_way.add(task)
            try:
                await job(self._clock())
            except asyncio.CancelledError:
                log.info("%s was ended", name)  # by `stop`: the scheduler would log a traceback
            except Exception:
                log.exception("%s failed", name)
            finally:
                self._under_way.discard(task)

        trigger = IntervalTrigger(seconds=interval.total_seconds(), start_date=first_at, timezone=UTC)
        self._scheduler.add_job(run, trigger, id=name, next_run_time=first_at)

    def next_at(self, prefix: str = "") -> datetime | None:
        """Return when the next of the jobs whose names begin with `prefix` is due; None: there is none."""
        jobs = (job for job in self._scheduler.get_jobs() if job.id.startswith(prefix))
        due = [job.next_run_time for job in jobs if job.next_run_time]
        return min(due, default=None)

    def start(self) -> None:
        """Start running jobs."""
        self._scheduler.start()
        self._looking = asyncio.create_task(self._run_overdue(), name="schedule")

    async def _run_overdue(self) -> None:
        """Run a job at once which a clock that was stepped back would delay for longer than its interval."""
        while True:
            await asyncio.sleep(min([LOOK_EVERY, *self._intervals.values()]).total_seconds())
            now, self.turned_at = self._clock(), time.monotonic()
            for job in self._scheduler.get_jobs():
                if job.next_run_time > now + self._intervals[job.id] + TOLERANCE:
                    log.warning("%s: the clock was stepped back; it runs now", job.id)
                    job.modify(next_run_time=now)

    async def stop(self, *, grace: timedelta) -> None:
        """Start no more jobs; wait `grace` for those that run, then cancel them."""
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

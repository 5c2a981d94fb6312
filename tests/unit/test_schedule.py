"""Jobs run when they are due, never beside themselves, and whatever one does the others go on."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from wait import LONG, until

from monitor.daemon.schedule import Schedule

TENTH = timedelta(seconds=0.1)
HOUR = timedelta(hours=1)
GRACE = timedelta(seconds=LONG)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def schedule() -> AsyncIterator[Schedule]:
    schedule = Schedule(clock=now)
    yield schedule
    await schedule.stop(grace=timedelta(0))


class Job:
    """Keeps when it began, and how many of it ran at once."""

    def __init__(self, *, takes: float = 0, hangs: bool = False) -> None:
        self.takes = 3600 if hangs else takes
        self.began: list[float] = []
        self.ended = 0
        self.cancelled = 0
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, _at: datetime) -> None:
        self.began.append(time.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
            self.ended += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1

    async def runs(self, count: int) -> None:
        await until(lambda: len(self.began) >= count)


async def test_what_is_due_runs_at_once(schedule):
    job = Job()
    schedule.every(HOUR, job, name="job", first_at=now())
    schedule.start()
    await job.runs(1)


async def test_a_job_runs_at_every_interval_and_never_early(schedule):
    job = Job()
    begun = time.monotonic()
    schedule.every(2 * TENTH, job, name="job", first_at=now())
    schedule.start()
    await job.runs(4)
    assert all(at >= begun + 0.2 * number - 0.01 for number, at in enumerate(job.began))


async def test_what_was_due_long_ago_runs_once_and_not_for_every_time_that_was_missed(schedule):
    job = Job()
    schedule.every(timedelta(minutes=5), job, name="job", first_at=now() - timedelta(days=2))
    schedule.start()
    await job.runs(1)
    await asyncio.sleep(0.2)
    assert len(job.began) == 1


async def test_nothing_runs_before_it_is_due(schedule):
    job = Job()
    begun = time.monotonic()
    schedule.every(timedelta(seconds=10), job, name="job", first_at=now() + 3 * TENTH)
    schedule.start()
    await job.runs(1)
    assert job.began[0] - begun >= 0.29


async def test_a_job_that_takes_longer_than_its_interval_never_runs_beside_itself(schedule):
    job = Job(takes=0.25)
    schedule.every(TENTH, job, name="job", first_at=now())
    schedule.start()
    await job.runs(4)
    assert job.most_at_once == 1


async def test_a_job_that_hangs_disturbs_no_other_one(schedule):
    hanging, other = Job(hangs=True), Job()
    schedule.every(TENTH, hanging, name="hanging", first_at=now())
    schedule.every(TENTH, other, name="other", first_at=now())
    schedule.start()
    await other.runs(5)
    assert (len(hanging.began), other.ended >= 4) == (1, True)


async def test_a_job_that_raises_is_logged_and_runs_again(schedule, caplog):
    began = []

    async def fail(_at: datetime) -> None:
        began.append(1)
        raise ZeroDivisionError

    other = Job()
    schedule.every(TENTH, fail, name="poll studio", first_at=now())
    schedule.every(TENTH, other, name="other", first_at=now())
    schedule.start()
    await other.runs(4)
    await until(lambda: len(began) >= 3)
    assert "poll studio failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_runs_that_a_busy_loop_made_late_are_made_up_for_by_one(schedule):
    job = Job()
    schedule.every(TENTH, job, name="job", first_at=now() + TENTH)
    schedule.start()
    await asyncio.sleep(0)
    time.sleep(1.3)  # noqa: ASYNC251 -- a process that was stopped, or a machine that slept
    woke = time.monotonic()
    await job.runs(1)
    assert len(job.began) <= 2 + (time.monotonic() - woke) / 0.1
    await job.runs(4)


async def test_a_clock_stepped_back_keeps_no_job_waiting_for_longer_than_its_interval(schedule):
    """After the step, what was due in a moment is due in an hour by the clock."""
    job = Job()
    schedule.every(3 * TENTH, job, name="job", first_at=now() + timedelta(hours=1))
    schedule.start()
    await job.runs(3)


async def test_the_next_run_is_known(schedule):
    assert schedule.next_at() is None
    later, sooner = now() + timedelta(seconds=50), now() + timedelta(seconds=40)
    for name, first_at in [("later", later), ("sooner", sooner)]:
        schedule.every(timedelta(minutes=1), Job(), name=name, first_at=first_at)
    schedule.start()
    assert schedule.next_at() == sooner


# --- stopping ---------------------------------------------------------------------------------------------------------


async def stopped(schedule: Schedule, grace: timedelta) -> float:
    begun = time.monotonic()
    await schedule.stop(grace=grace)
    return time.monotonic() - begun


async def test_a_stop_lets_what_runs_end_within_the_grace():
    schedule, job = Schedule(clock=now), Job(takes=0.5)
    schedule.every(HOUR, job, name="job", first_at=now())
    schedule.start()
    await job.runs(1)
    assert await stopped(schedule, GRACE) < GRACE.total_seconds()
    assert (job.ended, job.cancelled) == (1, 0)


async def test_a_stop_cancels_what_hangs_after_the_grace():
    schedule, jobs = Schedule(clock=now), [Job(hangs=True) for _ in range(3)]
    for number, job in enumerate(jobs):
        schedule.every(TENTH, job, name=f"job {number}", first_at=now())
    schedule.start()
    for job in jobs:
        await job.runs(1)
    assert 0.25 < await stopped(schedule, 3 * TENTH) < LONG
    assert [job.cancelled for job in jobs] == [1, 1, 1]


async def test_nothing_begins_after_a_stop():
    schedule, job = Schedule(clock=now), Job()
    schedule.every(TENTH, job, name="job", first_at=now())
    schedule.start()
    await job.runs(2)
    assert await stopped(schedule, GRACE) < GRACE.total_seconds() / 2
    count = len(job.began)
    await asyncio.sleep(0.35)
    assert len(job.began) == count


async def test_what_is_due_in_the_moment_of_the_stop_is_not_begun_afterwards():
    schedule, job = Schedule(clock=now), Job()
    schedule.every(timedelta(seconds=60), job, name="job", first_at=now())
    schedule.start()
    await schedule.stop(grace=GRACE)
    await asyncio.sleep(0.2)
    assert job.at_once == 0
    assert len(job.began) == job.ended + job.cancelled

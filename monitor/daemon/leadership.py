"""One leadership: polls, deliveries, digests and retention with one configuration, for as long as this daemon leads.

It ends when the process stops, when other settings are to be used, or when another daemon leads.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from monitor import durations
from monitor.app import Parts, open_parts
from monitor.channels import Template
from monitor.config import Settings
from monitor.counters import Counters
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.retention import Pruner
from monitor.daemon.schedule import Schedule
from monitor.errors import DatabaseError
from monitor.model import Check, Severity
from monitor.notify.digest import Digests
from monitor.notify.outcomes import Unwritten
from monitor.poll import Ages, Poller, pickup
from monitor.store.engines import LONGEST_STEP
from monitor.store.incidents import count_subjects
from monitor.store.leader_lock import LeaderLock
from monitor.store.lease import boot_clock
from monitor.store.organizations import watched_counts
from monitor.store.writer import Store, Transaction, Trouble

FETCH_GRACE: Final = timedelta(seconds=5)
STOP_TIMEOUT: Final = 8.0  # seconds until the children that still send are killed
RELOAD_TIMEOUT: Final = 30.0  # the same, when nobody waits for the process to end
START_TIMEOUT: Final = 30.0  # seconds of the first poll that readiness waits for: one of thousands takes minutes
KEYS_TRIED_WITHIN: Final = 4.0  # seconds; then what waits is sent all the same
DIGEST_CHECK: Final = timedelta(minutes=1)
RETENTION_CHECK: Final = timedelta(minutes=1)
LOOK_EVERY: Final = 1.0  # seconds between looks at the lease

SCHEDULE_LIMIT: Final = 180.0  # seconds; it looks at its jobs once a minute
DELIVERY_LIMIT: Final = 60.0  # seconds; it looks into the outbox every few, through the writer
WRITER_LIMIT: Final = LONGEST_STEP + 30.0  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many organizations are watched, fail and are in trouble, for the service manager's status."""

    organizations: int
    failing: int
    troubled: Mapping[Severity, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """When each part of a leader turned last, by `time.monotonic`, whether with success or not."""

    schedule: float
    delivery: float
    writer: float | None  # None: it has nothing to do

    def hanging(self, now: float) -> str | None:
        """Return the part that has not turned for longer than it may; None while all do."""
        if self.writer is not None:  # deliveries and polls wait for it
            return "the writer" if now - self.writer > WRITER_LIMIT else None
        if now - self.delivery > DELIVERY_LIMIT:
            return "the delivery loop"
        return "the poll schedule" if now - self.schedule > SCHEDULE_LIMIT else None


@dataclass(slots=True)
class Leadership:
    """State of one leadership: `begin` it, then `lead` once."""

    settings: Settings
    store: Store
    leader_lock: LeaderLock
    clock: Callable[[], datetime]
    counters: Counters
    heartbeat: Heartbeat
    stopping: asyncio.Event  # the process is to end: then the leadership ends within STOP_TIMEOUT
    ending: asyncio.Event = field(default_factory=asyncio.Event)  # told to end, by a stop or a reload
    mended: frozenset[str] = frozenset()  # channels whose URL has changed
    renamed: Mapping[str, str] = field(default_factory=dict)  # channels with another name and the same URL: old → new
    template: Template | None = None  # of the processes that send; None: one of its own
    unwritten: Unwritten = field(default_factory=Unwritten)  # outcomes that the database does not take
    ages: Ages | None = None  # what the process knows of who was asked when
    counts: Counts | None = None  # as of the last poll
    _parts: Parts | None = None  # while its loops turn
    _schedule: Schedule | None = None
    _delivering: asyncio.Task[None] | None = None
    _is_ending: bool = False
    _untried: set[str] = field(default_factory=set)  # accounts whose key was rejected before, and not tried since
    _tried: asyncio.Event = field(default_factory=asyncio.Event)  # there are no more of these
    _polled: asyncio.Event = field(default_factory=asyncio.Event)  # a first poll ended, with success or not

    async def begin(self, carried_over: Sequence[Check]) -> None:
        """Open the parts, start their loops, and wait for the first poll where one is due.

        `carried_over` was fetched before and could not be stored: it is settled first.
        """
        self.heartbeat.keep(self.settings.accounts)
        parts = await self._open_parts(carried_over)
        self._untried = set(parts.rejected)
        self._delivering = asyncio.create_task(self._deliver(parts), name="deliver")
        schedule = self._plan(parts)
        schedule.start()
        self._parts, self._schedule = parts, schedule
        log.info(
            "watching %d account(s), polling every %s", len(parts.polls), durations.write(self.settings.poll.every)
        )
        if carried_over:
            await parts.batch.flush()
        await self._count()
        if any(parts.due[poll.name] <= self.clock() for poll in parts.polls):
            await self._wait_for_end(or_event=self._polled, timeout=START_TIMEOUT)

    async def lead(self) -> list[Check]:
        """Lead until the end; return what was fetched and could not be stored."""
        assert self._parts is not None  # noqa: S101 -- it has begun
        await self._wait_for_end()
        parts, self._is_ending = self._parts, True
        # A daemon that has lost the lead must stop at once, and renew nothing that another may have by now.
        grace = FETCH_GRACE if self.ending.is_set() and not self._is_lost() else timedelta(0)
        if not grace:
            self.leader_lock.drop()
        await self._end(parts, grace=grace)
        return await parts.leave()

    def hanging(self, now: float) -> str | None:
        """Return the part that hangs; None while all turn, and before it has begun."""
        if self._parts is None or self._schedule is None:
            return None
        progress = Progress(
            schedule=now if self._is_ending else self._schedule.turned_at,
            delivery=now if self._is_ending else self._parts.deliverer.turned_at,
            writer=self.store.turned_at,
        )
        return progress.hanging(now)

    @property
    def holds_results(self) -> bool:
        """Whether results are held until the database takes them, which is logged."""
        return self._parts is not None and self._parts.batch.failing

    def troubles(self) -> list[Trouble]:
        """Return what the database does not take while it takes the rest."""
        results = self._parts.batch.trouble if self._parts else None
        return [trouble for trouble in (results, self.unwritten.trouble) if trouble]

    def next_poll(self) -> datetime | None:
        """Return when the next poll is due."""
        return self._schedule.next_at("poll ") if self._schedule else None

    async def _open_parts(self, carried_over: Sequence[Check]) -> Parts:
        """Open the parts in a thread: the database may take longer than the event loop may stand still."""
        return await asyncio.to_thread(
            open_parts,
            self.settings,
            self.store,
            clock=self.clock,
            leader_lock=self.leader_lock,
            carried_over=carried_over,
            counters=self.counters,
            mended=self.mended,
            renamed=self.renamed,
            template=self.template,
            unwritten=self.unwritten,
            ages=self.ages,
        )

    def _plan(self, parts: Parts) -> Schedule:
        """Return the schedule of polls, digests and retention, not yet started."""
        schedule, now = Schedule(clock=self.clock), self.clock()
        for poll in parts.polls:
            job = partial(self._poll, poll)
            every = self.settings.accounts[poll.name].every
            schedule.every(every, job, name=f"poll {poll.name}", first_at=parts.due[poll.name])
        if any(channel.digest for channel in self.settings.channels.values()):
            digests = Digests(parts.store, self.settings, started_at=now)
            schedule.every(DIGEST_CHECK, digests.tick, name="digests", first_at=now)
        watch = parts.age_watch
        schedule.every(watch.every, watch.look, name="ages", first_at=now + watch.every)
        schedule.every(pickup.LOOK_EVERY, parts.pickup.look, name="balances of others", first_at=now)
        pruner, later = Pruner(parts.store, self.settings), now + RETENTION_CHECK
        schedule.every(RETENTION_CHECK, pruner.tick, name="retention", first_at=later)
        return schedule

    async def _deliver(self, parts: Parts) -> None:
        """Deliver; a key that was rejected before is tried first, for it may have been replaced meanwhile."""
        if self._untried:
            with suppress(TimeoutError):
                async with asyncio.timeout(KEYS_TRIED_WITHIN):
                    await self._tried.wait()
        await parts.deliverer.run()

    async def _poll(self, poll: Poller, _at: datetime) -> None:
        """Poll once; readiness waits for the first poll to end, with success or not."""
        if self._is_lost():
            return
        try:
            result = await poll.run()
            self.heartbeat.poll_ended(poll.name, result.problem, seconds=result.seconds)
            await self._count()
        except Exception:
            self.heartbeat.poll_ended(poll.name, "the poll failed")
            raise
        finally:
            self._untried.discard(poll.name)
            if not self._untried:
                self._tried.set()
            self._polled.set()

    async def _count(self) -> None:
        """Count the organizations for the status; a database that is away leaves the counts as they were."""
        with suppress(DatabaseError):
            self.counts = await self.store.write(_counts, fenced=False)

    async def _wait_for_end(
        self,
        *,
        or_event: asyncio.Event | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Wait until the leadership is told to end or is lost, until an event, or for so many seconds."""
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._watch_lock(), name="look at the lease")]
        if or_event is not None:
            waiting.append(asyncio.create_task(or_event.wait()))
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def _watch_lock(self) -> None:
        while not self.ending.is_set() and not self._is_lost():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self.ending.wait()

    def _is_lost(self) -> bool:
        """Whether another daemon leads, or may lead by now, or the SQLite file was replaced.

        A daemon that is alone goes on fetching while its database is away.
        """
        lock = self.leader_lock
        if not lock.leads or self.store.file.is_replaced:
            return True
        return lock.until is not None and boot_clock() >= lock.until and lock.others > 0

    async def _end(self, parts: Parts, *, grace: timedelta) -> None:
        """Give fetches `grace`, then messages the rest of the time-out; the next leader does what is unfinished."""
        assert self._schedule is not None  # noqa: S101 -- it has begun
        assert self._delivering is not None  # noqa: S101 -- likewise
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._schedule.stop(grace=grace)
        if grace:
            await parts.batch.flush()
            while parts.deliverer.is_sending and clock() - began < self._end_timeout:
                await parts.deliverer.finish(timeout=LOOK_EVERY)
        self._delivering.cancel()
        await asyncio.gather(self._delivering, return_exceptions=True)

    @property
    def _end_timeout(self) -> float:
        """Seconds for the end; longer for a reload, where nobody waits for the process to end."""
        return STOP_TIMEOUT if self.stopping.is_set() else RELOAD_TIMEOUT


def _counts(tx: Transaction) -> Counts:
    watched, failing = watched_counts(tx)
    return Counts(watched, failing, count_subjects(tx))

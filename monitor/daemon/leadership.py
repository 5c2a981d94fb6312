"""What the leader does, from taking the lead until it is told to stop or another daemon leads.

Polls, deliveries, digests and retention, on their schedule.  Refuses to take the lead and to read the configuration.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from monitor.app import Parts, open_parts
from monitor.config import Settings
from monitor.config.units import written
from monitor.counters import Counters
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.pulse import Pulse
from monitor.daemon.retention import Pruner
from monitor.daemon.schedule import Schedule
from monitor.errors import DatabaseError
from monitor.model import Check, Severity
from monitor.notify.digest import Digests
from monitor.poll import Poller
from monitor.store import incidents
from monitor.store.leader_lock import LeaderLock
from monitor.store.lease import boot_clock
from monitor.store.organizations import watched_counts
from monitor.store.writer import Store, Transaction

FETCH_GRACE: Final = timedelta(seconds=5)
STOP_AFTER: Final = 8.0  # seconds until the children that still send are killed
RELOAD_AFTER: Final = 30.0  # the same, when nobody waits for the process to end
LONGEST_START: Final = 30.0  # seconds of the first poll that readiness waits for: one of thousands takes minutes
DIGEST_CHECK: Final = timedelta(minutes=1)
RETENTION_CHECK: Final = timedelta(minutes=1)
LOOK_EVERY: Final = 1.0  # seconds between looks at the lease

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many organizations are watched, and how they are: `message.leads_line` has the words."""

    organizations: int
    failing: int
    troubled: Mapping[Severity, int]


@dataclass(slots=True)
class Leadership:
    """One term as the leader; `run` once."""

    settings: Settings
    store: Store
    hold: LeaderLock
    clock: Callable[[], datetime]
    ending: asyncio.Event  # told to stop, or to begin again with other settings
    stopping: asyncio.Event  # told to stop: then it ends in eight seconds
    counters: Counters
    heart: Heartbeat
    mended: Collection[str] = ()  # channels whose URL has changed
    counts: Counts | None = None  # as of the last poll
    _attempted: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _turning: Callable[[], Pulse] | None = None
    _next_poll: Callable[[], datetime | None] = lambda: None

    async def run(self, held: Sequence[Check], *, ready: Callable[[], None]) -> list[Check]:
        """Lead; calls `ready` when it does.  Gives what was fetched and could not be settled."""
        self.heart.keep(self.settings.accounts)
        parts = await self._open_parts(held)
        delivering = asyncio.create_task(parts.deliverer.run(), name="deliver")
        looking = asyncio.create_task(self._look(), name="look at the lease")
        schedule = self._schedule(parts)
        schedule.start()
        self._turning = lambda: Pulse(schedule.turned_at, parts.deliverer.turned_at, self.store.turned_at)
        self._next_poll = lambda: schedule.next_at("poll ")
        log.info("watching %d account(s), polling every %s", len(parts.polls), written(self.settings.poll.every))
        if held:
            await parts.batch.flush()
        await self._count()
        if any(parts.due[poll.name] <= self.clock() for poll in parts.polls):
            await _first(self._attempted, self._over, timeout=LONGEST_START)
        ready()
        await self._over.wait()
        self._turning = lambda: Pulse(math.inf, math.inf, self.store.turned_at)
        looking.cancel()
        # Whoever has lost the lead must not go on for a moment longer, nor renew what another may have by now.
        grace = FETCH_GRACE if self.ending.is_set() and not self._is_lost() else timedelta(0)
        if not grace:
            self.hold.drop()
        await self._end(parts, schedule, delivering, grace=grace)
        return await parts.leave()

    async def _open_parts(self, held: Sequence[Check]) -> Parts:
        """In a thread, because the database may let it wait for longer than the event loop may stand still."""
        return await asyncio.to_thread(
            open_parts,
            self.settings,
            self.store,
            clock=self.clock,
            hold=self.hold,
            held=held,
            counters=self.counters,
            mended=self.mended,
        )

    def hanging(self, now: float) -> str | None:
        """The part that hangs; None while all turn, and before and after."""
        return self._turning().hanging(now) if self._turning else None

    def next_poll(self) -> datetime | None:
        """When the next poll is due."""
        return self._next_poll()

    def _schedule(self, parts: Parts) -> Schedule:
        schedule = Schedule(clock=self.clock)
        for poll in parts.polls:
            job = partial(self._poll, poll)
            schedule.every(self.settings.poll.every, job, name=f"poll {poll.name}", first_at=parts.due[poll.name])
        if any(channel.digest for channel in self.settings.channels.values()):
            now = self.clock()
            digests = Digests(parts.store, self.settings, started_at=now)
            schedule.every(DIGEST_CHECK, lambda: digests.tick(self.clock()), name="digests", first_at=now)
        pruner, later = Pruner(parts.store, self.settings), self.clock() + RETENTION_CHECK
        schedule.every(RETENTION_CHECK, lambda: pruner.tick(self.clock()), name="retention", first_at=later)
        return schedule

    async def _poll(self, poll: Poller) -> None:
        """One poll; the first to end, however it does, is what readiness waits for."""
        try:
            result = await poll.run()
            self.heart.poll_ended(poll.name, result.problem, seconds=result.seconds)
            await self._count()
        except Exception:
            self.heart.poll_ended(poll.name, "the poll failed")
            raise
        finally:
            self._attempted.set()

    async def _count(self) -> None:
        """Keep what the status tells; a database that is away leaves it as it was."""
        with suppress(DatabaseError):
            self.counts = await self.store.write(_counts, fenced=False)

    async def _look(self) -> None:
        """Notice the end: told to stop, another daemon leads, or one that stands by may lead by now."""
        while not self.ending.is_set() and not self._is_lost():
            await _first(self.ending, timeout=LOOK_EVERY)
        self._over.set()

    def _is_lost(self) -> bool:
        """Whether another daemon leads, or may, or the file is another one.

        A daemon that is alone goes on fetching while its database is away.
        """
        if not self.hold.leads or self.store.file.is_replaced:
            return True
        return self.hold.until is not None and boot_clock() >= self.hold.until and self.hold.others > 0

    async def _end(self, parts: Parts, schedule: Schedule, delivering: asyncio.Task[None], *, grace: timedelta) -> None:
        """Let fetches end for five seconds, then messages; what is unfinished then is done by the next term."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await schedule.stop(grace=grace)
        if grace:
            await parts.batch.flush()
            while parts.deliverer.is_sending and clock() - began < self._patience():
                await parts.deliverer.finish(timeout=LOOK_EVERY)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)

    def _patience(self) -> float:
        """Seconds for the end; a reload has time for a message that is slow."""
        return STOP_AFTER if self.stopping.is_set() else RELOAD_AFTER


def _counts(tx: Transaction) -> Counts:
    watched, failing = watched_counts(tx)
    return Counts(watched, failing, incidents.troubled(tx))


async def _first(*events: asyncio.Event, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- it is no failure
    """Wait for any of these, or for so many seconds."""
    waiting = [asyncio.create_task(one.wait()) for one in events]
    await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()

"""Takes what is due from the outbox, sends it, marks it afterwards: at least once, in order per incident and channel.

Refuses to decide what is said.  A channel that hangs holds up itself alone; its child is killed with us.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from monitor import channels
from monitor.counters import Counters
from monitor.errors import DatabaseError, LeaseLost
from monitor.message import render_group
from monitor.model import Attempt, Delivery, DeliveryState, Message, Notification, Reason, Severity
from monitor.store import outbox
from monitor.store.outbox import GATHERING, Fallback
from monitor.store.writer import Store, Transaction

BATCH: Final = 20  # messages that one child sends
CHILDREN: Final = 52  # at once; with 8 MiB each, a template of 35 MiB and the daemon they fit into 512 MiB
SLOW_CHILDREN: Final = 40  # of these for channels whose last message took long: they cannot hold up the others
SLOW: Final = 5.0  # seconds
LONGEST_WAIT: Final = 5.0  # seconds between looks, for what another process put into the outbox

log = logging.getLogger(__name__)


class Deliverer:
    """Delivers what the outbox holds for these channels (name → Apprise URL)."""

    def __init__(
        self,
        store: Store,
        urls: Mapping[str, str],
        fallbacks: Mapping[str, Fallback],
        *,
        timezone: ZoneInfo,
        clock: Callable[[], datetime],
        counters: Counters,
        until: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`until`: when sending is no longer ours to do, on the clock since boot; None: there is no end."""
        self._until = until
        self._store = store
        self._urls = urls
        self._fallbacks = fallbacks
        self._timezone = timezone
        self._clock = clock
        self._counters = counters
        self._busy: dict[str, asyncio.Task[bool]] = {}
        self._failing: dict[str, str] = {}  # channel → what was last said to be wrong with it
        self._template = channels.Template()
        self._children = asyncio.Semaphore(CHILDREN)
        self._slow_children = asyncio.Semaphore(SLOW_CHILDREN)
        self._slow: set[str] = set()  # channels
        self._woken = asyncio.Event()
        self._finishing = False
        self._ahead = timedelta(0)  # what comes due so soon is due
        self.turned_at = time.monotonic()  # of its last look into the outbox

    def wake(self) -> None:
        """There may be something new in the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; then children under way are killed."""
        woken = False
        try:
            while True:
                self.turned_at = time.monotonic()
                self._woken.clear()
                await self._start_due()
                # What is new is due when it has been gathered.
                woken = await self._wait(GATHERING.total_seconds() if woken else LONGEST_WAIT)
                if woken:
                    self._template.warm_up()
        finally:
            await self._stop()

    async def drain(self) -> None:
        """Try everything that is due once, and what comes due by its success; nothing more is gathered."""
        self._ahead = GATHERING
        async with self._template:
            while await self._start_due():
                if not any(await asyncio.gather(*self._busy.values())):
                    return

    @property
    def is_sending(self) -> bool:
        """Whether something is under way."""
        return bool(self._busy)

    async def finish(self, *, timeout: float) -> None:  # noqa: ASYNC109 -- what is left is not cancelled here
        """Begin nothing more, and give what is being sent so many seconds."""
        self._finishing = True
        if self._busy:
            await asyncio.wait(list(self._busy.values()), timeout=timeout)

    async def _start_due(self) -> bool:
        """Start sending on every channel that has something due and is not busy."""
        if self._finishing:
            return False
        now = self._clock() + self._ahead
        try:
            waiting = await self._store.write(lambda tx: outbox.due_channels(tx, now))
        except DatabaseError as error:
            log.debug("the outbox cannot be read: %s", error)
            return False
        starting = [name for name in self._urls if name in waiting and name not in self._busy]
        for name in sorted(starting, key=lambda channel: channel in self._slow):
            task = asyncio.create_task(self._send(name), name=f"deliver {name}")
            self._busy[name] = task
            task.add_done_callback(partial(self._finished, name))
        return bool(starting)

    def _finished(self, name: str, task: asyncio.Task[bool]) -> None:
        del self._busy[name]
        if not task.cancelled() and task.exception() is None and task.result():
            self.wake()

    async def _wait(self, seconds: float) -> bool:
        """Wait for the next look into the outbox; return whether there may be something new before that."""
        try:
            async with asyncio.timeout(seconds):
                return await self._woken.wait()
        except TimeoutError:
            return False

    async def _stop(self) -> None:
        under_way = list(self._busy.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._template.aclose()

    # --- one channel --------------------------------------------------------------------------------------------------

    async def _send(self, channel: str) -> bool:
        """Send what is due on one channel; True when something was delivered, so that there may be more."""
        try:
            return await self._send_due(channel)
        except Exception:
            log.exception("%s: what is due could not be sent", channel)
            return False

    async def _send_due(self, channel: str) -> bool:
        delivered = False
        async with self._slow_children if channel in self._slow else nullcontext(), self._children:
            groups = {group[0].id: group for group in await self._claim(channel)}
            outgoing = [self._outgoing(group) for group in groups.values()]
            sending = channels.send(channel, self._urls[channel], outgoing, until=self._until, template=self._template)
            async with aclosing(sending) as attempts:
                began = time.monotonic()
                async for attempt in attempts:
                    self._slow.discard(channel)
                    if time.monotonic() - began > SLOW:
                        self._slow.add(channel)
                    delivered |= await self._mark(groups[attempt.delivery_id], attempt)
                    began = time.monotonic()
        return delivered

    async def _claim(self, channel: str) -> list[list[Delivery]]:
        now = self._clock() + self._ahead
        try:
            return await self._store.write(lambda tx: outbox.claim_due(tx, channel, now, limit=BATCH))
        except LeaseLost:
            return []
        except DatabaseError as error:
            log.warning("%s: the outbox cannot be read: %s", channel, error)
            return []

    def _outgoing(self, group: list[Delivery]) -> channels.Outgoing:
        """One message for what came due together."""
        words = [delivery.said for delivery in group if isinstance(delivery.said, Message)]
        said = [delivery.said for delivery in group if isinstance(delivery.said, Notification)]
        message = words[0] if words else render_group(said, timezone=self._timezone)
        return channels.Outgoing(
            group[0].id,
            message,
            max((one.severity for one in said), default=Severity.INFO),
            resolved=bool(said) and all(one.reason is Reason.RESOLVED for one in said),
        )

    async def _mark(self, group: list[Delivery], attempt: Attempt) -> bool:
        """Keep the outcome, however long the database is away: what is not marked would be sent again."""
        at = self._clock()  # one instant for all: what failed together comes due together

        def mark(tx: Transaction) -> list[DeliveryState]:
            fallback = self._fallbacks.get(group[0].channel)
            return [
                outbox.record_attempt(tx, replace(attempt, delivery_id=one.id), at=at, fallback=fallback)
                for one in group
            ]

        # That a message went out is true whoever leads; what became of one that failed is the leader's to say.
        fenced = attempt.error is not None
        while True:
            try:
                # Shielded: a delivery that is cancelled now has gone out all the same.
                states = await asyncio.shield(self._store.write(mark, fenced=fenced))
            except LeaseLost:
                return False
            except DatabaseError:
                await asyncio.sleep(1)
                continue
            for state in states:
                self._counters.attempted(group[0].channel, _outcome(state))
            self._log(group, attempt, states)
            return attempt.error is None or group[0].channel in self._fallbacks

    def _log(self, group: list[Delivery], attempt: Attempt, states: list[DeliveryState]) -> None:
        """Each message that was delivered or given up, and why a channel takes none: once, until that changes."""
        channel, error = group[0].channel, attempt.error
        for delivery, state in zip(group, states, strict=True):
            if state is DeliveryState.DELIVERED:
                log.info("%s: delivered %s", channel, _named(delivery), extra=_fields(delivery))
            elif state is DeliveryState.GIVEN_UP:
                words = (channel, _named(delivery), delivery.attempts + 1, error)
                log.error("%s: gave up %s after %d attempts: %s", *words, extra=_fields(delivery))
        if error is None:
            if self._failing.pop(channel, None):
                log.info("%s: takes messages again", channel, extra={"channel": channel})
        elif self._failing.get(channel) != error:
            self._failing[channel] = error
            what = _named(*group)
            log.warning(
                "%s: %s not delivered, and tried again until it is: %s", channel, what, error, extra=_fields(group[0])
            )


def _outcome(state: DeliveryState) -> str:
    """How an attempt ended: what is still pending failed, and is tried again."""
    return "failed" if state is DeliveryState.PENDING else state.value


def _named(first: Delivery, *others: Delivery) -> str:
    """What is on its way, in a few words."""
    said = first.said
    if not isinstance(said, Notification):
        return "digest"
    more = f" and {len(others)} more" if others else ""
    return f"{said.facts.name} {said.rule.value} {said.reason.value} ({said.id}){more}"


def _fields(delivery: Delivery) -> dict[str, str]:
    """The same for a log that has fields."""
    said = delivery.said.named() if isinstance(delivery.said, Notification) else {}
    return {"channel": delivery.channel} | said

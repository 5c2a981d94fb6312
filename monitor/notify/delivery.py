"""Takes what is due from the outbox, sends it, marks it afterwards: at least once, nothing older after something newer.

A channel that hangs holds up itself alone, and what is worse than what it hangs in waits ten seconds at most.  Children
are killed with us.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from monitor import channels, durations
from monitor.config import Settings
from monitor.counters import Counters
from monitor.errors import DatabaseError, LeaseLost
from monitor.message import render_group, worst_first
from monitor.model import Attempt, Delivery, Message, Notification, Reason, Severity
from monitor.notify import fallback
from monitor.notify.outcomes import Outcomes, Unwritten, keys_of, log_down
from monitor.store import channels as stored_channels
from monitor.store import deliveries
from monitor.store.channels import ChannelState
from monitor.store.outbox import GATHERING
from monitor.store.writer import Store, Transaction

BATCH: Final = 20  # messages that one child sends
SLOW: Final = 5.0  # seconds: a channel whose last message took longer, or failed, waits for room behind the others
KEPT_FREE: Final = (
    12  # of `channels.CHILDREN`, at most: kept for those others, where there are too many for all to start
)
LONGEST_WAIT: Final = 1.0  # seconds between looks, for what another process put into the outbox
LAST_TIMEOUT: Final = 2.0  # seconds for writing them when the deliverer ends
DRAIN_TIMEOUT: Final = 30.0  # seconds for writing what became of the messages of a `check`
HURRIED: Final = 10.0  # seconds for an attempt while something worse waits
NO_WAIT: Final = timedelta(0)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sending:
    """The message that is under way on a channel."""

    urgency: int
    began: float  # on the event loop's clock
    overtaken: asyncio.Event = field(default_factory=asyncio.Event)  # something worse waits for the channel


class Deliverer:
    """Delivers what the outbox holds for these channels (name → Apprise URL)."""

    def __init__(
        self,
        store: Store,
        urls: Mapping[str, str],
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        counters: Counters,
        installation: str,
        until: Callable[[], float | None] = lambda: None,
        is_polling: Callable[[], bool] = lambda: False,
        catch_up: Callable[[Transaction, str], None] = lambda _tx, _channel: None,
        template: channels.Template | None = None,
        unwritten: Unwritten | None = None,
    ) -> None:
        """`installation`: its id, for the keys of incidents at on-call services.

        `until`: when sending is no longer ours to do, on the clock since boot; None: there is no end.

        While `is_polling`, what is new is gathered for a moment.  `catch_up` tells a channel that was down of what
        is open and was given up meanwhile.  A `template` that is given is its giver's to close; `unwritten` outlives
        this deliverer.
        """
        self._until = until
        self._store = store
        self._urls = urls
        self._on_call = {name for name, url in urls.items() if channels.is_on_call(url)}
        self._installation = installation
        self._settings = settings
        self._clock = clock
        self._is_polling = is_polling
        self._busy: dict[str, asyncio.Task[bool]] = {}
        self._sending: dict[str, Sending] = {}
        self._template = template or channels.Template()
        self._owns_template = template is None
        self._outcomes = Outcomes(
            store,
            settings,
            Unwritten() if unwritten is None else unwritten,
            on_call=self._on_call,
            clock=clock,
            counters=counters,
            catch_up=catch_up,
        )
        self._outcomes.forget(urls.keys())
        self._slow: set[str] = set()  # channels
        self._failing_targets: dict[str, set[str]] = {}  # by channel: the keys of recipients that failed last
        self._crowded = False  # something is due, and there is no room to send it
        self._woken = asyncio.Event()
        self._is_expecting = False  # what is new will be sent in a moment
        self._finishing = False
        self._draining = False
        self._tried: set[str] = set()  # channels that took nothing while this drains
        self.turned_at = time.monotonic()  # of its last look into the outbox

    def wake(self, *, is_new: bool = False) -> None:
        """There may be something due in the outbox; `is_new`: there is, and it will be sent in a moment."""
        self._is_expecting |= is_new
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; then children under way are killed."""
        try:
            while True:
                self.turned_at = time.monotonic()
                self._woken.clear()
                await self._start_due()
                await self._wait()
                if self._is_expecting and self._urls:
                    self._template.warm_up()
                self._is_expecting = False
        finally:
            await self._stop()

    async def drain(self) -> None:
        """Try everything that is due once, and what comes due by that; nothing more is gathered."""
        self._draining = True
        self._tried.clear()
        try:
            await self._start_due()
            while self._busy:
                await asyncio.wait(list(self._busy.values()), return_when=asyncio.FIRST_COMPLETED)
                await self._start_due()
        finally:
            await self._stop()
        until = time.monotonic() + DRAIN_TIMEOUT
        while self._outcomes.unwritten.of and time.monotonic() < until:
            await asyncio.sleep(LONGEST_WAIT)
            await self._outcomes.write()
        if trouble := self._outcomes.unwritten.trouble:
            log.error("%s cannot be written, and may be sent again: %s", trouble.what, trouble.cause)

    @property
    def is_sending(self) -> bool:
        """Whether something is under way."""
        return bool(self._busy)

    async def finish(self, *, timeout: float) -> None:  # noqa: ASYNC109 -- what is left is not cancelled here
        """Begin nothing more, and give what is being sent so many seconds."""
        self._finishing = True
        if self._busy:
            await asyncio.wait(list(self._busy.values()), timeout=timeout)

    # --- what is due --------------------------------------------------------------------------------------------------

    async def _start_due(self) -> None:
        """Start sending on every channel that has something due and is not busy, as far as there is room."""
        if self._finishing:
            return
        await self._outcomes.write()
        try:
            due, states = await self._look()
        except DatabaseError as error:
            log.debug("the outbox cannot be read: %s", error)
            return
        for name, sending in self._sending.items():
            if due.get(name, 0) > sending.urgency:
                sending.overtaken.set()
        now = self._clock()
        paused = {name for name, state in states.items() if state.is_paused(now)}
        unable = self._busy.keys() | paused | self._tried
        waiting = [name for name in self._urls if name in due and name not in unable]
        failing = {name for name, state in states.items() if state.failing_since}
        starting = self._with_room(waiting, due, behind=self._slow | failing)
        self._crowded = len(starting) < len(waiting)
        for name in starting:
            task = asyncio.create_task(self._send(name), name=f"deliver {name}")
            self._busy[name] = task
            task.add_done_callback(partial(self._finished, name))

    def _with_room(self, waiting: list[str], due: Mapping[str, int], *, behind: set[str]) -> list[str]:
        """Return those that can start now, the worst first: those `behind` leave room for the others."""
        by_urgency = sorted(waiting, key=lambda name: -due[name])
        room = channels.CHILDREN - len(self._busy)
        first = [name for name in by_urgency if name not in behind][:room]
        others = self._urls.keys() - behind - self._busy.keys() - set(first)
        kept_free = 0 if self._draining else min(len(others), KEPT_FREE)  # nothing more comes
        room_behind = max(room - len(first) - kept_free, 0)
        return first + [name for name in by_urgency if name in behind][:room_behind]

    async def _look(self) -> tuple[dict[str, int], dict[str, ChannelState]]:
        """Look into the outbox, after what the clock alone says of the channels."""
        due, states = await self._store.write(self._read, fenced=False)
        # What is due is tried now, and that tells more than the clock.
        tried = {name for name in due if name not in self._busy}
        overdue = [name for name, state in states.items() if name not in tried and self._is_overdue(name, state)]
        if not overdue:
            return due, states
        for name in overdue:
            await self._go_down(name)
        return await self._store.write(self._read, fenced=False)

    def _read(self, tx: Transaction) -> tuple[dict[str, int], dict[str, ChannelState]]:
        due = deliveries.due_channels(tx, self._clock(), ahead=self._ahead(), without=self._outcomes.unwritten.ids)
        return due, stored_channels.load(tx)

    def _ahead(self) -> timedelta:
        """How much earlier than it would be what is new is due: nothing more will come while nothing polls."""
        return GATHERING if self._draining or not self._is_polling() else NO_WAIT

    def _is_overdue(self, name: str, state: ChannelState) -> bool:
        configured = self._settings.channels.get(name)
        if configured is None:
            return False
        return fallback.is_overdue(state, at=self._clock(), fallback_after=configured.fallback_after)

    async def _go_down(self, name: str) -> None:
        at, within = self._clock(), durations.write(self._settings.channels[name].fallback_after)
        outcome = await self._store.write(lambda tx: fallback.go_down(tx, self._settings, name, at=at))
        log_down(name, f"nothing was taken within {within}", outcome)

    def _finished(self, name: str, task: asyncio.Task[bool]) -> None:
        del self._busy[name]
        has_more = not task.cancelled() and task.exception() is None and task.result()
        if self._draining and not has_more:
            self._tried.add(name)
        if self._crowded or has_more:
            self.wake()

    async def _wait(self) -> None:
        """Wait for the next look into the outbox."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT):
                await self._woken.wait()

    async def _stop(self) -> None:
        under_way = list(self._busy.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_TIMEOUT):
                await self._outcomes.write()
        if self._owns_template:
            await self._template.aclose()

    # --- one channel --------------------------------------------------------------------------------------------------

    async def _send(self, channel: str) -> bool:
        """Send what is due on one channel; True when there may be more to send, there or elsewhere."""
        try:
            return await self._send_due(channel)
        except Exception:
            log.exception("%s: what is due could not be sent", channel)
            return False
        finally:
            self._sending.pop(channel, None)

    async def _send_due(self, channel: str) -> bool:
        more = False
        await self._template.ready()  # first: what is claimed after that is newer, and the time of an attempt its own
        groups = await self._claim(channel)
        outgoing = [self._outgoing(group) for group in groups]
        under_way = channels.UnderWay()
        sending = channels.send(
            channel,
            self._urls[channel],
            outgoing,
            until=self._until,
            template=self._template,
            failing=self._failing_targets.get(channel, ()),
            under_way=under_way,
        )
        async with aclosing(sending) as attempts:
            while groups and (attempt := await self._attempt(attempts, groups[0], under_way)):
                group = groups.pop(0)
                self._remember(channel, attempt)
                if attempt.too_long and not attempt.reached and len(group) > 1:
                    await self._take_apart(group, attempt)
                    more = True
                    continue
                outcome = await self._outcomes.keep(
                    group, attempt, [delivery for later in groups for delivery in later]
                )
                if outcome is None:
                    if channel in self._outcomes.unwritten.of:  # else all that was claimed might be sent again
                        break
                    continue
                more |= attempt.reached or outcome.handed_over or outcome.is_overtaken
                if outcome.handed_over:
                    self._tried.clear()
                # What ended early ended its child, too; what waits for a channel that is back is joined.
                if outcome.is_overtaken or outcome.came_up or attempt.unknown:
                    break
        return more

    async def _attempt(
        self, attempts: AsyncGenerator[Attempt, None], group: list[Delivery], under_way: channels.UnderWay
    ) -> Attempt | None:
        """Wait for the outcome of the message under way, not for long while something worse waits; None: no more."""
        channel, clock = group[0].channel, asyncio.get_running_loop().time
        # What some have got already holds up nothing that nobody has got.
        urgency = max(0 if delivery.reached else deliveries.urgency(delivery) for delivery in group)
        sending = self._sending[channel] = Sending(urgency, clock())
        answer = asyncio.create_task(_next(attempts))
        overtaken = asyncio.create_task(sending.overtaken.wait())
        try:
            await asyncio.wait((answer, overtaken), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((answer,), timeout=max(sending.began + HURRIED - clock(), 0))
            if answer.done():
                return answer.result()
            return under_way.interrupt(group[0].id, f"no answer within {HURRIED:g} s, and something worse waits")
        finally:
            self._slow.discard(channel)
            if clock() - sending.began > SLOW:
                self._slow.add(channel)
            overtaken.cancel()
            answer.cancel()
            await asyncio.gather(answer, overtaken, return_exceptions=True)

    def _remember(self, channel: str, attempt: Attempt) -> None:
        """Keep which recipients failed: next time they are asked after those that did not."""
        failing = self._failing_targets.setdefault(channel, set())
        for target in attempt.targets:
            (failing.discard if target.error is None else failing.add)(target.key)

    async def _take_apart(self, group: list[Delivery], attempt: Attempt) -> None:
        """Send in two what was too long in one."""
        log.debug("%s: %s: %d notifications are taken apart", group[0].channel, attempt.error, len(group))
        at = self._clock()
        try:
            await self._store.write(lambda tx: deliveries.take_apart(tx, group, at=at))
        except (LeaseLost, DatabaseError) as error:  # it is found too long again
            log.debug("%s: could not be taken apart: %s", group[0].channel, error)

    async def _claim(self, channel: str) -> list[list[Delivery]]:
        now, ahead, joins = self._clock(), self._ahead(), channel not in self._on_call
        without = self._outcomes.unwritten.ids

        def claim(tx: Transaction) -> list[list[Delivery]]:
            return deliveries.claim_due(tx, channel, now, limit=BATCH, ahead=ahead, joins=joins, without=without)

        try:
            groups = await self._store.write(claim)
        except LeaseLost:
            return []
        except DatabaseError as error:
            log.warning("%s: the outbox cannot be read: %s", channel, error)
            return []
        told = self._outcomes.unwritten.told(channel)
        return [[_without_told(delivery, told) for delivery in group] for group in groups]

    def _outgoing(self, group: list[Delivery]) -> channels.Outgoing:
        """One message for what came due together."""
        words = [delivery.said for delivery in group if isinstance(delivery.said, Message)]
        said = [delivery.said for delivery in group if isinstance(delivery.said, Notification)]
        folded = {delivery.said.id: delivery.folded for delivery in group if isinstance(delivery.said, Notification)}
        message = words[0] if words else self._render(said, folded)
        return channels.Outgoing(
            group[0].id,
            message,
            max((one.severity for one in said), default=Severity.INFO),
            resolved=bool(said) and all(one.reason is Reason.RESOLVED for one in said),
            members=len(group),
            counted=bool(words),
            targets=group[0].targets,
            due=group[0].due,
            key=self._key(group[0]),
            ends=bool(words),
            mail_id=group[0].mail_id,
            mail_thread=_thread(group),
        )

    def _render(self, said: list[Notification], folded: Mapping[str, tuple[Notification, ...]]) -> Message:
        settings = self._settings
        return render_group(said, timezone=settings.timezone, folded=folded, top_up_urls=settings.top_up_urls)

    def _key(self, delivery: Delivery) -> str:
        """Return the key of what it tells, for a service that keeps one incident for each."""
        said = delivery.said
        what = said.incident_id if isinstance(said, Notification) else f"digest.{delivery.id}"
        return channels.incident_key(self._installation, what)


async def _next(attempts: AsyncGenerator[Attempt, None]) -> Attempt | None:
    return await anext(attempts, None)


def _thread(group: list[Delivery]) -> str:
    """What the message answers: the first one of the incident that stands in its subject."""
    said = {delivery.said.id: delivery for delivery in group if isinstance(delivery.said, Notification)}
    if not said:
        return ""
    worst = worst_first([delivery.said for delivery in said.values() if isinstance(delivery.said, Notification)])[0]
    return said[worst.id].mail_thread


def _without_told(delivery: Delivery, told: set[str]) -> Delivery:
    """Leave out what was folded into a delivery and has been told."""
    if not told.intersection(keys_of(delivery)):
        return delivery
    return replace(delivery, folded=tuple(older for older in delivery.folded if older.id not in told))

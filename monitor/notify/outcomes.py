"""What became of each message: written to the outbox, or kept until the database takes it, and said in the log."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from monitor import channels
from monitor.config import Settings
from monitor.counters import Counters
from monitor.errors import DatabaseError, LeaseLost
from monitor.model import Attempt, Delivery, DeliveryState, Notification
from monitor.notify import fallback
from monitor.notify.fallback import Outcome
from monitor.store.writer import Store, Transaction, Trouble

RETRY_UNWRITTEN: Final = 60.0  # seconds until a message is tried again whose failure cannot be written

log = logging.getLogger("monitor.notify.delivery")  # as its lines have always been named


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was sent, and its outcome, which the database has not taken yet."""

    group: list[Delivery]
    attempt: Attempt
    at: datetime
    since: float  # by `time.monotonic`


@dataclass(slots=True)
class Unwritten:
    """Outcomes that could not be written, by channel; what was delivered is not sent again while they are known."""

    of: dict[str, list[Sent]] = field(default_factory=dict)
    cause: str = ""

    @property
    def ids(self) -> set[int]:
        """The deliveries they are about."""
        return {delivery.id for sent in self.of.values() for one in sent for delivery in one.group}

    def told(self, channel: str) -> set[str]:
        """The notifications that a channel has taken, without a word of it in the database."""
        taken = [one for one in self.of.get(channel, ()) if one.attempt.reached]
        return {key for one in taken for delivery in one.group for key in keys_of(delivery)}

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Keep what channels have taken under their new names (old → new)."""
        for old, new in renamed.items():
            for one in self.of.pop(old, ()):
                group = [replace(delivery, channel=new) for delivery in one.group]
                self.of.setdefault(new, []).append(replace(one, group=group))

    @property
    def trouble(self) -> Trouble | None:
        """Return what cannot be written, since when, and why; None where nothing waits."""
        waiting = [one for sent in self.of.values() for one in sent]
        if not waiting:
            return None
        what = f"what became of {len(waiting)} message{'s' * (len(waiting) != 1)} ({', '.join(sorted(self.of))})"
        return Trouble(self.cause, min(one.since for one in waiting), what)


class Outcomes:
    """Writes the outcomes of attempts; those in `unwritten` could not be written yet."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        unwritten: Unwritten,
        *,
        on_call: Collection[str],
        clock: Callable[[], datetime],
        counters: Counters,
        catch_up: Callable[[Transaction, str], None],
    ) -> None:
        """`on_call`: the channels of on-call services.  `catch_up` tells a channel that was down of what is open."""
        self.unwritten = unwritten
        self._store = store
        self._settings = settings
        self._on_call = on_call
        self._clock = clock
        self._counters = counters
        self._catch_up = catch_up
        self._failing: dict[str, str] = {}  # channel → what was last said to be wrong with it

    def forget(self, names: Collection[str]) -> None:
        """Give up what is kept for channels that are not among `names`: they have left the configuration."""
        for name in self.unwritten.of.keys() - names:
            del self.unwritten.of[name]

    async def keep(self, group: list[Delivery], attempt: Attempt, remaining: list[Delivery]) -> Outcome | None:
        """Keep the outcome; None when it could not be written yet, or another daemon leads and says it."""
        sent = Sent(group, attempt, self._clock(), time.monotonic())
        try:
            return await self._write(sent, remaining)
        except LeaseLost:
            return None
        except DatabaseError as error:
            self._put_off(sent, error)
            return None

    async def _write(self, sent: Sent, remaining: Sequence[Delivery] = ()) -> Outcome:
        group, attempt = sent.group, sent.attempt
        salt, on_call = channels.SALT, group[0].channel in self._on_call

        def keep(tx: Transaction) -> Outcome:
            return fallback.keep_outcome(
                tx, self._settings, group, attempt, at=sent.at, remaining=remaining, salt=salt, on_call=on_call
            )

        # That a message went out is true whoever leads; what became of one that failed is the leader's to say.
        # Shielded: a delivery that is cancelled now has gone out all the same.
        outcome = await asyncio.shield(self._store.write(keep, fenced=not attempt.reached))
        for state in outcome.states:
            self._counters.attempted(group[0].channel, _outcome(state))
        self._log(group, attempt, outcome)
        if outcome.came_up:
            await self._tell_again(group[0].channel)
        return outcome

    def _put_off(self, sent: Sent, error: DatabaseError) -> None:
        """Keep an outcome until it can be written: what waits behind it on the channel is sent meanwhile."""
        channel = sent.group[0].channel
        if channel not in self.unwritten.of:
            what = "was delivered" if sent.attempt.reached else "was not delivered"
            words = "%s: %s %s, and that cannot be written; tried again until it can: %s"
            log.error(words, channel, _named(*sent.group), what, error, extra=_fields(sent.group[0]))
        self.unwritten.cause = str(error)
        self.unwritten.of.setdefault(channel, []).append(sent)

    async def write(self) -> None:
        """Write the outcomes that could not be written before, of each channel until one fails again."""
        for channel in list(self.unwritten.of):
            waiting = self.unwritten.of[channel]
            while waiting:
                sent = waiting[0]
                try:
                    await self._write(sent)
                except LeaseLost:
                    waiting.remove(sent)
                    continue
                except DatabaseError as error:
                    self.unwritten.cause = str(error)
                    waiting.remove(sent)
                    is_old = time.monotonic() - sent.since >= RETRY_UNWRITTEN
                    if sent.attempt.reached or not is_old:
                        waiting.append(sent)  # behind the others: it alone may be at fault
                    break
                waiting.remove(sent)
            if not waiting:
                del self.unwritten.of[channel]
                log.warning("%s: what became of its messages is written", channel, extra={"channel": channel})

    async def _tell_again(self, channel: str) -> None:
        """Tell a channel that was down of what is open, and was given up meanwhile."""
        try:
            await self._store.write(lambda tx: self._catch_up(tx, channel))
        except DatabaseError as error:
            log.warning("%s: what is open could not be told again: %s", channel, error)

    # --- the log ------------------------------------------------------------------------------------------------------

    def _log(self, group: list[Delivery], attempt: Attempt, outcome: Outcome) -> None:
        """Each message that was delivered or given up, and why a channel takes none: once, until that changes."""
        channel, error = group[0].channel, attempt.error
        for delivery, state in zip(group, outcome.states, strict=True):
            words = (channel, _named(delivery), delivery.attempts + 1, error)
            if state is DeliveryState.DELIVERED and error is not None:
                log.error(
                    "%s: gave up %s for some of the channel after %d attempts: %s", *words, extra=_fields(delivery)
                )
            elif state is DeliveryState.DELIVERED:
                log.info("%s: delivered %s", *words[:2], extra=_fields(delivery))
            elif state is DeliveryState.GIVEN_UP:
                log.error("%s: gave up %s after %d attempts: %s", *words, extra=_fields(delivery))
            elif state is DeliveryState.UNKNOWN:
                what = "%s: sent %s, and nobody knows whether it arrived: %d attempts: %s"
                log.error(what, *words, extra=_fields(delivery))
        if error is None:
            if self._failing.pop(channel, None) or outcome.came_up:
                log.info("%s: takes messages again", channel, extra={"channel": channel})
            return
        if self._failing.get(channel) != error:
            self._failing[channel] = error
            what = "not delivered, and tried again until it is"
            if attempt.reached or group[0].reached:
                what = "not delivered to all of the channel, and tried again for the rest"
            log.warning("%s: %s %s: %s", channel, _named(*group), what, error, extra=_fields(group[0]))
        log_down(channel, error, outcome)


def keys_of(delivery: Delivery) -> list[str]:
    """The notifications that a delivery tells."""
    own = [delivery.said.id] if isinstance(delivery.said, Notification) else []
    return [*own, *(older.id for older in delivery.folded)]


def log_down(channel: str, error: str, outcome: Outcome) -> None:
    if outcome.went_down:
        stands_in = f"{outcome.stand_in} stands in" if outcome.stand_in else "nobody stands in"
        log.warning("%s: down, %s: %s", channel, stands_in, error, extra={"channel": channel})


def _outcome(state: DeliveryState) -> str:
    """How an attempt ended: what is still pending failed, and is tried again; so is what tells a folded one."""
    return "failed" if state in (DeliveryState.PENDING, DeliveryState.FOLDED) else state.value


def _named(first: Delivery, *others: Delivery) -> str:
    """What is on its way, in a few words."""
    said = first.said
    if not isinstance(said, Notification):
        return "digest"
    more = f" and {len(others)} more" if others else ""
    credits_ = said.facts.credits
    figure = f", {credits_:,.2f} credits" if credits_ is not None else ""
    return f"{said.facts.name} {said.rule.value} {said.why}{figure} ({said.id}){more}"


def _fields(delivery: Delivery) -> dict[str, str]:
    """The same for a log that has fields."""
    said = delivery.said.named() if isinstance(delivery.said, Notification) else {}
    return {"channel": delivery.channel} | said

"""When a channel is down, and which one stands in for it: what an attempt says of its channel.

A channel is down when it refuses everything, or has taken nothing for `fallback_after`; the first success ends that.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from monitor.config import Settings
from monitor.model import Attempt, Delivery, DeliveryState
from monitor.notify.quiet_hours import held_until
from monitor.store import channels, deliveries, outbox, pages
from monitor.store.channels import ChannelState
from monitor.store.deliveries import Marked
from monitor.store.outbox import BETTER, Waiting
from monitor.store.writer import Transaction

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)

log = logging.getLogger(__name__)


# --- the state of a channel -------------------------------------------------------------------------------------------


def judge_attempt(state: ChannelState, attempt: Attempt, *, at: datetime, fallback_after: timedelta) -> ChannelState:
    """Return the state of a channel after an attempt; one of unknown outcome counts as a failure.

    What somebody of the channel took is none, whatever the others did.
    """
    asked = attempt.retry_after
    if attempt.reached:
        state = ChannelState(state.name)
    else:
        since = state.failing_since if state.failing_since and state.failing_since <= at else at
        state = replace(state, failing_since=since, reason=attempt.error)
    if asked:
        state = replace(state, paused_at=at, paused_until=at + min(asked, LONGEST_RETRY_AFTER))
    if attempt.reached:
        return state
    is_down = not attempt.retryable or (asked is not None and asked > fallback_after)
    if state.down_since is None and (is_down or at - since >= fallback_after):
        state = replace(state, down_since=at)
    return state


def is_overdue(state: ChannelState, *, at: datetime, fallback_after: timedelta) -> bool:
    """Return whether a channel has taken nothing for so long that it is down, though nothing was tried just now."""
    if state.failing_since is None or state.down_since is not None:
        return False
    return at - state.failing_since >= fallback_after


# --- who stands in ----------------------------------------------------------------------------------------------------


def stand_in(settings: Settings, channel: str, down: Collection[str]) -> str | None:
    """Return the first fallback of a channel that is up; None where there is none."""
    return next((name for name in settings.fallbacks(channel) if name not in down), None)


def cover(
    tx: Transaction,
    settings: Settings,
    *,
    at: datetime,
    down: Collection[str] | None = None,
    notification_ids: Collection[str] | None = None,
) -> bool:
    """Give what waits for the channels that are down (or only these notifications) to those that stand in.

    Return whether anything was given.
    """
    unable = channels.load_down(tx) if down is None else down
    given = [
        _cover_channel(tx, settings, name, unable, at=at, notification_ids=notification_ids)
        for name in settings.channels
        if name in unable
    ]
    return any(given)


def _cover_channel(
    tx: Transaction,
    settings: Settings,
    channel: str,
    down: Collection[str],
    *,
    at: datetime,
    notification_ids: Collection[str] | None,
) -> bool:
    """Once per notification, under the stand-in's own minimum severity and quiet hours."""
    name = stand_in(settings, channel, down)
    if name is None:
        return False
    others = list(settings.fallbacks(channel))
    rows = outbox.waiting(tx, channel, at=at, stand_in=name, others=others, notification_ids=notification_ids)
    given = [_hand_over(tx, settings, row, name, at=at) for row in rows]
    return any(given)


def _hand_over(tx: Transaction, settings: Settings, waiting: Waiting, name: str, *, at: datetime) -> bool:
    worst = waiting.worst
    if waiting.reason in BETTER and waiting.incident_id is not None:
        worst = max(worst, outbox.told_severities(tx, waiting.incident_id).get(waiting.channel, worst))
    if settings.channels[name].min_severity > worst:
        return False
    held = held_until(settings, [name], worst, at).get(name)
    return outbox.hand_over(tx, waiting, name, at=at, held_until=held)


# --- what an attempt changes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the members of a message, and of its channel."""

    states: list[DeliveryState]
    handed_over: bool = False  # another channel has something to send
    went_down: bool = False
    stand_in: str | None = None  # for a channel that went down
    came_up: bool = False
    is_overtaken: bool = False  # what was claimed with it is old


def keep_outcome(
    tx: Transaction,
    settings: Settings,
    group: Sequence[Delivery],
    attempt: Attempt,
    *,
    at: datetime,
    remaining: Collection[Delivery] = (),
    salt: str = "",
    on_call: bool = False,
) -> Outcome:
    """Keep how an attempt to send a group as one message ended, and what that says of its channel.

    `salt` is that of the attempt's keys of recipients; `on_call`: what its service was told stays open there.
    """
    name = group[0].channel
    after = settings.channels[name].fallback_after
    marked = [_record(tx, delivery, attempt, at=at, salt=salt) for delivery in group]
    for delivery, row in zip(group, marked, strict=True) if on_call else ():
        pages.record_attempt(tx, delivery, attempt, state=row.state, at=at)
    before = channels.load_one(tx, name)
    state = judge_attempt(before, attempt, at=at, fallback_after=after)
    if group[0].reached and not attempt.reached:  # those who are left say nothing of the channel, but when to ask it
        state = replace(before, paused_at=state.paused_at, paused_until=state.paused_until)
    if state != before:
        channels.save(tx, state)
    went_down = bool(state.down_since and not before.down_since)
    came_up = bool(before.down_since and not state.down_since)
    handed_over = False
    if came_up:
        handed_over = _come_up(tx, settings, name, at=at)
    elif went_down:
        handed_over = cover(tx, settings, at=at)
    elif attempt.error is not None:
        handed_over = _cover_failed(tx, settings, state, marked, at=at)
    return Outcome(
        [row.state for row in marked],
        handed_over=handed_over,
        went_down=went_down,
        stand_in=stand_in(settings, name, channels.load_down(tx)) if went_down else None,
        came_up=came_up,
        is_overtaken=bool(remaining) and deliveries.is_overtaken(tx, name, remaining, at),
    )


def _record(tx: Transaction, delivery: Delivery, attempt: Attempt, *, at: datetime, salt: str) -> Marked:
    told_with = [older.id for older in delivery.folded]
    attempt = replace(attempt, delivery_id=delivery.id)
    return deliveries.record_attempt(tx, attempt, at=at, told_with=told_with, salt=salt)


def _cover_failed(
    tx: Transaction, settings: Settings, state: ChannelState, marked: Sequence[Marked], *, at: datetime
) -> bool:
    """Give what failed to who stands in: all of it when the channel is down, else what has failed for long enough.

    A channel that takes others, and not this one, is not down; all the same somebody should hear of it.
    """
    configured = settings.channels[state.name]
    if configured.fallback is None:
        return False
    keys = [
        row.notification_id
        for row in marked
        if state.down_since or (row.failing_since and at - row.failing_since >= configured.fallback_after)
    ]
    down = channels.load_down(tx) | {state.name}
    return bool(keys) and cover(tx, settings, at=at, down=down, notification_ids=keys)


def go_down(tx: Transaction, settings: Settings, channel: str, *, at: datetime) -> Outcome:
    """Declare a channel down, if by now it has taken nothing for long enough."""
    state = channels.load_one(tx, channel)
    if not is_overdue(state, at=at, fallback_after=settings.channels[channel].fallback_after):
        return Outcome([])
    channels.save(tx, replace(state, down_since=at))
    handed_over = cover(tx, settings, at=at)
    name = stand_in(settings, channel, channels.load_down(tx))
    return Outcome([], handed_over=handed_over, went_down=True, stand_in=name)


def take_success(tx: Transaction, settings: Settings, channel: str, *, at: datetime) -> bool:
    """Keep that a channel took a message that is none of the outbox; return whether it had been down.

    What waits for it is due at once.
    """
    before = channels.load_one(tx, channel)
    channels.save(tx, ChannelState(channel))
    if before.down_since:
        _come_up(tx, settings, channel, at=at)
    else:
        deliveries.expedite(tx, channel, at=at)
    return before.down_since is not None


def _come_up(tx: Transaction, settings: Settings, channel: str, *, at: datetime) -> bool:
    """What waits is due at once, and joined; what ended in the hearing of those who stood in is not told."""
    outbox.withdraw_ends(tx, channel, list(settings.fallbacks(channel)), at=at)
    pages.revive_ends(tx, channel, at=at)
    deliveries.expedite(tx, channel, at=at, joined=True)
    return cover(tx, settings, at=at)  # it may stand in for others


def begin(
    tx: Transaction, settings: Settings, *, at: datetime, mended: Collection[str] = (), is_guest: bool = False
) -> None:
    """Bring the channels in step with the configuration: what was refused, or waits for a `mended` one, is due at once.

    Fallbacks may have changed, too.  A guest leaves alone what is not configured here.
    """
    if not is_guest:
        channels.forget(tx, list(settings.channels))
    outbox.fold_pending(tx, at=at)
    deliveries.expedite_refused(tx, list(settings.channels), at=at)
    for name in mended:
        state = channels.load_one(tx, name)
        channels.save(tx, replace(state, paused_at=None, paused_until=None))
        deliveries.expedite(tx, name, at=at)
    cover(tx, settings, at=at)

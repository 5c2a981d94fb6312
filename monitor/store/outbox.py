"""The outbox: notifications, and one delivery of each for every channel it goes to.

A delivery is enqueued in the transaction that decided it, and its attempt recorded only after the channel answered:
at least once.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import (
    Attempt,
    Delivery,
    DeliveryState,
    Message,
    Notification,
    Reason,
    Rule,
    Severity,
    Subject,
)
from monitor.store import facts as stored_facts
from monitor.store.tables import attempts, deliveries, incidents, notifications
from monitor.store.writer import Transaction

GIVE_UP_AFTER: Final = timedelta(hours=24)
LEAST_ATTEMPTS: Final = 24  # a machine that slept for a day has made no attempts in it
FIRST_BACKOFF: Final = timedelta(seconds=5)
LONGEST_BACKOFF: Final = timedelta(minutes=5)
GATHERING: Final = timedelta(seconds=2)  # what comes due within so long is sent as one message
NONE_HELD: Final[Mapping[str, datetime]] = MappingProxyType({})
_PENDING: Final = deliveries.c.state == DeliveryState.PENDING.value
_TELLING: Final = tuple(reason.value for reason in (Reason.OPENED, Reason.ESCALATED, Reason.REMINDER))


@dataclass(frozen=True, slots=True)
class Fallback:
    """The channel that gets the deliveries of another one which has failed for `after`."""

    channel: str
    after: timedelta


def told_severities(tx: Transaction, incident_id: int) -> dict[str, Severity]:
    """Return the worst severity each channel was told; pending counts, given up and withdrawn do not."""
    rows = tx.execute(
        sa.select(deliveries.c.channel, notifications.c.severity)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(
            deliveries.c.incident_id == incident_id,
            deliveries.c.state.not_in((DeliveryState.GIVEN_UP.value, DeliveryState.WITHDRAWN.value)),
            notifications.c.reason.in_(_TELLING),
        )
    )
    worst: dict[str, Severity] = {}
    for channel, label in rows:
        severity = Severity.of(label)
        worst[channel] = max(worst.get(channel, severity), severity)
    return worst


def addressed_channels(tx: Transaction, incident_id: int) -> set[str]:
    """Return the channels with a delivery of this incident that was not given up."""
    mine = (deliveries.c.incident_id == incident_id) & (deliveries.c.state != DeliveryState.GIVEN_UP.value)
    return set(tx.execute(sa.select(deliveries.c.channel).where(mine).distinct()).scalars())


def withdraw_held(tx: Transaction, incident_id: int, *, at: datetime) -> None:
    """Withdraw what quiet hours hold of an incident, because something newer supersedes it."""
    held = (deliveries.c.incident_id == incident_id) & deliveries.c.held & (deliveries.c.attempts == 0)
    withdrawn = {"state": DeliveryState.WITHDRAWN.value, "ended_at": at}
    tx.execute(deliveries.update().where(_PENDING, held, deliveries.c.next_attempt_at > at).values(withdrawn))


def enqueue(
    tx: Transaction,
    notification: Notification,
    channels: Iterable[str],
    *,
    at: datetime,
    held: Mapping[str, datetime] = NONE_HELD,
) -> None:
    """Insert a notification and its deliveries: due after `GATHERING`, or when `held` says for a channel."""
    facts = stored_facts.dump_facts(notification.facts)
    _insert(tx, notification.id, notification.incident_id, (notification.reason, notification.severity), facts, at=at)
    _insert_deliveries(tx, notification.id, notification.incident_id, channels, at=at, held=held)


def enqueue_message(tx: Transaction, key: str, message: Message, channel: str, *, at: datetime) -> None:
    """Insert a message that belongs to no incident (a digest), already in words."""
    words = json.dumps([message.subject, message.text, message.markdown, message.html])
    _insert(tx, key, None, (Reason.DIGEST, Severity.INFO), words, at=at)
    _insert_deliveries(tx, key, None, [channel], at=at, held=NONE_HELD)


def _insert(
    tx: Transaction, key: str, incident_id: int | None, what: tuple[Reason, Severity], facts: str, *, at: datetime
) -> None:
    reason, severity = what
    values = {"id": key, "incident_id": incident_id, "reason": reason.value, "severity": severity.label}
    tx.execute(notifications.insert().values(values | {"created_at": at, "facts": facts}))


def _insert_deliveries(
    tx: Transaction,
    key: str,
    incident_id: int | None,
    channels: Iterable[str],
    *,
    at: datetime,
    held: Mapping[str, datetime],
) -> None:
    rows = [
        {
            "notification_id": key,
            "incident_id": incident_id,
            "channel": channel,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "next_attempt_at": held.get(channel, at + GATHERING),
            "give_up_at": held.get(channel, at) + GIVE_UP_AFTER,
            "held": channel in held,
            "refused": False,
        }
        for channel in channels
    ]
    if rows:
        tx.execute(deliveries.insert(), rows)


def due_channels(tx: Transaction, now: datetime) -> set[str]:
    """Return the channels that have something due."""
    return set(tx.execute(sa.select(deliveries.c.channel).where(_PENDING, _is_due(now)).distinct()).scalars())


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Due, also after the clock was stepped back: without quiet hours no wait is longer than `LONGEST_BACKOFF`."""
    at = deliveries.c.next_attempt_at
    return (at <= now) | ((at > now + LONGEST_BACKOFF) & ~deliveries.c.held)


def claim_due(tx: Transaction, channel: str, now: datetime, *, limit: int) -> list[list[Delivery]]:
    """Return what is due for one channel, in groups that are sent as one message each; of each incident the oldest.

    Deliveries never attempted form one group, which is stored: a message that is sent again has the same members, even
    if these are more than `limit`.
    """
    due = _due(channel, now)
    rows = list(tx.execute(due.limit(limit)))
    if len(rows) == limit:  # it may have cut a group
        groups_of = {row.group_id for row in rows if row.group_id is not None}
        ids = {row.id for row in rows}
        rows += [row for row in tx.execute(due.where(deliveries.c.group_id.in_(groups_of))) if row.id not in ids]
    new = [row.id for row in rows if row.group_id is None and row.incident_id is not None]
    if new:
        group = secrets.token_hex(8)
        tx.execute(deliveries.update().where(deliveries.c.id.in_(new)).values(group_id=group))
    groups: dict[str, list[Delivery]] = {}
    for row in rows:
        alone = row.notification_id if row.incident_id is None else ""  # a digest goes alone
        groups.setdefault(row.group_id or alone, []).append(_delivery(row))
    return list(groups.values())


def _due(channel: str, now: datetime) -> sa.Select[tuple[Any, ...]]:
    earlier = deliveries.alias()
    waits = sa.exists().where(
        earlier.c.incident_id == deliveries.c.incident_id,
        earlier.c.channel == channel,
        earlier.c.state == DeliveryState.PENDING.value,
        earlier.c.id < deliveries.c.id,
    )
    columns = (deliveries.c[name] for name in ("id", "channel", "attempts", "give_up_at", "group_id"))
    notification = (notifications.c.id.label("notification_id"), notifications.c.incident_id, notifications.c.reason)
    return (
        sa.select(*columns, *notification, notifications.c.severity, notifications.c.facts)
        .add_columns(incidents.c.subject, incidents.c.rule)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .outerjoin(incidents, incidents.c.id == notifications.c.incident_id)
        .where(_PENDING, deliveries.c.channel == channel, _is_due(now), ~waits)
        .order_by(deliveries.c.attempts, deliveries.c.id)
    )


def _delivery(row: sa.Row[tuple[Any, ...]]) -> Delivery:
    reason, severity = Reason(row.reason), Severity.of(row.severity)
    content: Notification | Message
    if reason is Reason.DIGEST:
        content = Message(*json.loads(row.facts))
    else:
        facts = stored_facts.load_facts(row.facts)
        content = Notification(
            row.notification_id, row.incident_id, Subject(row.subject), Rule(row.rule), reason, severity, facts
        )
    return Delivery(row.id, row.channel, content, row.attempts, row.give_up_at)


def record_attempt(
    tx: Transaction, attempt: Attempt, *, at: datetime, fallback: Fallback | None = None
) -> DeliveryState:
    """Record how an attempt ended; return the new state of its delivery.

    A failed one is attempted again after a growing backoff, until it is given up.  A delivery that has ended is
    not changed: another daemon may have sent it, too.
    """
    row = tx.execute(sa.select(deliveries).where(deliveries.c.id == attempt.delivery_id).with_for_update()).one()
    if row.state != DeliveryState.PENDING.value:
        return DeliveryState(row.state)
    count = row.attempts + 1
    tx.execute(attempts.insert().values(delivery_id=row.id, ended_at=at, error=attempt.error))
    values: dict[str, object] = {"attempts": count, "last_error": attempt.error, "refused": not attempt.retryable}
    if attempt.error is None:
        state = DeliveryState.DELIVERED
    elif at >= row.give_up_at and count >= LEAST_ATTEMPTS:
        state = DeliveryState.GIVEN_UP
    else:
        state = DeliveryState.PENDING
        # Somebody may still fix what a channel refuses for good, so it is attempted again, but rarely.
        values["next_attempt_at"] = at + (backoff(count) if attempt.retryable else LONGEST_BACKOFF)
    if state is not DeliveryState.PENDING:
        values["ended_at"] = at
    tx.execute(deliveries.update().where(deliveries.c.id == row.id).values(values | {"state": state.value}))
    if attempt.error is not None and fallback:
        _hand_over(tx, row, fallback, refused=not attempt.retryable, at=at)
    return state


def _hand_over(tx: Transaction, row: Any, fallback: Fallback, *, refused: bool, at: datetime) -> None:
    """Enqueue a delivery that has failed for long enough for the fallback, once."""
    first = sa.select(sa.func.min(attempts.c.ended_at)).where(attempts.c.delivery_id == row.id)
    began = tx.execute(first).scalar_one()
    existing = sa.select(deliveries.c.id).where(
        deliveries.c.notification_id == row.notification_id, deliveries.c.channel == fallback.channel
    )
    if (refused or at - began >= fallback.after) and tx.execute(existing).first() is None:
        _insert_deliveries(
            tx, row.notification_id, row.incident_id, [fallback.channel], at=at - GATHERING, held=NONE_HELD
        )


def backoff(count: int) -> timedelta:
    """Return how long to wait after so many failed attempts."""
    doublings: int = 2 ** min(count - 1, 10)
    return min(FIRST_BACKOFF * doublings, LONGEST_BACKOFF)


def give_up_unconfigured(tx: Transaction, configured: Collection[str], *, at: datetime) -> None:
    """Give up what is pending for channels that are no longer configured."""
    given_up = {
        "state": DeliveryState.GIVEN_UP.value,
        "ended_at": at,
        "last_error": "the channel is no longer configured",
    }
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.channel.not_in(configured)).values(given_up))


def last_digest_at(tx: Transaction, channel: str) -> datetime | None:
    """Return when a channel's last digest was enqueued; one that it got as a fallback does not count."""
    earlier = deliveries.alias("earlier")
    first = ~sa.exists().where(
        earlier.c.notification_id == deliveries.c.notification_id, earlier.c.id < deliveries.c.id
    )
    question = (
        sa.select(sa.func.max(notifications.c.created_at))
        .join(deliveries, deliveries.c.notification_id == notifications.c.id)
        .where(notifications.c.reason == Reason.DIGEST.value, deliveries.c.channel == channel, first)
    )
    at: datetime | None = tx.execute(question).scalar_one()
    return at

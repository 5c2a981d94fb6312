"""The outbox: notifications, and one delivery of each for every channel that is to hear it.

A delivery is written in the transaction that decided it and marked only after its channel answered: at least once.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import sqlalchemy as sa
from pydantic import TypeAdapter

from monitor.model import Attempt, Delivery, DeliveryState, Facts, Notification, Reason, Rule, Severity, Subject
from monitor.store.writer import Transaction
from monitor.tables import attempts, deliveries, incidents, notifications

GIVE_UP_AFTER: Final = timedelta(hours=24)
LEAST_ATTEMPTS: Final = 24  # a machine that slept for a day has not tried for a day
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=5)
_PENDING: Final = deliveries.c.state == DeliveryState.PENDING.value
_TELLING: Final = tuple(reason.value for reason in (Reason.OPENED, Reason.ESCALATED, Reason.REMINDER))


@cache
def _facts() -> TypeAdapter[Facts]:
    return TypeAdapter(Facts)


def told(tx: Transaction, incident_id: int) -> dict[str, Severity]:
    """The worst severity each channel was told; pending and unanswered count, given up does not."""
    rows = tx.execute(
        sa.select(deliveries.c.channel, notifications.c.severity)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(
            deliveries.c.incident_id == incident_id,
            deliveries.c.state != DeliveryState.GIVEN_UP.value,
            notifications.c.reason.in_(_TELLING),
        )
    )
    worst: dict[str, Severity] = {}
    for channel, label in rows:
        severity = Severity.of(label)
        worst[channel] = max(worst.get(channel, severity), severity)
    return worst


def addressed(tx: Transaction, incident_id: int) -> set[str]:
    """The channels that anything of this incident was ever meant for."""
    rows = tx.execute(sa.select(deliveries.c.channel).where(deliveries.c.incident_id == incident_id).distinct())
    return set(rows.scalars())


def enqueue(tx: Transaction, notification: Notification, channels: Iterable[str], *, at: datetime) -> None:
    """Keep a notification and what is to be delivered of it, due at once."""
    tx.execute(
        notifications.insert().values(
            id=notification.id,
            incident_id=notification.incident_id,
            reason=notification.reason.value,
            severity=notification.severity.label,
            created_at=at,
            facts=_facts().dump_json(notification.facts, exclude_defaults=True).decode(),
        )
    )
    rows = [
        {
            "notification_id": notification.id,
            "incident_id": notification.incident_id,
            "channel": channel,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "next_attempt_at": at,
            "give_up_at": at + GIVE_UP_AFTER,
        }
        for channel in channels
    ]
    if rows:
        tx.execute(deliveries.insert(), rows)


def waiting_channels(tx: Transaction, now: datetime) -> set[str]:
    """The channels that have something due."""
    return set(tx.execute(sa.select(deliveries.c.channel).where(_PENDING, _is_due(now)).distinct()).scalars())


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Due, also after the clock was stepped back: no pause is longer than the longest."""
    at = deliveries.c.next_attempt_at
    return (at <= now) | (at > now + LONGEST_PAUSE)


def due(tx: Transaction, channel: str, now: datetime, *, limit: int) -> list[Delivery]:
    """What is due for one channel, the worst first; of each incident only the oldest that is pending."""
    earlier = deliveries.alias()
    waits = sa.exists().where(
        earlier.c.incident_id == deliveries.c.incident_id,
        earlier.c.channel == channel,
        earlier.c.state == DeliveryState.PENDING.value,
        earlier.c.id < deliveries.c.id,
    )
    columns = (deliveries.c.id, deliveries.c.channel, deliveries.c.attempts, deliveries.c.give_up_at)
    said = (notifications.c.id.label("notification_id"), notifications.c.incident_id, notifications.c.reason)
    query = (
        sa.select(*columns, *said, notifications.c.severity, notifications.c.facts)
        .add_columns(incidents.c.subject, incidents.c.rule)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .join(incidents, incidents.c.id == notifications.c.incident_id)
        .where(_PENDING, deliveries.c.channel == channel, _is_due(now), ~waits)
        .order_by(deliveries.c.attempts, deliveries.c.id)
        .limit(limit)
    )
    return [_delivery(row) for row in tx.execute(query)]


def _delivery(row: sa.Row[tuple[object, ...]]) -> Delivery:
    notification = Notification(
        row.notification_id,
        row.incident_id,
        Subject(row.subject),
        Rule(row.rule),
        Reason(row.reason),
        Severity.of(row.severity),
        _facts().validate_json(row.facts),
    )
    return Delivery(row.id, row.channel, notification, row.attempts, row.give_up_at)


def mark(tx: Transaction, attempt: Attempt, *, at: datetime) -> DeliveryState:
    """Keep how an attempt ended; a failed one is tried again after a pause that grows, until it is given up."""
    row = tx.execute(sa.select(deliveries).where(deliveries.c.id == attempt.delivery_id)).one()
    count = row.attempts + 1
    tx.execute(attempts.insert().values(delivery_id=row.id, ended_at=at, error=attempt.error))
    values: dict[str, object] = {"attempts": count, "last_error": attempt.error}
    if attempt.error is None:
        state = DeliveryState.DELIVERED
    elif at >= row.give_up_at and count >= LEAST_ATTEMPTS:
        state = DeliveryState.GIVEN_UP
    else:
        state = DeliveryState.PENDING
        values["next_attempt_at"] = at + pause_after(count)
    if state is not DeliveryState.PENDING:
        values["ended_at"] = at
    tx.execute(deliveries.update().where(deliveries.c.id == row.id).values(values | {"state": state.value}))
    return state


def pause_after(count: int) -> timedelta:
    """How long to wait after so many failed attempts."""
    doublings: int = 2 ** min(count - 1, 10)
    return min(FIRST_PAUSE * doublings, LONGEST_PAUSE)


def abandon(tx: Transaction, configured: Collection[str], *, at: datetime) -> None:
    """Give up what waits for channels that are no longer configured."""
    gone = {"state": DeliveryState.GIVEN_UP.value, "ended_at": at, "last_error": "the channel is no longer configured"}
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.channel.not_in(configured)).values(gone))

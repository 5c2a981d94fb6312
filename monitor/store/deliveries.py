"""Deliveries on their way: what is due, what goes out together, and what became of an attempt.

A delivery is marked only after its channel answered: at least once.  A pause is kept with the instant it began, so that
a clock that is stepped back ends it.
"""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from monitor.store import outbox
from monitor.store.outbox import GIVE_UP_AFTER
from monitor.store.tables import attempts, deliveries, incidents, notifications
from monitor.store.writer import Transaction

LEAST_ATTEMPTS: Final = 24  # a machine that slept for a day has not tried for a day
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=5)
REFUSED_PAUSE: Final = timedelta(hours=1)  # after a refusal for good ...
REFUSED_AFTER: Final = timedelta(hours=1)  # ... that has lasted for so long
UNKNOWN_PAUSES: Final = (timedelta(minutes=5), timedelta(hours=1))  # a receiver that never answers gets three copies
_NO_WAIT: Final = timedelta(0)
_PENDING: Final = deliveries.c.state == sa.literal_column("'pending'")  # a parameter would keep SQLite from the index
_HELD: Final = deliveries.c.held & (deliveries.c.attempts == 0)

# How urgent a message is: 3 critical, 2 warning, 1 for the rest; an end is never urgent.
_URGENCY: Final = sa.case(
    (notifications.c.reason == Reason.RESOLVED.value, 1),
    (notifications.c.severity == Severity.CRITICAL.label, 3),
    (notifications.c.severity == Severity.WARNING.label, 2),
    else_=1,
)


def urgency(delivery: Delivery) -> int:
    """Return the same of a delivery in memory."""
    said = delivery.said
    if isinstance(said, Message) or said.reason is Reason.RESOLVED:
        return 1
    return 1 + said.severity


# --- what is due ------------------------------------------------------------------------------------------------------


def _is_due(now: datetime, ahead: timedelta = _NO_WAIT) -> sa.ColumnElement[bool]:
    """Due, or new and due within `ahead`, or paused from an instant that has not come yet: the clock was stepped back.

    An older daemon left no such instant: then any pause that ends later than the longest pause allows is over.
    """
    at, began = deliveries.c.next_attempt_at, deliveries.c.paused_at
    soon = (at <= now + ahead) & (deliveries.c.attempts == 0) & ~deliveries.c.held
    stepped_back = (began > now) | (began.is_(None) & (at > now + LONGEST_PAUSE))
    return (at <= now) | soon | (stepped_back & ~_HELD)


def due_channels(tx: Transaction, now: datetime, *, ahead: timedelta = _NO_WAIT) -> dict[str, int]:
    """Return the channels that have something due, each with how urgent the worst is that was never tried (0: none)."""
    fresh = sa.func.max(sa.case((deliveries.c.attempts == 0, _URGENCY), else_=0))
    question = (
        sa.select(deliveries.c.channel, fresh)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, _is_due(now, ahead))
        .group_by(deliveries.c.channel)
    )
    return {channel: worst for channel, worst in tx.execute(question)}  # noqa: C416 -- a row is no tuple for mypy


def pending_channels(tx: Transaction) -> set[str]:
    """Return the channels that have anything pending, due or not."""
    return set(tx.execute(sa.select(deliveries.c.channel).where(_PENDING).distinct()).scalars())


def claim_due(
    tx: Transaction, channel: str, now: datetime, *, limit: int, ahead: timedelta = _NO_WAIT
) -> list[list[Delivery]]:
    """Return what is due for one channel, in groups that go out as one message each: new before tried, worst first.

    What was never tried is one group, fixed from now on: a message that is sent again has the same members, but for
    those folded meanwhile, also where that is more than `limit` deliveries.
    """
    outbox.fold_pending(tx, at=now, channel=channel)
    due = _due(channel, now, ahead)
    rows = list(tx.execute(due.limit(limit)))
    if len(rows) == limit:  # it may have cut a group
        cut = {row.group_id for row in rows if row.group_id is not None}
        seen = {row.id for row in rows}
        rows += [row for row in tx.execute(due.where(deliveries.c.group_id.in_(cut))) if row.id not in seen]
    new = [row.id for row in rows if row.group_id is None and row.incident_id is not None]
    if new:
        group = secrets.token_hex(8)
        tx.execute(deliveries.update().where(deliveries.c.id.in_(new)).values(group_id=group))
    folded = _folded(tx, channel, rows)
    groups: dict[str, list[Delivery]] = {}
    for row in rows:
        alone = row.notification_id if row.incident_id is None else ""  # a digest goes alone
        groups.setdefault(row.group_id or alone, []).append(_delivery(row, folded.get(row.notification_id, ())))
    return list(groups.values())


def _due(channel: str, now: datetime, ahead: timedelta) -> sa.Select[tuple[Any, ...]]:
    columns = (deliveries.c[name] for name in ("id", "channel", "attempts", "give_up_at", "group_id"))
    said = (notifications.c.id.label("notification_id"), notifications.c.incident_id, notifications.c.reason)
    return (
        sa.select(*columns, *said, notifications.c.severity, notifications.c.facts)
        .add_columns(incidents.c.subject, incidents.c.rule)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .outerjoin(incidents, incidents.c.id == notifications.c.incident_id)
        .where(_PENDING, deliveries.c.channel == channel, _is_due(now, ahead))
        .order_by(deliveries.c.attempts > 0, _URGENCY.desc(), deliveries.c.attempts, deliveries.c.id)
    )


def _folded(tx: Transaction, channel: str, rows: list[Any]) -> dict[str, tuple[Notification, ...]]:
    """What each of these deliveries tells, too."""
    of_incident = {row.notification_id: row for row in rows if row.incident_id is not None}
    folded = outbox.folded_into(tx, channel, list(of_incident))
    return {
        key: tuple(_notification(older, older.id, of=of_incident[key]) for older in members)
        for key, members in folded.items()
    }


def _delivery(row: Any, folded: tuple[Notification, ...]) -> Delivery:
    said: Notification | Message
    if Reason(row.reason) is Reason.DIGEST:
        said = Message(*json.loads(row.facts))
    else:
        said = _notification(row, row.notification_id, of=row)
    return Delivery(row.id, row.channel, said, row.attempts, row.give_up_at, folded)


def _notification(row: Any, key: str, *, of: Any) -> Notification:
    """A notification of the incident that the row `of` has."""
    reason, severity, facts = Reason(row.reason), Severity.of(row.severity), stored_facts.load_facts(row.facts)
    return Notification(key, of.incident_id, Subject(of.subject), Rule(of.rule), reason, severity, facts)


def is_overtaken(tx: Transaction, channel: str, remaining: Collection[Delivery], now: datetime) -> bool:
    """Return whether what was claimed and is not sent yet is old: some of it was folded, or something worse came."""
    ids = [delivery.id for delivery in remaining]
    still = sa.select(sa.func.count()).select_from(deliveries).where(_PENDING, deliveries.c.id.in_(ids))
    if tx.execute(still).scalar_one() < len(ids):
        return True
    worse = (
        sa.select(deliveries.c.id)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, deliveries.c.channel == channel, deliveries.c.attempts == 0, deliveries.c.id.not_in(ids))
        .where(_is_due(now), min(map(urgency, remaining)) < _URGENCY)
    )
    return tx.execute(worse.limit(1)).first() is not None


# --- what became of an attempt ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marked:
    """A delivery after an attempt; `failing_since` is its first one, or that of what is folded into it."""

    state: DeliveryState
    notification_id: str
    failing_since: datetime | None = None


def record_attempt(tx: Transaction, attempt: Attempt, *, at: datetime, told_with: Collection[str] = ()) -> Marked:
    """Keep how an attempt ended; a failed one is tried again after a pause that grows, until it is given up.

    What has ended already stays as it is (another daemon may have sent it, too), but for what was folded while it was
    under way: if it was taken, it is delivered, and with it the older notifications that it told.
    """
    row = tx.execute(sa.select(deliveries).where(deliveries.c.id == attempt.delivery_id).with_for_update()).one()
    state = DeliveryState(row.state)
    if state not in (DeliveryState.PENDING, DeliveryState.FOLDED):
        return Marked(state, row.notification_id)
    tx.execute(attempts.insert().values(delivery_id=row.id, ended_at=at, error=attempt.error))
    values: dict[str, object] = {
        "attempts": row.attempts + 1,
        "unknowns": row.unknowns + attempt.unknown,
        "last_error": attempt.error,
        "refused": not attempt.retryable,
    }
    if attempt.error is None:
        if state is DeliveryState.FOLDED:
            _take_back(tx, row, told_with)
        state = DeliveryState.DELIVERED
        values |= {"folded_into": None}
    elif state is DeliveryState.PENDING:
        state = _after_failure(row, attempt, at=at)
    if state is DeliveryState.PENDING:
        values |= {"paused_at": at, "next_attempt_at": at + _pause(row, attempt, at=at)}
    elif state is not DeliveryState.FOLDED:
        values["ended_at"] = at
    tx.execute(deliveries.update().where(deliveries.c.id == row.id).values(values | {"state": state.value}))
    since = _failing_since(tx, row) if state is DeliveryState.PENDING else None
    return Marked(state, row.notification_id, since)


def _take_back(tx: Transaction, row: Any, told_with: Collection[str]) -> None:
    """What was told with a delivery that was folded meanwhile is not to be told with the newer one."""
    theirs = (deliveries.c.channel == row.channel) & (deliveries.c.folded_into == row.folded_into)
    told = theirs & deliveries.c.notification_id.in_(told_with)
    tx.execute(deliveries.update().where(told).values(folded_into=row.notification_id))


def _after_failure(row: Any, attempt: Attempt, *, at: datetime) -> DeliveryState:
    """What of unknown outcome was sent often enough, or tried for long enough, counts as told."""
    unknowns = row.unknowns + attempt.unknown
    if attempt.unknown and unknowns > len(UNKNOWN_PAUSES):
        return DeliveryState.UNKNOWN
    if at >= row.give_up_at and row.attempts + 1 >= LEAST_ATTEMPTS:
        return DeliveryState.UNKNOWN if unknowns else DeliveryState.GIVEN_UP
    return DeliveryState.PENDING


def _pause(row: Any, attempt: Attempt, *, at: datetime) -> timedelta:
    """How long to wait; what was refused for good may still be mended by somebody, so it is tried on, but rarely."""
    if attempt.unknown:
        return UNKNOWN_PAUSES[min(row.unknowns, len(UNKNOWN_PAUSES) - 1)]
    began_at = row.give_up_at - GIVE_UP_AFTER
    if not attempt.retryable and at - began_at >= REFUSED_AFTER:
        return REFUSED_PAUSE
    return backoff(row.attempts + 1)


def backoff(count: int) -> timedelta:
    """Return how long to wait after so many failed attempts."""
    doublings: int = 2 ** min(count - 1, 10)
    return min(FIRST_PAUSE * doublings, LONGEST_PAUSE)


def _failing_since(tx: Transaction, row: Any) -> datetime | None:
    folded = (deliveries.c.folded_into == row.notification_id) & (deliveries.c.channel == row.channel)
    ids = sa.select(deliveries.c.id).where((deliveries.c.id == row.id) | folded)
    first: datetime | None = tx.execute(
        sa.select(sa.func.min(attempts.c.ended_at)).where(attempts.c.delivery_id.in_(ids))
    ).scalar_one()
    return first


# --- pauses that end early --------------------------------------------------------------------------------------------


def expedite(tx: Transaction, channel: str, *, at: datetime, joined: bool = False) -> None:
    """Let all that waits for a channel be due at once, but for what quiet hours hold.

    `joined`: as one message, or as few as its number allows.
    """
    values: dict[str, object] = {"next_attempt_at": at, "paused_at": at}
    if joined:
        values["group_id"] = None
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.channel == channel, ~_HELD).values(values))


def expedite_refused(tx: Transaction, channels: Collection[str], *, at: datetime) -> None:
    """Let what was refused for good be due at once: the configuration was read anew, and may have been mended."""
    waits = _PENDING & deliveries.c.refused & ~_HELD & deliveries.c.channel.in_(channels)
    tx.execute(deliveries.update().where(waits).values(next_attempt_at=at, paused_at=at))

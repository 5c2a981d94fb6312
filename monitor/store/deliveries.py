"""Deliveries on their way: what is due, what goes out together, and what became of an attempt.

A delivery is marked only after its channel answered: at least once.  A pause is kept with the instant it began, so that
a clock that is stepped back ends it.
"""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
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
    Targets,
    WaitingTarget,
)
from monitor.store import facts as stored_facts
from monitor.store import outbox, targets
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


def due_channels(
    tx: Transaction, now: datetime, *, ahead: timedelta = _NO_WAIT, without: Collection[int] = ()
) -> dict[str, int]:
    """Return the channels that have something due, each with how urgent the worst is that was never tried (0: none).

    Deliveries of the ids `without` are left out: they were sent, and that could not be written.
    """
    fresh = sa.func.max(sa.case((deliveries.c.attempts == 0, _URGENCY), else_=0))
    question = (
        sa.select(deliveries.c.channel, fresh)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, _is_due(now, ahead), *_without(without))
        .group_by(deliveries.c.channel)
    )
    return {channel: worst for channel, worst in tx.execute(question)}  # noqa: C416 -- a row is no tuple for mypy


def _without(ids: Collection[int]) -> tuple[sa.ColumnElement[bool], ...]:
    return (deliveries.c.id.not_in(ids),) if ids else ()


def pending_channels(tx: Transaction) -> set[str]:
    """Return the channels that have anything pending, due or not."""
    return set(tx.execute(sa.select(deliveries.c.channel).where(_PENDING).distinct()).scalars())


def claim_due(
    tx: Transaction,
    channel: str,
    now: datetime,
    *,
    limit: int,
    ahead: timedelta = _NO_WAIT,
    joins: bool = True,
    without: Collection[int] = (),
) -> list[list[Delivery]]:
    """Return what is due for one channel, in groups that go out as one message each: new before tried, worst first.

    What was never tried is one group, fixed from now on: a message that is sent again has the same members, but for
    those folded meanwhile, also where that is more than `limit` deliveries.  A channel that `joins` nothing gets each
    delivery alone.
    """
    outbox.fold_pending(tx, at=now, channel=channel)
    due = _due(channel, now, ahead).where(*_without(without))
    rows = list(tx.execute(due.limit(limit)))
    if len(rows) == limit and joins:  # it may have cut a group
        cut = {row.group_id for row in rows if row.group_id is not None}
        seen = {row.id for row in rows}
        rows += [row for row in tx.execute(due.where(deliveries.c.group_id.in_(cut))) if row.id not in seen]
    new = [row.id for row in rows if row.group_id is None and row.incident_id is not None]
    group = ""
    if new and joins:
        group = secrets.token_hex(8)
        tx.execute(deliveries.update().where(deliveries.c.id.in_(new)).values(group_id=group))
    folded = _folded(tx, channel, rows)
    threads = _threads(tx, channel, {row.incident_id for row in rows if row.incident_id is not None})
    groups: dict[str, list[Delivery]] = {}
    for row in rows:
        alone = row.incident_id is None or not joins  # a digest goes alone
        key = row.notification_id if alone else row.group_id or group
        thread = threads.get(row.incident_id, "")
        delivery = _delivery(row, folded.get(row.notification_id, ()), now)
        delivery = replace(delivery, mail_id=key, mail_thread="" if thread == key else thread)
        # What is for some of the channel alone cannot be joined with what is for all, or for others.
        groups.setdefault(f"{key} {row.targets or ''}", []).append(delivery)
    return list(groups.values())


def _threads(tx: Transaction, channel: str, incident_ids: Collection[int]) -> dict[int, str]:
    """Return the key of the first message that a channel got, or may have got, of each incident."""
    got = deliveries.c.state.in_((DeliveryState.DELIVERED.value, DeliveryState.UNKNOWN.value))
    rows = tx.execute(
        sa.select(deliveries.c.incident_id, deliveries.c.group_id)
        .where(deliveries.c.channel == channel, deliveries.c.incident_id.in_(incident_ids))
        .where(deliveries.c.group_id.is_not(None), got | deliveries.c.reached | (deliveries.c.unknowns > 0))
        .order_by(deliveries.c.id.desc())
    )
    return {incident_id: key for incident_id, key in rows}  # noqa: C416 -- a row is no tuple for mypy


def _due(channel: str, now: datetime, ahead: timedelta) -> sa.Select[tuple[Any, ...]]:
    columns = (
        deliveries.c[name]
        for name in ("id", "channel", "attempts", "give_up_at", "group_id", "targets", "reached", "paused_at")
    )
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


def _delivery(row: Any, folded: tuple[Notification, ...], now: datetime) -> Delivery:
    said: Notification | Message
    if Reason(row.reason) is Reason.DIGEST:
        said = Message(*json.loads(row.facts))
    else:
        said = _notification(row, row.notification_id, of=row)
    whom = targets.load(row.targets)
    return Delivery(
        row.id,
        row.channel,
        said,
        row.attempts,
        row.give_up_at,
        folded,
        reached=row.reached,
        targets=whom,
        due=None if whom is None else targets.due(whom, now, row.paused_at),
    )


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
    """A delivery after an attempt.

    `failing_since` is the first one, or that of what is folded into it; None where somebody of the channel got it.
    """

    state: DeliveryState
    notification_id: str
    failing_since: datetime | None = None


def record_attempt(
    tx: Transaction, attempt: Attempt, *, at: datetime, salt: str = "", told_with: Collection[str] = ()
) -> Marked:
    """Keep how an attempt ended; a failed one is tried again after a pause that grows, until it is given up.

    Where some of the channel got it, it is tried again for the others alone.  What has ended already stays as it is
    (another daemon may have sent it, too), but for what was folded while it was under way: if it was taken, it is
    delivered, and with it the older notifications that it told.  `salt` is that of the attempt's keys of recipients.
    """
    question = sa.select(deliveries).where(deliveries.c.id == attempt.delivery_id).with_for_update()
    row = tx.execute(question).one_or_none()
    if row is None:  # deleted by hand: nobody waits for the outcome
        return Marked(DeliveryState.WITHDRAWN, "")
    state = DeliveryState(row.state)
    if state not in (DeliveryState.PENDING, DeliveryState.FOLDED):
        return Marked(state, row.notification_id)
    tx.execute(attempts.insert().values(delivery_id=row.id, ended_at=at, error=attempt.error))
    whom = targets.advance(
        targets.load(row.targets), attempt, salt=salt, at=at, pause=lambda target: _target_pause(row, target, at=at)
    )
    reached = row.reached or attempt.reached
    error = attempt.error if whom is None else targets.error(whom)
    values: dict[str, object] = {
        "attempts": row.attempts + 1,
        "unknowns": row.unknowns + attempt.unknown,
        "last_error": error,
        "refused": not attempt.retryable
        if whom is None
        else bool(whom.waiting) and all(t.refused for t in whom.waiting),
        "targets": targets.dump(whom),
        "reached": reached,
    }
    if error is None and whom is None:
        if state is DeliveryState.FOLDED:
            _take_back(tx, row, told_with)
        state = DeliveryState.DELIVERED
        values |= {"folded_into": None}
    elif state is DeliveryState.PENDING:
        state = _after_failure(row, attempt, at=at) if whom is None else _after_some(row, attempt, whom, at=at)
    if state is DeliveryState.PENDING:
        again_at = (targets.next_at(whom) if whom else None) or at + _pause(row, attempt, at=at)
        values |= {"paused_at": at, "next_attempt_at": again_at}
    elif state is not DeliveryState.FOLDED:
        values["ended_at"] = at
    tx.execute(deliveries.update().where(deliveries.c.id == row.id).values(values | {"state": state.value}))
    since = _failing_since(tx, row) if state is DeliveryState.PENDING and not reached else None
    return Marked(state, row.notification_id, since)


def _after_some(row: Any, attempt: Attempt, whom: Targets, *, at: datetime) -> DeliveryState:
    """What some of a channel got is delivered when nobody else waits for it, or when it is given up for these."""
    reached = row.reached or attempt.reached
    unknown = row.unknowns or any(target.unknown for target in attempt.targets)
    if whom.waiting and not (at >= row.give_up_at and row.attempts + 1 >= LEAST_ATTEMPTS):
        return DeliveryState.PENDING
    if reached and not (unknown and not whom.waiting and attempt.error):
        return DeliveryState.DELIVERED
    return DeliveryState.UNKNOWN if unknown else DeliveryState.GIVEN_UP


def _target_pause(row: Any, target: WaitingTarget, *, at: datetime) -> timedelta:
    """How long one recipient waits."""
    if target.unknowns:
        return UNKNOWN_PAUSES[min(target.unknowns, len(UNKNOWN_PAUSES)) - 1]
    return _failure_pause(row, at=at, refused=target.refused)


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
    return _failure_pause(row, at=at, refused=not attempt.retryable)


def _failure_pause(row: Any, *, at: datetime, refused: bool) -> timedelta:
    began_at = row.give_up_at - GIVE_UP_AFTER
    if refused and at - began_at >= REFUSED_AFTER:
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


# --- what is too long -------------------------------------------------------------------------------------------------


def take_apart(tx: Transaction, group: Sequence[Delivery], *, at: datetime) -> None:
    """Have what went out as one message go out as two, at once: together it was too long."""
    ids = [delivery.id for delivery in group]
    for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
        values = {"group_id": secrets.token_hex(8), "next_attempt_at": at, "paused_at": at}
        tx.execute(deliveries.update().where(_PENDING, deliveries.c.id.in_(half)).values(values))


# --- pauses that end early --------------------------------------------------------------------------------------------


def expedite(tx: Transaction, channel: str, *, at: datetime, joined: bool = False) -> None:
    """Let all that waits for a channel be due at once, but for what quiet hours hold.

    `joined`: as one message, or as few as its number allows.
    """
    waits = _PENDING & (deliveries.c.channel == channel) & ~_HELD
    tx.execute(deliveries.update().where(waits).values(next_attempt_at=at, paused_at=at))
    if joined:  # but for what may have arrived: a copy of that has to be known as one
        fresh = deliveries.c.targets.is_(None) & (deliveries.c.unknowns == 0)
        tx.execute(deliveries.update().where(waits, fresh).values(group_id=None))


def expedite_refused(tx: Transaction, channels: Collection[str], *, at: datetime) -> None:
    """Let what was refused for good be due at once: the configuration was read anew, and may have been mended."""
    waits = _PENDING & deliveries.c.refused & ~_HELD & deliveries.c.channel.in_(channels)
    tx.execute(deliveries.update().where(waits).values(next_attempt_at=at, paused_at=at))

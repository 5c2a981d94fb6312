"""The outbox: notifications, and one delivery of each for every channel that is to hear it.

A delivery is written in the transaction that decided it.  Of an incident a channel has one pending delivery at most:
what it has not delivered when the next one comes is folded into that.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import DeliveryState, Message, Notification, Reason, Severity
from monitor.store import facts as stored_facts
from monitor.store.tables import deliveries, notifications
from monitor.store.writer import Transaction, insert

GIVE_UP_AFTER: Final = timedelta(hours=24)
GATHERING: Final = timedelta(seconds=1)  # what comes due within so long goes out as one message
NONE_HELD: Final[Mapping[str, datetime]] = MappingProxyType({})
BETTER: Final = (Reason.EASED, Reason.RESOLVED)
_TOP_UP: Final = "top-up-"  # how the ids of such messages begin; a reason of their own no older daemon would know
_ONCE: Final = "once-"  # likewise, of a notice that is told once
_IS_TOP_UP: Final = notifications.c.id.startswith(_TOP_UP)
_IS_ONCE: Final = notifications.c.id.startswith(_ONCE)
_PENDING: Final = deliveries.c.state == DeliveryState.PENDING.value
_FOLDED: Final = deliveries.c.state == DeliveryState.FOLDED.value
# That it eased tells somebody who heard nothing before (a stand-in) that something is open.
_TELLING: Final = tuple(reason.value for reason in (Reason.OPENED, Reason.ESCALATED, Reason.REMINDER, Reason.EASED))
_UNTOLD: Final = (DeliveryState.GIVEN_UP.value, DeliveryState.WITHDRAWN.value)
_TOLD: Final = (DeliveryState.DELIVERED.value, DeliveryState.UNKNOWN.value)


# --- who was told -----------------------------------------------------------------------------------------------------

# What is folded stands as its successor does.
_successor: Final = deliveries.alias("successor")
_WITH_SUCCESSOR: Final = deliveries.outerjoin(
    _successor,
    _FOLDED
    & (_successor.c.notification_id == deliveries.c.folded_into)
    & (_successor.c.channel == deliveries.c.channel),
)
_STANDS_AS: Final = sa.func.coalesce(_successor.c.state, deliveries.c.state)
_COUNTS: Final = _STANDS_AS.not_in(_UNTOLD) | (deliveries.c.unknowns > 0)


def told_severities(tx: Transaction, incident_id: int) -> dict[str, Severity]:
    """Return the worst severity each channel was told of an incident.

    Pending and unanswered count; given up and withdrawn do not.
    """
    rows = tx.execute(
        sa.select(deliveries.c.channel, notifications.c.severity)
        .select_from(_WITH_SUCCESSOR.join(notifications, notifications.c.id == deliveries.c.notification_id))
        .where(deliveries.c.incident_id == incident_id, _COUNTS, notifications.c.reason.in_(_TELLING))
    )
    worst: dict[str, Severity] = {}
    for channel, label in rows:
        severity = Severity.of(label)
        worst[channel] = max(worst.get(channel, severity), severity)
    return worst


def heard_last(tx: Transaction, incident_id: int) -> dict[str, tuple[Reason, Severity]]:
    """Return what each channel heard last of an incident, counted as in `told_severities`.

    An end has the severity that ended.
    """
    rows = tx.execute(
        sa.select(deliveries.c.channel, notifications.c.reason, notifications.c.severity)
        .select_from(_WITH_SUCCESSOR.join(notifications, notifications.c.id == deliveries.c.notification_id))
        .where(deliveries.c.incident_id == incident_id, _COUNTS)
        .order_by(deliveries.c.id)
    )
    return {channel: (Reason(reason), Severity.of(label)) for channel, reason, label in rows}


def rename_channels(tx: Transaction, renamed: Mapping[str, str]) -> None:
    """Move what channels were told, and what waits for them, to their new names."""
    there = deliveries.alias()
    for old, new in renamed.items():
        taken = sa.exists().where(
            there.c.notification_id == deliveries.c.notification_id, there.c.channel == new
        )  # the name was another channel's before
        tx.execute(deliveries.update().where(deliveries.c.channel == old, ~taken).values(channel=new))


def addressed_channels(tx: Transaction, incident_id: int) -> set[str]:
    """Return the channels whose newest delivery of this incident was not given up."""
    rows = tx.execute(
        sa.select(deliveries.c.channel, _STANDS_AS.label("state"))
        .select_from(_WITH_SUCCESSOR)
        .where(deliveries.c.incident_id == incident_id)
        .order_by(deliveries.c.id)
    )
    newest = {row.channel: row.state for row in rows}
    return {channel for channel, state in newest.items() if state != DeliveryState.GIVEN_UP.value}


# --- putting in -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folding:
    """What is folded into a new delivery of one channel: when the earliest is given up, and how bad the worst is."""

    give_up_at: datetime
    worst: Severity


def withdraw_held(tx: Transaction, incident_id: int, *, at: datetime, eased: Collection[str] = ()) -> set[str]:
    """Take back what quiet hours hold of an incident: there is something newer to say; return the channels.

    What tells older news, too, stays: that was on its way before.  So does, on the channels `eased`, that it eased:
    what is newer does not concern them.
    """
    held = (deliveries.c.incident_id == incident_id) & deliveries.c.held & (deliveries.c.attempts == 0)
    older = deliveries.alias()
    tells_more = sa.exists().where(
        older.c.folded_into == deliveries.c.notification_id, older.c.channel == deliveries.c.channel
    )
    stays_true = deliveries.c.channel.in_(eased) & sa.exists().where(
        notifications.c.id == deliveries.c.notification_id, notifications.c.reason == Reason.EASED.value
    )
    waits = _PENDING & (deliveries.c.next_attempt_at > at)
    question = sa.select(deliveries.c.id, deliveries.c.channel).where(held, waits, ~tells_more, ~stays_true)
    rows = tx.execute(question).all()
    gone = {"state": DeliveryState.WITHDRAWN.value, "ended_at": at}
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.id.in_([row.id for row in rows])).values(gone))
    return {row.channel for row in rows}


def enqueue(
    tx: Transaction,
    notification: Notification,
    channels: Iterable[str],
    *,
    at: datetime,
    held: Mapping[str, datetime] = NONE_HELD,
) -> None:
    """Keep a notification and what is to be delivered of it: due in a moment, or when `held` says for a channel.

    What the channels have pending of its incident is folded into it; with something critical among that it is not held.
    """
    facts = stored_facts.dump_facts(notification.facts)
    key, incident_id, chosen = notification.id, notification.incident_id, list(channels)
    _insert(tx, key, incident_id, (notification.reason, notification.severity), facts, at=at)
    folded = fold(tx, incident_id, chosen, into=key, at=at)
    held = {name: until for name, until in held.items() if not (name in folded and _is_critical(folded[name]))}
    _insert_deliveries(tx, key, incident_id, chosen, at=at, held=held, folded=folded)


def _is_critical(folding: Folding) -> bool:
    return folding.worst >= Severity.CRITICAL


def enqueue_top_up(tx: Transaction, message: Message, channel: str, *, at: datetime) -> None:
    """Keep a message that credits were bought; it is kept as a digest is, and known by its id."""
    enqueue_message(tx, f"{_TOP_UP}{secrets.token_hex(8)}", message, channel, at=at)


def enqueue_once(tx: Transaction, key: str, message: Message, channels: Sequence[str], *, at: datetime) -> None:
    """Keep a notice for these channels, if there is none with this key already; it is kept as a digest is."""
    key = f"{_ONCE}{key}"
    told = tx.execute(sa.select(notifications.c.id).where(notifications.c.id == key)).one_or_none()
    if told is None and channels:
        _insert(tx, key, None, (Reason.DIGEST, Severity.WARNING), _words(message), at=at)
        _insert_deliveries(tx, key, None, channels, at=at)


def enqueue_message(tx: Transaction, key: str, message: Message, channel: str, *, at: datetime) -> None:
    """Keep a message that belongs to no incident, already in words."""
    _insert(tx, key, None, (Reason.DIGEST, Severity.INFO), _words(message), at=at)
    _insert_deliveries(tx, key, None, [channel], at=at)


def _words(message: Message) -> str:
    return json.dumps([message.subject, message.text, message.markdown, message.html])


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
    held: Mapping[str, datetime] = NONE_HELD,
    folded: Mapping[str, Folding] = MappingProxyType({}),
    gathering: timedelta = GATHERING,
) -> None:
    rows = []
    for channel in channels:
        give_up_at = held.get(channel, at) + GIVE_UP_AFTER
        row = _row(key, incident_id, channel, at=at, due_at=held.get(channel, at + gathering), give_up_at=give_up_at)
        if channel in folded:
            row["give_up_at"] = min(give_up_at, folded[channel].give_up_at)
        rows.append(row | {"held": channel in held})
    if rows:
        tx.execute(insert(tx.dialect.name, deliveries).on_conflict_do_nothing(), rows)


def _row(
    key: str, incident_id: int | None, channel: str, *, at: datetime, due_at: datetime, give_up_at: datetime
) -> dict[str, Any]:
    return {
        "notification_id": key,
        "incident_id": incident_id,
        "channel": channel,
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "next_attempt_at": due_at,
        "paused_at": at,
        "give_up_at": give_up_at,
        "held": False,
        "refused": False,
    }


# --- folding ----------------------------------------------------------------------------------------------------------


def fold(
    tx: Transaction, incident_id: int, channels: Collection[str], *, into: str, at: datetime
) -> dict[str, Folding]:
    """Fold what these channels have pending of an incident into another notification; return what, by channel.

    What had been folded into those is from now on folded into that one: one hop leads to the delivery that tells it.
    """
    columns = (deliveries.c[name] for name in ("id", "notification_id", "channel", "give_up_at"))
    rows = tx.execute(
        sa.select(*columns, notifications.c.severity)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, deliveries.c.incident_id == incident_id, deliveries.c.channel.in_(channels))
        .where(deliveries.c.notification_id != into)
    ).all()
    pending: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        pending[row.channel].append(row)
    return {channel: _fold(tx, channel, members, into=into, at=at) for channel, members in pending.items()}


def _fold(tx: Transaction, channel: str, rows: Sequence[Any], *, into: str, at: datetime) -> Folding:
    keys = [row.notification_id for row in rows]
    older = [row for members in folded_into(tx, channel, keys).values() for row in members]
    gone = {"state": DeliveryState.FOLDED.value, "folded_into": into, "ended_at": at}
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.id.in_([row.id for row in rows])).values(gone))
    mine = _FOLDED & (deliveries.c.channel == channel)
    tx.execute(deliveries.update().where(mine, deliveries.c.folded_into.in_(keys)).values(folded_into=into))
    worst = max(Severity.of(row.severity) for row in (*rows, *older))
    return Folding(min(row.give_up_at for row in rows), worst)


def fold_pending(tx: Transaction, *, at: datetime, channel: str | None = None) -> None:
    """Fold what an older daemon left pending beside something newer of the same incident and channel."""
    several = (
        sa.select(deliveries.c.incident_id, deliveries.c.channel)
        .where(_PENDING, deliveries.c.incident_id.is_not(None))
        .group_by(deliveries.c.incident_id, deliveries.c.channel)
        .having(sa.func.count() > 1)
    )
    if channel is not None:
        several = several.where(deliveries.c.channel == channel)
    for incident_id, name in tx.execute(several).all():
        order = _order(tx, incident_id)
        newest = max(
            (row for row in _rows_of(tx, incident_id, name) if row.state == DeliveryState.PENDING.value),
            key=lambda row: order[row.notification_id],
        )
        folding = fold(tx, incident_id, [name], into=newest.notification_id, at=at)[name]
        earliest = min(newest.give_up_at, folding.give_up_at)
        tx.execute(deliveries.update().where(deliveries.c.id == newest.id).values(give_up_at=earliest))


def _rows_of(tx: Transaction, incident_id: int, channel: str) -> Sequence[Any]:
    """The deliveries of an incident to a channel, each with the state that it stands as."""
    mine = (deliveries.c.incident_id == incident_id) & (deliveries.c.channel == channel)
    question = sa.select(deliveries, _STANDS_AS.label("stands_as")).select_from(_WITH_SUCCESSOR)
    return tx.execute(question.where(mine).order_by(deliveries.c.id)).all()


def _order(tx: Transaction, incident_id: int) -> dict[str, int]:
    """The notifications of an incident as they were accepted: each by the id of its first delivery."""
    first = sa.select(deliveries.c.notification_id, sa.func.min(deliveries.c.id))
    rows = tx.execute(first.where(deliveries.c.incident_id == incident_id).group_by(deliveries.c.notification_id))
    return {key: number for key, number in rows}  # noqa: C416 -- a row is no tuple of two for mypy


# --- standing in ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending delivery, and how bad the worst is of what it tells."""

    notification_id: str
    incident_id: int | None
    channel: str
    reason: Reason
    worst: Severity
    folded: tuple[str, ...]  # the older notifications that it tells, too


def waiting(
    tx: Transaction,
    channel: str,
    *,
    at: datetime,
    stand_in: str,
    others: Collection[str],
    notification_ids: Collection[str] | None = None,
) -> list[Waiting]:
    """Return what a channel has pending and `stand_in` is not addressed by; oldest first.

    Left out is what quiet hours hold, what one of the `others` has delivered or some of the channel got, and top-ups.
    """
    there = deliveries.alias()
    handed = sa.exists().where(
        there.c.notification_id == deliveries.c.notification_id,
        (there.c.channel == stand_in) | (there.c.channel.in_(others) & there.c.state.in_(_TOLD)),
    )
    held = deliveries.c.held & (deliveries.c.attempts == 0) & (deliveries.c.next_attempt_at > at)
    question = (
        sa.select(deliveries.c.notification_id, deliveries.c.incident_id)
        .add_columns(notifications.c.reason, notifications.c.severity)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, deliveries.c.channel == channel, ~held, ~handed, ~deliveries.c.reached, ~_IS_TOP_UP)
        .order_by(deliveries.c.id)
    )
    if notification_ids is not None:
        question = question.where(deliveries.c.notification_id.in_(notification_ids))
    rows = tx.execute(question).all()
    folded = folded_into(tx, channel, [row.notification_id for row in rows])
    return [_waiting(row, channel, folded.get(row.notification_id, [])) for row in rows]


def _waiting(row: Any, channel: str, folded: Sequence[Any]) -> Waiting:
    worst = max(Severity.of(label) for label in (row.severity, *(older.severity for older in folded)))
    keys = tuple(older.id for older in folded)
    return Waiting(row.notification_id, row.incident_id, channel, Reason(row.reason), worst, keys)


def folded_into(tx: Transaction, channel: str, keys: Collection[str]) -> dict[str, list[Any]]:
    """Return the notifications that a channel's deliveries of these tell, too, by their successors; oldest first."""
    found: dict[str, list[Any]] = defaultdict(list)
    if keys:
        question = (
            sa.select(deliveries.c.folded_into, notifications)
            .join(notifications, notifications.c.id == deliveries.c.notification_id)
            .where(_FOLDED, deliveries.c.channel == channel, deliveries.c.folded_into.in_(keys))
            .order_by(notifications.c.created_at, deliveries.c.id)
        )
        for row in tx.execute(question):
            found[row.folded_into].append(row)
    return found


def hand_over(
    tx: Transaction, waiting: Waiting, stand_in: str, *, at: datetime, held_until: datetime | None = None
) -> bool:
    """Give a pending delivery to a channel that stands in, with what is folded into it; return whether it was.

    Where that channel has something newer of the incident pending, it is folded into that; where it was told something
    newer, it has no need of it.
    """
    key, incident_id = waiting.notification_id, waiting.incident_id
    held = {stand_in: held_until} if held_until else NONE_HELD
    if incident_id is None:
        _insert_deliveries(tx, key, None, [stand_in], at=at, held=held, gathering=timedelta(0))
        return True
    order, rows = _order(tx, incident_id), _rows_of(tx, incident_id, stand_in)
    newer = [row for row in rows if order[row.notification_id] > order[key]]
    if any(row.stands_as in _TOLD for row in newer):
        return False
    # What that channel was not told, because it was taken back or given up there, it is told with this one.
    there = {row.notification_id for row in rows if row.stands_as not in _UNTOLD or row.unknowns}
    if later := next((row for row in newer if row.state == DeliveryState.PENDING.value), None):
        family = [one for one in (*waiting.folded, key) if one not in there]
        _insert_folded(tx, waiting, stand_in, family, into=later.notification_id, at=at)
        return False
    fold(tx, incident_id, [stand_in], into=key, at=at)
    _insert_deliveries(tx, key, incident_id, [stand_in], at=at, held=held, gathering=timedelta(0))
    _insert_folded(tx, waiting, stand_in, [one for one in waiting.folded if one not in there], into=key, at=at)
    return True


def _insert_folded(
    tx: Transaction, waiting: Waiting, channel: str, keys: Iterable[str], *, into: str, at: datetime
) -> None:
    gone = {"state": DeliveryState.FOLDED.value, "folded_into": into, "ended_at": at}
    same = [deliveries.c.notification_id, deliveries.c.channel]
    for key in keys:
        row = _row(key, waiting.incident_id, channel, at=at, due_at=at, give_up_at=at + GIVE_UP_AFTER)
        new = insert(tx.dialect.name, deliveries).values(row | gone)
        tx.execute(new.on_conflict_do_update(index_elements=same, set_=gone))


def withdraw_ends(tx: Transaction, channel: str, stand_ins: Collection[str], *, at: datetime) -> None:
    """Take back the ends that a channel has pending, of incidents that only those who stood in for it heard of.

    They must have heard of all that the channel would be told with the end.
    """
    ends = (
        sa.select(deliveries.c.id, deliveries.c.notification_id, deliveries.c.incident_id)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(_PENDING, deliveries.c.channel == channel, notifications.c.reason == Reason.RESOLVED.value)
    )
    rows = tx.execute(ends).all()
    folded = folded_into(tx, channel, [row.notification_id for row in rows])
    heard_elsewhere = [
        row.id
        for row in rows
        if not _heard(tx, row.incident_id, [channel])
        and {row.notification_id, *(older.id for older in folded.get(row.notification_id, ()))}
        <= _heard(tx, row.incident_id, stand_ins)
    ]
    gone = {"state": DeliveryState.WITHDRAWN.value, "ended_at": at}
    tx.execute(deliveries.update().where(_PENDING, deliveries.c.id.in_(heard_elsewhere)).values(gone))


def _heard(tx: Transaction, incident_id: int, channels: Collection[str]) -> set[str]:
    """Return the notifications of an incident that arrived, or may have, at any of these channels."""
    question = (
        sa.select(deliveries.c.notification_id)
        .select_from(_WITH_SUCCESSOR)
        .where(deliveries.c.incident_id == incident_id, deliveries.c.channel.in_(channels))
        .where(_STANDS_AS.in_(_TOLD) | (deliveries.c.unknowns > 0))
    )
    return set(tx.execute(question).scalars())


# --- channels that are gone, digests ----------------------------------------------------------------------------------


def give_up_unconfigured(tx: Transaction, configured: Collection[str], *, at: datetime) -> dict[str, int]:
    """Give up what waits for channels that are no longer configured; return how many messages of each that are."""
    waiting = _PENDING & deliveries.c.channel.not_in(configured)
    question = sa.select(deliveries.c.channel, sa.func.count()).where(waiting).group_by(deliveries.c.channel)
    counts = {channel: count for channel, count in tx.execute(question)}  # noqa: C416 -- a row is no tuple for mypy
    gone = {"state": DeliveryState.GIVEN_UP.value, "ended_at": at, "last_error": "the channel is no longer configured"}
    if counts:
        tx.execute(deliveries.update().where(waiting).values(gone))
    return counts


def last_digest_at(tx: Transaction, channel: str) -> datetime | None:
    """When a channel's last digest was written; one that it only stood in for does not count."""
    earlier = deliveries.alias("earlier")
    first = ~sa.exists().where(
        earlier.c.notification_id == deliveries.c.notification_id, earlier.c.id < deliveries.c.id
    )
    question = (
        sa.select(sa.func.max(notifications.c.created_at))
        .join(deliveries, deliveries.c.notification_id == notifications.c.id)
        .where(notifications.c.reason == Reason.DIGEST.value, deliveries.c.channel == channel, first)
        .where(~_IS_TOP_UP, ~_IS_ONCE)
    )
    at: datetime | None = tx.execute(question).scalar_one()
    return at

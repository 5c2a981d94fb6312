"""How things stand now: each organization's current row, what is open, and what waits to be sent."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import DeliveryState, FailureKind, Rule, Severity, Subject
from monitor.store.engines import transaction
from monitor.store.tables import accounts, deliveries, incidents, leases, notifications
from monitor.store.tables import daemons as daemons_table
from monitor.store.tables import organizations as table


@dataclass(frozen=True, slots=True)
class Standing:
    """An incident that is open now."""

    id: int
    rule: Rule
    severity: Severity
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class OrganizationStatus:
    """An organization's current row and its open incidents, worst first."""

    id: int
    name: str
    vendor_id: str
    title: str | None
    account: str
    watched: bool
    credits: Decimal | None
    taken_at: datetime | None
    change: Decimal | None  # against the snapshot before
    checked_at: datetime | None
    failure: FailureKind | None  # of the last check; None when it gave a snapshot
    failure_message: str | None
    failing_since: datetime | None
    incidents: tuple[Standing, ...]

    @property
    def state(self) -> str:
        """The worst open severity; else "unknown" when it was never fetched or its last check failed; else "ok"."""
        if self.incidents:
            return self.incidents[0].severity.label
        return "unknown" if self.taken_at is None or self.failure is not None else "ok"


@dataclass(frozen=True, slots=True)
class AccountIncident:
    """An open incident of a whole account, or (None) of every account at once."""

    account: str | None
    incident: Standing


@dataclass(frozen=True, slots=True)
class ChannelQueue:
    """What a channel still has to send, and what was given up lately."""

    channel: str
    pending: int
    retrying: int  # of those pending: at least one attempt failed
    given_up: int
    oldest_at: datetime | None  # when the oldest pending notification was written
    last_error: str | None
    refusal: str | None = None  # of those pending: why the newest was refused for good
    held: int = 0  # of those pending: waits for the end of quiet hours ...
    held_until: datetime | None = None  # ... the first of which is then


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a channel has still to send, and when the oldest of it was written that quiet hours do not hold."""

    channel: str
    pending: int
    oldest_at: datetime | None


def status(engine: sa.Engine, *, watched_only: bool = True) -> list[OrganizationStatus]:
    """Every organization, by name; with `watched_only` those of the present configuration."""
    question = sa.select(*_COLUMNS).order_by(table.c.name, table.c.id)
    if watched_only:
        question = question.where(table.c.watched)
    with transaction(engine) as connection:
        rows = connection.execute(question).all()
        standing = _standing(connection, Subject.ORGANIZATION)
    return [_status(row, standing.get(row.id, [])) for row in rows]


def account_incidents(engine: sa.Engine) -> list[AccountIncident]:
    """The open incidents of every account at once, then those of each account by its name, worst first."""
    with transaction(engine) as connection:
        everything = _standing(connection, Subject.MONITOR)
        standing = _standing(connection, Subject.ACCOUNT)
        names = connection.execute(sa.select(accounts.c.id, accounts.c.name).order_by(accounts.c.name)).all()
    of_all = [AccountIncident(None, incident) for those in everything.values() for incident in those]
    return of_all + [AccountIncident(name, incident) for id_, name in names for incident in standing.get(id_, [])]


def last_polls(engine: sa.Engine) -> dict[str, datetime | None]:
    """When the last completed poll of each account ever configured began, by name."""
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(accounts.c.name, accounts.c.polled_at)).all()
    return {row.name: row.polled_at for row in rows}


def channels(engine: sa.Engine, *, since: datetime) -> list[ChannelQueue]:
    """Each channel with something pending, or with something given up at or after `since`; by name."""
    waiting = deliveries.c.state == DeliveryState.PENDING
    lost = (deliveries.c.state == DeliveryState.GIVEN_UP) & (deliveries.c.ended_at >= since)
    question = (
        sa.select(deliveries, notifications.c.created_at)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(waiting | lost)
        .order_by(deliveries.c.channel, deliveries.c.id)
    )
    with transaction(engine) as connection:
        rows = connection.execute(question).all()
    return [_queue(channel, list(members)) for channel, members in groupby(rows, lambda row: str(row.channel))]


def outbox(engine: sa.Engine) -> list[Waiting]:
    """What waits to be sent, by channel; one without anything is left out."""
    is_held = deliveries.c.held & (deliveries.c.attempts == 0)
    oldest = sa.func.min(sa.case((~is_held, notifications.c.created_at)))
    question = (
        sa.select(deliveries.c.channel, sa.func.count().label("pending"), oldest.label("oldest_at"))
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(deliveries.c.state == sa.literal_column("'pending'"))  # a parameter would keep SQLite from the index
        .group_by(deliveries.c.channel)
    )
    with transaction(engine) as connection:
        return [Waiting(*row) for row in connection.execute(question)]


def _standing(connection: sa.Connection, subject: Subject) -> dict[int, list[Standing]]:
    """The open incidents of each subject of this sort, worst first, then oldest first."""
    question = sa.select(incidents).where(incidents.c.subject == subject, incidents.c.resolved_at.is_(None))
    found = defaultdict(list)
    for row in connection.execute(question.order_by(incidents.c.opened_at, incidents.c.id)):
        found[row.subject_id].append(Standing(row.id, Rule(row.rule), Severity.of(row.severity), row.opened_at))
    return {id_: sorted(those, key=lambda one: -one.severity) for id_, those in found.items()}


# Not the whole row: what the forecast has folded may be larger than all the rest.
_COLUMNS: Final = tuple(
    table.c[name]
    for name in (
        *("id", "name", "vendor_id", "title", "account", "watched", "credits", "taken_at", "previous_credits"),
        *("checked_at", "failure", "failure_message", "failing_since"),
    )
)


def _status(row: Any, standing: list[Standing]) -> OrganizationStatus:
    id_, name, vendor_id, title, account, watched, credits_, taken_at, previous, checked_at, failure, *failing = row
    return OrganizationStatus(
        id=id_,
        name=name,
        vendor_id=vendor_id,
        title=title,
        account=account,
        watched=watched,
        credits=credits_,
        taken_at=taken_at,
        change=None if credits_ is None or previous is None else credits_ - previous,
        checked_at=checked_at,
        failure=None if failure is None else FailureKind(failure),
        failure_message=failing[0],
        failing_since=failing[1],
        incidents=tuple(standing),
    )


def _queue(channel: str, rows: list[sa.Row[Any]]) -> ChannelQueue:
    pending = [row for row in rows if row.state == DeliveryState.PENDING]
    held = [row.next_attempt_at for row in pending if row.held and row.attempts == 0]
    return ChannelQueue(
        channel=channel,
        pending=len(pending),
        retrying=sum(row.attempts > 0 for row in pending),
        given_up=len(rows) - len(pending),
        oldest_at=min((row.created_at for row in pending), default=None),
        last_error=next((row.last_error for row in reversed(rows) if row.last_error), None),
        refusal=next((row.last_error for row in reversed(pending) if row.refused), None),
        held=len(held),
        held_until=min(held, default=None),
    )


# --- which daemons there are ------------------------------------------------------------------------------------------


SEEN_WITHIN: Final = timedelta(seconds=15)  # each says every few seconds that it is there


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon that was seen within the last seconds; `leads_since` is None for one that stands by."""

    host: str
    pid: int
    version: str
    started_at: datetime
    leads_since: datetime | None


def daemons(engine: sa.Engine) -> list[DaemonRow] | None:
    """The leader first; None where nothing is known of it (SQLite)."""
    if engine.dialect.name != "postgresql":
        return None
    now = sa.func.clock_timestamp()
    leads = (leases.c.daemon == daemons_table.c.id) & (leases.c.expires_at > now)
    question = (
        sa.select(
            daemons_table.c.host,
            daemons_table.c.pid,
            daemons_table.c.version,
            daemons_table.c.started_at,
            leases.c.acquired_at,
        )
        .select_from(daemons_table.outerjoin(leases, leads))
        .where(daemons_table.c.seen_at > now - SEEN_WITHIN)
        .order_by(leases.c.acquired_at.is_(None), daemons_table.c.started_at)
    )
    with transaction(engine) as connection:
        return [DaemonRow(*row) for row in connection.execute(question)]

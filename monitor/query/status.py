"""The present state: current balances, open incidents, what waits to be delivered, and which daemons run."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import STABILITY, STABILITY_UNIT, DeliveryState, FailureKind, OpenIncident, Subject, WaitingTarget
from monitor.store import targets
from monitor.store.channels import ChannelState
from monitor.store.channels import load as load_channels
from monitor.store.engines import transaction
from monitor.store.incidents import open_incidents
from monitor.store.tables import accounts, attempts, deliveries, incidents, leases, notifications, silences
from monitor.store.tables import channels as channels_table
from monitor.store.tables import daemons as daemons_table
from monitor.store.tables import organizations as table


@dataclass(frozen=True, slots=True)
class OrganizationStatus:
    """An organization's current row and its open incidents, worst first, those left out whose reading is clear now."""

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
    incidents: tuple[OpenIncident, ...]
    flapping: tuple[OpenIncident, ...] = ()  # also those whose reading is clear now
    provider: str = STABILITY
    unit: str = STABILITY_UNIT  # of every amount; "": no answer has said it yet
    unlimited: bool = False  # the vendor's last word: there is no limit
    resets_at: datetime | None = None  # when a quota refills by itself, as far as known

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
    incident: OpenIncident


@dataclass(frozen=True, slots=True)
class ChannelQueue:
    """The deliveries of a channel that are pending, and those given up lately."""

    channel: str
    pending: int
    retrying: int  # of those pending: at least one attempt failed
    given_up: int
    oldest_at: datetime | None  # when the oldest pending notification was written
    last_error: str | None
    refusal: str | None = None  # of those pending: why the newest was refused for good
    held: int = 0  # of those pending: held until quiet hours end ...
    held_until: datetime | None = None  # ... for the first of them then
    folded: int = 0  # older notifications that are told with those pending
    untried: int = 0  # of those pending: due, and never tried ...
    untried_since: datetime | None = None  # ... the first of them since then
    missing: tuple[WaitingTarget, ...] = ()  # recipients that do not get what others of the channel got


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries of a channel are pending."""

    channel: str
    pending: int
    oldest_at: datetime | None  # when the oldest was enqueued that quiet hours do not hold


def status(engine: sa.Engine, *, watched_only: bool = True) -> list[OrganizationStatus]:
    """Return every organization, by name; with `watched_only` those of the present configuration."""
    question = sa.select(*_COLUMNS).order_by(table.c.name, table.c.id)
    if watched_only:
        question = question.where(table.c.watched)
    with transaction(engine) as connection:
        rows = connection.execute(question).all()
        by_organization = _open_incidents(connection, Subject.ORGANIZATION)
    return [_status(row, by_organization.get(row.id, [])) for row in rows]


def account_incidents(engine: sa.Engine) -> list[AccountIncident]:
    """Return the open incidents of all accounts at once, then those of each account by its name, worst first."""
    with transaction(engine) as connection:
        of_monitor = _open_incidents(connection, Subject.MONITOR)
        of_accounts = _open_incidents(connection, Subject.ACCOUNT)
        names = connection.execute(sa.select(accounts.c.id, accounts.c.name).order_by(accounts.c.name)).all()
    of_all = [AccountIncident(None, incident) for incidents in of_monitor.values() for incident in incidents]
    return of_all + [AccountIncident(name, incident) for id_, name in names for incident in of_accounts.get(id_, [])]


def last_polls(engine: sa.Engine) -> dict[str, datetime | None]:
    """Return when the last completed poll of each account ever configured began, by name."""
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(accounts.c.name, accounts.c.polled_at)).all()
    return {row.name: row.polled_at for row in rows}


def recorded_at(engine: sa.Engine) -> datetime | None:
    """Return when the newest check of all was recorded; None where there is none."""
    with transaction(engine) as connection:
        polled = connection.execute(sa.select(sa.func.max(accounts.c.polled_at))).scalar_one()
        checked = connection.execute(sa.select(sa.func.max(table.c.checked_at))).scalar_one()
    return max((at for at in (polled, checked) if at is not None), default=None)


def channels(engine: sa.Engine, *, since: datetime) -> list[ChannelQueue]:
    """Return each channel with something pending, or with something given up at or after `since`; by name."""
    pending = deliveries.c.state == DeliveryState.PENDING
    given_up = (deliveries.c.state == DeliveryState.GIVEN_UP) & (deliveries.c.ended_at >= since)
    successor = deliveries.alias()
    waits = sa.exists().where(
        successor.c.notification_id == deliveries.c.folded_into,
        successor.c.channel == deliveries.c.channel,
        successor.c.state == DeliveryState.PENDING,
    )
    folded = (deliveries.c.state == DeliveryState.FOLDED) & waits
    question = (
        sa.select(deliveries, notifications.c.created_at)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(pending | given_up | folded)
        .order_by(deliveries.c.channel, deliveries.c.id)
    )
    with transaction(engine) as connection:
        rows = connection.execute(question).all()
    return [_queue(channel, list(members)) for channel, members in groupby(rows, lambda row: str(row.channel))]


def down_channels(engine: sa.Engine) -> list[ChannelState]:
    """Return the channels that take nothing, and that others stand in for; by name."""
    with transaction(engine) as connection:
        states = load_channels(connection)
    return [state for _, state in sorted(states.items()) if state.down_since]


def outbox(engine: sa.Engine) -> list[Backlog]:
    """Return what is pending, by channel; channels without anything are left out."""
    is_held = deliveries.c.held & (deliveries.c.attempts == 0)
    oldest = sa.func.min(sa.case((~is_held, notifications.c.created_at)))
    question = (
        sa.select(deliveries.c.channel, sa.func.count().label("pending"), oldest.label("oldest_at"))
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(deliveries.c.state == sa.literal_column("'pending'"))  # a parameter would keep SQLite from the index
        .group_by(deliveries.c.channel)
    )
    with transaction(engine) as connection:
        return [Backlog(*row) for row in connection.execute(question)]


def _open_incidents(tx: sa.Connection, subject: Subject) -> dict[int, list[OpenIncident]]:
    """Return the open incidents of each subject of this kind, worst first, then oldest first."""

    def order(incident: OpenIncident) -> tuple[int, datetime, int]:
        return -incident.severity, incident.opened_at, incident.id

    return {id_: sorted(by_rule.values(), key=order) for id_, by_rule in open_incidents(tx, subject).items()}


# Not the whole row: the forecast's state may be larger than all the rest.
_COLUMNS: Final = tuple(
    table.c[name]
    for name in (
        *("id", "name", "vendor_id", "title", "account", "watched", "credits", "taken_at", "previous_credits"),
        *("checked_at", "failure", "failure_message", "failing_since", "provider", "unit", "unlimited", "resets_at"),
    )
)


def _status(row: Any, incidents: list[OpenIncident]) -> OrganizationStatus:
    id_, name, vendor_id, title, account, watched, credits_, taken_at, previous, checked_at, failure, *others = row
    failure_message, failing_since, provider, unit, unlimited, resets_at = others
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
        failure_message=failure_message,
        failing_since=failing_since,
        incidents=tuple(incident for incident in incidents if not incident.calm_since),
        flapping=tuple(incident for incident in incidents if incident.is_flapping),
        provider=provider,
        unit=unit,
        unlimited=unlimited,
        resets_at=resets_at,
    )


def _queue(channel: str, rows: list[sa.Row[Any]]) -> ChannelQueue:
    pending = [row for row in rows if row.state == DeliveryState.PENDING]
    held = [row.next_attempt_at for row in pending if row.held and row.attempts == 0]
    untried = [row.next_attempt_at for row in pending if not row.held and row.attempts == 0]
    return ChannelQueue(
        channel=channel,
        pending=len(pending),
        retrying=sum(row.attempts > 0 and not row.reached for row in pending),
        given_up=sum(row.state == DeliveryState.GIVEN_UP for row in rows),
        oldest_at=min((row.created_at for row in pending), default=None),
        last_error=next((row.last_error for row in reversed(rows) if row.last_error), None),
        refusal=next((row.last_error for row in reversed(pending) if row.refused and not row.reached), None),
        held=len(held),
        held_until=min(held, default=None),
        folded=sum(row.state == DeliveryState.FOLDED for row in rows),
        untried=len(untried),
        untried_since=min(untried, default=None),
        missing=tuple(_missing(pending).values()),
    )


def _missing(pending: list[sa.Row[Any]]) -> dict[str, WaitingTarget]:
    """Return the recipients that wait for what others have got, each by its name and with its newest error."""
    waiting = [targets.load(row.targets) for row in pending if row.reached]
    return {target.name: target for whom in waiting if whom for target in whom.waiting if target.name}


# --- daemons ----------------------------------------------------------------------------------------------------------


SEEN_WITHIN: Final = timedelta(seconds=15)  # each renews `seen_at` every few seconds


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon that was seen within the last seconds; `leads_since` is None for a standby."""

    host: str
    pid: int
    version: str
    started_at: datetime
    leads_since: datetime | None


def daemons(engine: sa.Engine) -> list[DaemonRow] | None:
    """Return the running daemons, the leader first; None on SQLite, where none of them is recorded."""
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


# --- what was written last --------------------------------------------------------------------------------------------


def newest_write(engine: sa.Engine) -> str:
    """Return a mark that is another one after every write that an answer could show; each part of it is cheap."""
    top = sa.func.max
    questions = (
        sa.select(top(table.c.checked_at), top(table.c.newest_at), top(table.c.id)),
        sa.select(sa.func.sum(table.c.used), sa.func.count()).where(table.c.watched),
        sa.select(top(accounts.c.polled_at), sa.func.count()).select_from(accounts),
        sa.select(top(incidents.c.id), top(incidents.c.resolved_at), top(incidents.c.opened_at)),
        sa.select(
            sa.func.count(), top(incidents.c.told_at), top(incidents.c.calm_since), sa.func.sum(incidents.c.returns)
        )
        .select_from(incidents)
        .where(incidents.c.resolved_at.is_(None)),
        sa.select(top(attempts.c.id)),
        sa.select(top(deliveries.c.id)),
        sa.select(sa.func.count(), top(deliveries.c.next_attempt_at))
        .select_from(deliveries)
        .where(deliveries.c.state == sa.literal_column("'pending'")),
        sa.select(top(silences.c.id), top(silences.c.ended_at)),
        sa.select(top(channels_table.c.down_since), top(channels_table.c.failing_since), sa.func.count()).select_from(
            channels_table
        ),
    )
    with transaction(engine) as tx:
        return "|".join(str(tuple(tx.execute(question).one())) for question in questions)

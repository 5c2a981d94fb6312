"""What is open at on-call services: a page for each incident and channel that was told of it, until its end is told.

Only channels to such services have any.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor.model import Attempt, Delivery, DeliveryState, Message, Reason, Subject
from monitor.store.outbox import GIVE_UP_AFTER
from monitor.store.tables import accounts, deliveries, incidents, notifications, organizations, pages
from monitor.store.writer import Transaction, insert


@dataclass(frozen=True, slots=True)
class Page:
    """What is open of an incident at a channel; `name` is that of its organization or account, empty for all."""

    channel: str
    incident_id: int
    name: str
    rule: str


def record_attempt(
    tx: Transaction, delivery: Delivery, attempt: Attempt, *, state: DeliveryState, at: datetime
) -> None:
    """Keep what an attempt opened or ended at an on-call service; what may have been taken counts as taken."""
    said = delivery.said
    if isinstance(said, Message):
        return  # a digest is ended at once
    if said.reason is Reason.RESOLVED:
        if state in (DeliveryState.DELIVERED, DeliveryState.UNKNOWN):
            page = (pages.c.channel == delivery.channel) & (pages.c.incident_id == said.incident_id)
            tx.execute(pages.delete().where(page))
    elif attempt.reached or attempt.unknown:
        row = {"channel": delivery.channel, "incident_id": said.incident_id, "opened_at": at}
        tx.execute(insert(tx.dialect.name, pages).values(row).on_conflict_do_nothing())


def revive_ends(tx: Transaction, channel: str, *, at: datetime) -> None:
    """Let the ends that a channel was not told before they were given up be due again: what they end is open there."""
    there = sa.exists().where(pages.c.channel == channel, pages.c.incident_id == deliveries.c.incident_id)
    newest = (
        sa.select(sa.func.max(deliveries.c.id))
        .where(deliveries.c.channel == channel, deliveries.c.incident_id.is_not(None))
        .group_by(deliveries.c.incident_id)
    )
    is_end = sa.exists().where(
        notifications.c.id == deliveries.c.notification_id, notifications.c.reason == Reason.RESOLVED.value
    )
    given_up = deliveries.c.state == DeliveryState.GIVEN_UP.value
    values = {"state": DeliveryState.PENDING.value, "ended_at": None}
    due = {"next_attempt_at": at, "paused_at": at, "give_up_at": at + GIVE_UP_AFTER}
    tx.execute(deliveries.update().where(given_up, there, deliveries.c.id.in_(newest), is_end).values(values | due))


def rename(tx: Transaction, renamed: Mapping[str, str]) -> None:
    """Keep what is open at channels under their new names (old → new)."""
    for old, new in renamed.items():
        tx.execute(pages.delete().where(pages.c.channel == new))
        tx.execute(pages.update().where(pages.c.channel == old).values(channel=new))


def take_abandoned(tx: Transaction, on_call: Collection[str]) -> list[Page]:
    """Forget and return what is open at channels that are none of these, and so is ended by nobody."""
    gone = pages.c.channel.not_in(on_call)
    name = sa.case(
        (incidents.c.subject == Subject.ORGANIZATION.value, organizations.c.name),
        (incidents.c.subject == Subject.ACCOUNT.value, accounts.c.name),
        else_="",
    )
    question = (
        sa.select(pages.c.channel, pages.c.incident_id, name, incidents.c.rule)
        .join(incidents, incidents.c.id == pages.c.incident_id)
        .outerjoin(organizations, organizations.c.id == incidents.c.subject_id)
        .outerjoin(accounts, accounts.c.id == incidents.c.subject_id)
        .where(gone)
        .order_by(pages.c.channel, pages.c.incident_id)
    )
    found = [Page(*row) for row in tx.execute(question)]
    if found:
        tx.execute(pages.delete().where(gone))
    return found

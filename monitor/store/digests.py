"""When each channel had its last digest: the outbox remembers."""

from datetime import datetime

import sqlalchemy as sa

from monitor.model import Reason
from monitor.store.tables import deliveries, notifications
from monitor.store.writer import Transaction


def last_digest(tx: Transaction, channel: str) -> datetime | None:
    """When a channel's last digest was written; one that it only stood in for does not count."""
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

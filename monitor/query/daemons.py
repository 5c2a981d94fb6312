"""Which daemon leads and which stand by, on PostgreSQL; of SQLite, where one at most runs, nothing is known."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from monitor.store.engines import transaction
from monitor.store.tables import daemons as table
from monitor.store.tables import leases

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
    leads = (leases.c.daemon == table.c.id) & (leases.c.expires_at > now)
    question = (
        sa.select(table.c.host, table.c.pid, table.c.version, table.c.started_at, leases.c.acquired_at)
        .select_from(table.outerjoin(leases, leads))
        .where(table.c.seen_at > now - SEEN_WITHIN)
        .order_by(leases.c.acquired_at.is_(None), table.c.started_at)
    )
    with transaction(engine) as connection:
        return [DaemonRow(*row) for row in connection.execute(question)]

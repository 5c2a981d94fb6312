"""What stands now, as plain rows: taken from one database and put into another, whatever their kinds."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from monitor.store.tables import accounts, incidents, organizations, silences
from monitor.store.writer import Transaction

STANDING: Final = (accounts, organizations, incidents, silences)

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def standing_rows(tx: Transaction) -> Rows:
    """Accounts, organizations and open incidents: all that judging looks at."""
    still = {incidents: incidents.c.resolved_at.is_(None)}
    return {
        table.name: [dict(row) for row in tx.execute(sa.select(table).where(still.get(table, sa.true()))).mappings()]
        for table in STANDING
    }


def insert_rows(tx: Transaction, rows: Rows) -> None:
    """Put such rows into an empty database."""
    for table in STANDING:
        if rows[table.name]:
            tx.execute(table.insert(), list(rows[table.name]))

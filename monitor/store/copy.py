"""Everything of one database, put into another one of whichever kind, and proven equal there before it is committed.

Refuses to choose databases and to commit.  Which daemon leads, and the schema's own notes, belong to each database and
stay behind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import place
from monitor.store.tables import (
    Credits,
    Instant,
    accounts,
    compatibility,
    daemons,
    incidents,
    leases,
    metadata,
    organizations,
    silences,
)
from monitor.store.writer import Transaction, put_rows

TABLES: Final = tuple(table for table in metadata.sorted_tables if table not in (compatibility, daemons, leases))
ROWS_AT_ONCE: Final = 5000

Totals = Mapping[str, Sequence[int]]  # by table: rows, then of each column the values and their sum


def take_time(tx: Transaction) -> None:
    """Let this transaction take as long as it takes."""
    if tx.dialect.name == "postgresql":
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            tx.exec_driver_sql(f"SET LOCAL {setting} = 0")


def row_counts(tx: Transaction) -> dict[str, int]:
    """How many rows each table has."""
    return {table.name: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in TABLES}


def move_rows(source: Transaction, target: Transaction, told: Callable[[int], None]) -> None:
    """Put every row of `source` into the empty `target`; `told` hears of every few thousand.

    `DatabaseError` where the two do not agree to the last row and millionth afterwards.
    """
    for table in TABLES:
        rows = source.execution_options(yield_per=ROWS_AT_ONCE).execute(sa.select(table))
        put_rows(target, table, _told(rows.partitions(), told))
    if target.dialect.name == "postgresql":
        _set_sequences(target)
    require_equal(source, target)


def require_equal(source: Transaction, target: Transaction) -> None:
    """`DatabaseError` unless both hold the same number of rows with the same sums."""
    here, there = totals(source), totals(target)
    for name, found in here.items():
        if there[name] != found:
            where = place(target.engine.url)
            raise DatabaseError(f"{where}: table {name} is not what it should be after copying; nothing was kept")


def totals(tx: Transaction) -> Totals:
    """Exact sums over every column: instants in microseconds, credits in millionths, texts by their length."""
    found = {}
    for table in TABLES:
        sums = [one for column in table.columns for one in (sa.func.count(column), *_sums(tx.dialect.name, column))]
        row = tx.execute(sa.select(sa.func.count(), *sums).select_from(table)).one()
        found[table.name] = [int(value or 0) for value in row]
    return found


# --- parts ------------------------------------------------------------------------------------------------------------


def _told(parts: Iterator[Sequence[Any]], told: Callable[[int], None]) -> Iterator[Sequence[Any]]:
    for part in parts:
        yield part
        told(len(part))


def _set_sequences(tx: Transaction) -> None:
    """PostgreSQL numbers rows on from the highest that was brought along."""
    for table in TABLES:
        if table.autoincrement_column is not None:
            id_ = sa.func.max(table.autoincrement_column)
            sequence = sa.func.pg_get_serial_sequence(table.name, table.autoincrement_column.name)
            tx.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(id_, 1), id_.is_not(None))))


def _sums(dialect: str, column: sa.Column[Any]) -> Sequence[sa.ColumnElement[Any]]:
    """Sums that do not overflow, whatever either database calls an instant or credits."""
    name = f'"{column.name}"'
    if isinstance(column.type, sa.Text):
        return [sa.literal_column(f"sum(length({name}))")]
    if isinstance(column.type, sa.Boolean):
        return [sa.literal_column(f"sum(CASE WHEN {name} THEN 1 ELSE 0 END)")]
    if not isinstance(column.type, Instant | Credits):
        return [sa.literal_column(f"sum({name})")]
    if dialect == "postgresql":
        whole = f"extract(epoch FROM {name})" if isinstance(column.type, Instant) else name
        name = f"({whole} * 1000000)::bigint"
    # Whole ones and millionths apart, for the sum of millionths may have more digits than SQLite's integers.
    return [sa.literal_column(f"sum({name} {operator} 1000000)") for operator in "/%"]


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

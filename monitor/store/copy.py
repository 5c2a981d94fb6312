"""Copy all rows of one database into another one of either kind, and verify them before they are committed.

The tables of the lease and of the schema belong to each database and are not copied.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import location
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
from monitor.store.writer import Transaction, insert_many

TABLES: Final = tuple(table for table in metadata.sorted_tables if table not in (compatibility, daemons, leases))
ROWS_AT_ONCE: Final = 5000

Totals = Mapping[str, Sequence[int]]  # by table: rows, then of each column the values and their sum


def lift_timeouts(tx: Transaction) -> None:
    """Let this transaction, and each statement in it, take any time."""
    if tx.dialect.name == "postgresql":
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            tx.exec_driver_sql(f"SET LOCAL {setting} = 0")


def row_counts(tx: Transaction) -> dict[str, int]:
    """Return how many rows each table has."""
    return {table.name: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in TABLES}


def copy_rows(source: Transaction, target: Transaction, on_progress: Callable[[int], None]) -> None:
    """Insert every row of `source` into the empty `target`; `on_progress` is called with a number of rows.

    `DatabaseError` when the two are not equal afterwards.
    """
    for table in TABLES:
        rows = source.execution_options(yield_per=ROWS_AT_ONCE).execute(sa.select(table))
        insert_many(target, table, _reported(rows.partitions(), on_progress))
    if target.dialect.name == "postgresql":
        _set_sequences(target)
    require_equal(source, target)


def require_equal(source: Transaction, target: Transaction) -> None:
    """Raise `DatabaseError` unless both have the same number of rows with the same sums."""
    expected, actual = totals(source), totals(target)
    for name, sums in expected.items():
        if actual[name] != sums:
            where = location(target.engine.url)
            raise DatabaseError(f"{where}: table {name} is not what it should be after copying; nothing was kept")


def totals(tx: Transaction) -> Totals:
    """Return exact sums over every column: instants in microseconds, credits in millionths, texts by their length."""
    by_table = {}
    for table in TABLES:
        sums = [
            expression
            for column in table.columns
            for expression in (sa.func.count(column), *_sums(tx.dialect.name, column))
        ]
        row = tx.execute(sa.select(sa.func.count(), *sums).select_from(table)).one()
        by_table[table.name] = [int(value or 0) for value in row]
    return by_table


def _reported(parts: Iterator[Sequence[Any]], on_progress: Callable[[int], None]) -> Iterator[Sequence[Any]]:
    for part in parts:
        yield part
        on_progress(len(part))


def _set_sequences(tx: Transaction) -> None:
    """Let PostgreSQL number new rows on from the highest id that was copied."""
    for table in TABLES:
        if table.autoincrement_column is not None:
            id_ = sa.func.max(table.autoincrement_column)
            sequence = sa.func.pg_get_serial_sequence(table.name, table.autoincrement_column.name)
            tx.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(id_, 1), id_.is_not(None))))


def _sums(dialect: str, column: sa.Column[Any]) -> Sequence[sa.ColumnElement[Any]]:
    """Return sums that do not overflow, equal on both databases."""
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
    # Units and millionths apart: their sum in millionths may not fit into SQLite's integers.
    return [sa.literal_column(f"sum({name} {operator} 1000000)") for operator in "/%"]


# --- what judging reads -----------------------------------------------------------------------------------------------

JUDGED: Final = (accounts, organizations, incidents, silences)

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def judged_rows(tx: Transaction) -> Rows:
    """Return accounts, organizations, open incidents and silences: all rows that judging reads."""
    is_read = {incidents: incidents.c.resolved_at.is_(None)}
    queries = {table.name: sa.select(table).where(is_read.get(table, sa.true())) for table in JUDGED}
    return {name: [dict(row) for row in tx.execute(query).mappings()] for name, query in queries.items()}


def insert_rows(tx: Transaction, rows: Rows) -> None:
    """Insert the rows of `judged_rows` into an empty database."""
    for table in JUDGED:
        if rows[table.name]:
            tx.execute(table.insert(), list(rows[table.name]))

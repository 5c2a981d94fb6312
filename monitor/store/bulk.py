"""Many rows at once, in the way in which each database takes them in fastest."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from monitor.store.writer import Transaction

Rows = Sequence[Sequence[Any]]


def put_rows(tx: Transaction, table: sa.Table, parts: Iterable[Rows]) -> None:
    """Insert rows that have every column of a table in its order; memory holds one part at a time."""
    if tx.dialect.name == "postgresql":
        _copy_in(tx, table, parts)
    else:
        names = [column.name for column in table.columns]
        for part in parts:
            tx.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in part])


def _copy_in(tx: Transaction, table: sa.Table, parts: Iterable[Rows]) -> None:
    driver: Any = tx.connection.driver_connection
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for part in parts:
            for row in part:
                copy.write_row(row)

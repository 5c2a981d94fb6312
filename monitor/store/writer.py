"""Write to the database: one transaction at a time, in one writer thread.  Readers have an engine of their own."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from monitor.errors import DatabaseError, LeaseLost
from monitor.store.engines import SILENT_AFTER, open_writer, sever, transaction
from monitor.store.sqlite_file import OpenedFile
from monitor.store.tables import compatibility

Engine = sa.Engine
Transaction = sa.Connection  # with a transaction begun; committed when the work returns
T = TypeVar("T")
WROTE: Final = "wrote"  # whether the transaction has written, in the connection's `info`


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a database cannot be used, and since when by `time.monotonic`."""

    cause: str
    since: float
    what: str = ""  # cannot be written; empty: nothing can


class Store:
    """A database opened for writing; every method raises `DatabaseError` when it cannot be used.

    Every write of a leader begins with `fence`, which raises `LeaseLost` when another daemon leads.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_writer(url)
        self.file = OpenedFile(self.engine.url)
        self.fence: Callable[[Transaction], None] | None = None
        self.trouble: Trouble | None = None  # from a transaction that failed until one has written
        self.turned_at: float | None = None  # when its last statement ended, by `time.monotonic`; None while idle
        self._connections: set[Any] = set()  # the driver's
        sa.event.listen(self.engine, "connect", lambda connection, _: self._connections.add(connection))
        sa.event.listen(self.engine, "close", lambda connection, _: self._connections.discard(connection))
        sa.event.listen(self.engine, "after_cursor_execute", self._executed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def write(self, work: Callable[[Transaction], T], *, fenced: bool = True) -> T:
        """Run `work` in one transaction in the writer thread and return its result.

        What is true whoever leads (a balance that was fetched, a message that was sent) needs no fence.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(self.write_now, work, fenced=fenced)
        )

    def write_now(self, work: Callable[[Transaction], T], *, fenced: bool = True) -> T:
        """Run `work` in one transaction in this thread: for callers before or without an event loop."""
        self._turn()
        try:
            self.file.require_same()
            with transaction(self.engine) as tx:
                tx.info[WROTE] = False
                if fenced and self.fence is not None:
                    self.fence(tx)
                result = work(tx)
                wrote = tx.info[WROTE]
        except LeaseLost:
            raise
        except DatabaseError as error:
            self.trouble = Trouble(str(error), self.trouble.since if self.trouble else time.monotonic())
            raise
        finally:
            self.turned_at = None
        if wrote:  # that it can be read says nothing of a full disk, or of a read-only server
            self.trouble = None
        return result

    async def is_writable(self) -> bool:
        """Write a probe; return whether that succeeded."""
        try:
            await self.write(probe, fenced=False)
        except DatabaseError:
            return False
        return True

    def _turn(self) -> None:
        self.turned_at = time.monotonic()

    def _executed(self, connection: Transaction, *args: Any) -> None:
        """A statement has ended (an event of SQLAlchemy)."""
        self._turn()
        context = args[3]
        if context is not None and (context.isinsert or context.isupdate or context.isdelete):
            connection.info[WROTE] = True

    def sever_if_silent(self, now: float) -> None:
        """Cut the connections to a server that hangs, so that the write fails: no statement has ended at its limit."""
        if self.turned_at is not None and now - self.turned_at > SILENT_AFTER:
            for connection in tuple(self._connections):
                sever(connection)

    def close(self) -> None:
        """Wait for the transaction under way, then close the database."""
        self._thread.shutdown(wait=True)
        self.engine.dispose()


def probe(tx: Transaction) -> None:
    """Write something that changes nothing."""
    tx.execute(compatibility.update().values(oldest=compatibility.c.oldest))


def data_version(tx: Transaction) -> int | None:
    """Return a number that is another one when another process has written; None where there is none."""
    return int(tx.exec_driver_sql("PRAGMA data_version").scalar_one()) if tx.dialect.name == "sqlite" else None


def insert(dialect: str, table: sa.Table) -> Any:
    """Return an INSERT that supports ON CONFLICT, in the dialect of that name."""
    # Each dialect is loaded only where it is used: PostgreSQL's costs 2.7 MiB.
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_into  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_into  # type: ignore[assignment]  # noqa: PLC0415
    return insert_into(table)


def read(engine: sa.Engine, query: Callable[[sa.Connection], T]) -> T:
    """Run a query in one transaction of a read-only engine and return its result."""
    with transaction(engine) as tx:
        return query(tx)


Rows = Sequence[Sequence[Any]]


def insert_many(tx: Transaction, table: sa.Table, parts: Iterable[Rows]) -> None:
    """Insert rows that have every column of a table in its order, one part in memory at a time."""
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

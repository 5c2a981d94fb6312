"""The one way to write: a transaction in the one writer thread.

Refuses to be used from two threads; readers have an engine of their own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa

from monitor.store.engines import open_writer, transaction

Engine = sa.Engine
Transaction = sa.Connection  # with a transaction begun; committed when the work returns
T = TypeVar("T")


class Store:
    """A database opened for writing; every method raises `DatabaseError` when it cannot be used."""

    def __init__(self, url: str) -> None:
        self.engine = open_writer(url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction in the writer thread; all of it is kept, or nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.write_now, work)

    def write_now(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction in this thread: for what happens before or without an event loop."""
        with transaction(self.engine) as tx:
            return work(tx)

    def close(self) -> None:
        """Wait for the transaction under way, then let go of the database."""
        self._thread.shutdown(wait=True)
        self.engine.dispose()


def insert(dialect: str, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of that name."""
    # Each dialect is loaded only where it is used: PostgreSQL's costs 2.7 MiB.
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_into  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_into  # type: ignore[assignment]  # noqa: PLC0415
    return insert_into(table)


def read(engine: sa.Engine, question: Callable[[sa.Connection], T]) -> T:
    """Ask a question of an engine that only reads."""
    with transaction(engine) as tx:
        return question(tx)

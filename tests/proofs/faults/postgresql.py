"""PostgreSQL restarted and stopped, its connections cut, a table locked, no connection left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import psycopg
import sqlalchemy as sa

from tests.proofs.faults.fault import Fault
from tests.proofs.faults.world import World

ONLY = ("postgresql",)
A_SERVER_WITHIN = 30.0  # seconds


def _name(world: World) -> str:
    return str(sa.make_url(world.database_url).database)


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of the suite's own, as soon as the server gives one: another fault may have stopped it."""
    async with asyncio.timeout(A_SERVER_WITHIN):
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(world.database_url)
                break
            except psycopg.OperationalError:
                await asyncio.sleep(0.1)
    try:
        yield connection
    finally:
        await connection.close()


def _cut(world: World) -> None:
    assert world.server is not None
    of_the_daemon = f"datname = '{_name(world)}' AND pid <> pg_backend_pid()"
    with suppress(psycopg.OperationalError):  # another fault has stopped it, and so cut them
        world.server.execute(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {of_the_daemon}")


@asynccontextmanager
async def stopped(world: World) -> AsyncIterator[None]:
    """The server ends, and comes back."""
    assert world.server is not None
    await asyncio.to_thread(world.server.halt)
    try:
        yield
    finally:
        await asyncio.to_thread(world.server.resume)


@asynccontextmanager
async def cut(world: World) -> AsyncIterator[None]:
    """Every connection is cut, again and again."""

    async def go_on() -> None:
        while True:
            await asyncio.to_thread(_cut, world)
            await asyncio.sleep(world.random.uniform(0.1, 1))

    cutting = asyncio.create_task(go_on())
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)


@asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """Another program has a table to itself, for longer than anyone waits."""
    async with connected(world) as other:
        await other.execute("LOCK TABLE organizations IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def crowded(world: World) -> AsyncIterator[None]:
    """Others have every connection that the server gives."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(connected(world))
        await asyncio.to_thread(_cut, world)
        try:
            for _ in range(2000):
                other = await psycopg.AsyncConnection.connect(world.database_url)
                stack.push_async_callback(other.close)
        except psycopg.OperationalError:
            pass
        yield


FAULTS = [
    Fault(
        "PostgreSQL: stopped and started",
        stopped,
        "cannot be reached|connection failed|stopping",
        lasts=6,
        databases=ONLY,
        quick=True,
    ),
    Fault("PostgreSQL: connections cut", cut, "", lasts=8, databases=ONLY),
    Fault("PostgreSQL: a table locked", locked, "locked by another program", lasts=14, databases=ONLY),
    Fault("PostgreSQL: no connection left", crowded, "", lasts=8, databases=ONLY),
]

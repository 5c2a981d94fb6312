"""A database layer that raises whatever there is, and a database that takes some things and refuses others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from monitor.store.engines import open_writer, transaction
from tests.proofs.faults.fault import BOTH, Fault
from tests.proofs.faults.world import World
from tests.support.raised import CLASSES

ALL_OF_THEM = 2 * len(CLASSES)


@asynccontextmanager
async def raises(world: World) -> AsyncIterator[None]:
    """One step in twelve raises, each time another class."""
    world.raising.touch()
    try:
        yield
    finally:
        world.raising.unlink()
    raised = int(world.raising.with_suffix(".count").read_text())
    assert raised >= ALL_OF_THEM, f"only {raised} exceptions"


def _run(url: str, *statements: str) -> None:
    engine = open_writer(url)
    with transaction(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def refusing(url: str, table: str) -> tuple[list[str], list[str]]:
    """What makes a table refuse every new row, and what ends that."""
    if url.startswith("sqlite"):
        body = f"BEGIN SELECT RAISE(ABORT, 'permission denied for table {table}'); END"
        return [f"CREATE TRIGGER refuse BEFORE INSERT ON {table} {body}"], ["DROP TRIGGER refuse"]
    function = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege "
        f"USING MESSAGE = 'permission denied for table {table}'; END $$"
    )
    trigger = f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
    return [function, trigger], [f"DROP TRIGGER refuse ON {table}", "DROP FUNCTION refuse"]


@asynccontextmanager
async def _refused(world: World, *, table: str) -> AsyncIterator[None]:
    begin, end = refusing(world.database_url, table)
    await asyncio.to_thread(_run, world.database_url, *begin)
    try:
        yield
    finally:
        await asyncio.to_thread(_run, world.database_url, *end)


def refused(table: str) -> partial[AbstractAsyncContextManager[None]]:
    return partial(_refused, table=table)


FAULTS = [
    Fault(
        "database: exceptions of every class",
        raises,
        lasts=25,
        within=75,  # what was set aside is tried again every minute
        databases=BOTH,
        lines=400,
        repeats=150,
        combines=False,
    ),
    Fault(
        "database: no balance can be written",
        refused("snapshots"),
        "permission denied for table snapshots",
        lasts=5,
        within=75,
        databases=BOTH,
        combines=False,
    ),
    Fault(
        "database: no outcome can be written",
        refused("attempts"),
        "permission denied for table attempts",
        lasts=8,
        databases=BOTH,
        combines=False,
        quick=True,
    ),
]

"""A database layer that raises whatever there is, and a database that takes some things and refuses others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import sqlalchemy as sa

from monitor.store.engines import open_reader, open_writer, transaction
from monitor.store.tables import organizations
from tests.proofs.crash.script import Scripted
from tests.proofs.faults.fault import BOTH, Fault
from tests.proofs.faults.world import World
from tests.proofs.raising import SWEEP
from tests.support.raised import CLASSES

ALL_OF_THEM = 2 * len(CLASSES)
STEPS = 5  # statements and the commit: a poll has so many at least


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


@asynccontextmanager
async def sweeps(world: World) -> AsyncIterator[None]:
    """One of each class at each statement of a poll, and at its commit; between any two the database works."""
    done = world.raising.with_suffix(".done")
    done.unlink(missing_ok=True)
    world.raising.write_text(SWEEP)
    try:

        async def is_done() -> bool:
            return done.exists()

        await world.until(is_done, within=900)
        yield
    finally:
        world.raising.unlink()
    raised = int(world.raising.with_suffix(".count").read_text())
    assert raised >= STEPS * len(CLASSES), f"only {raised} exceptions"


@asynccontextmanager
async def poisoned(world: World) -> AsyncIterator[None]:
    """What one organization answers cannot be stored: its siblings' balances are recorded and judged meanwhile."""
    first, *others = world.script
    world.holding = True
    await world.recorded(within=30)
    begin, end = refusing(world.database_url, "snapshots", only=await asyncio.to_thread(_row_of, world, first.id))
    await asyncio.to_thread(_run, world.database_url, *begin)
    try:
        for scripted in world.script:
            scripted.advance()
        for _ in range(3):
            await world.until(partial(_are_recorded, world, others), within=25)
            for scripted in others:
                scripted.advance()
        yield
        standing = await world.standing()
        assert standing is not None
        assert standing[0][first.id] != first.now, "it was stored all the same"
    finally:
        await asyncio.to_thread(_run, world.database_url, *end)
        world.holding = False


async def _are_recorded(world: World, some: Sequence[Scripted]) -> bool:
    standing = await world.standing()
    return standing is not None and all(standing[0].get(scripted.id) == scripted.now for scripted in some)


def _row_of(world: World, vendor_id: str) -> int:
    engine = open_reader(world.database_url)
    with transaction(engine) as connection:
        row = sa.select(organizations.c.id).where(organizations.c.vendor_id == vendor_id)
        found = int(connection.execute(row).scalar_one())
    engine.dispose()
    return found


def _run(url: str, *statements: str) -> None:
    engine = open_writer(url)
    with transaction(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def refusing(url: str, table: str, *, only: int | None = None) -> tuple[list[str], list[str]]:
    """What makes a table refuse every new row (or those of one organization), and what ends that."""
    when = f"WHEN (NEW.organization_id = {only})" if only is not None else ""
    if url.startswith("sqlite"):
        body = f"{when} BEGIN SELECT RAISE(ABORT, 'permission denied for table {table}'); END"
        return [f"CREATE TRIGGER refuse BEFORE INSERT ON {table} {body}"], ["DROP TRIGGER refuse"]
    function = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege "
        f"USING MESSAGE = 'permission denied for table {table}'; END $$"
    )
    trigger = f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW {when} EXECUTE FUNCTION refuse()"
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
        "database: one exception of each class at each step of a poll",
        sweeps,
        lasts=0,
        within=75,  # as above
        databases=BOTH,
        lines=1000,
        repeats=500,
        combines=False,
    ),
    Fault(
        "database: one result cannot be written",
        poisoned,
        "it is set aside and tried again: .*permission denied for table snapshots",
        lasts=0,
        within=75,
        databases=BOTH,
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

"""SQLite's file locked, removed, replaced, damaged, made read-only; its disk full, also while it is migrated."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

from alembic import command

from monitor.errors import DatabaseError
from monitor.store import migrate
from monitor.store.engines import open_writer
from tests.proofs.faults.fault import Cannot, Fault
from tests.proofs.faults.world import Options, World

UNUSABLE = frozenset({DatabaseError.exit_code})
KILLED = -signal.SIGKILL
SIDES = ("-wal", "-shm")


@contextmanager
def alone_with(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30, check_same_thread=False)) as connection:
        yield connection


@asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """Another program writes, for longer than anyone waits."""
    with alone_with(world.database_file) as other:
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def fill(folder: Path) -> Path:
    """Take the last byte of a small file system."""
    if shutil.disk_usage(folder).total > 64 * 2**20:
        raise Cannot("no small file system could be mounted (root is needed)")
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@asynccontextmanager
async def full(world: World) -> AsyncIterator[None]:
    filler = fill(world.where)
    try:
        yield
    finally:
        filler.unlink()


@asynccontextmanager
async def full_twice(world: World) -> AsyncIterator[None]:
    """Full, space for two seconds, and full again."""
    async with full(world):
        await asyncio.sleep(6)
    await asyncio.sleep(2)
    async with full(world):
        yield


@asynccontextmanager
async def removed(world: World) -> AsyncIterator[None]:
    """Moved away while it is used, and put back."""
    aside = world.database_file.with_name("aside.db")
    world.database_file.rename(aside)
    try:
        yield
    finally:
        aside.rename(world.database_file)


async def _backed_up(world: World) -> Path:
    """A copy in which everything is said, made while the balances hold still."""
    world.holding = True
    await world.delivered(within=60)
    copy = world.folder / "backup.db"
    copy.unlink(missing_ok=True)
    with alone_with(world.database_file) as source, closing(sqlite3.connect(copy)) as target:
        await asyncio.to_thread(source.backup, target)
    return copy


def _restore(world: World, copy: Path) -> None:
    for side in SIDES:
        Path(f"{world.database_file}{side}").unlink(missing_ok=True)
    part = world.database_file.with_name("restored.db")
    shutil.copy(copy, part)
    part.replace(world.database_file)
    world.read_anew()


@asynccontextmanager
async def replaced(world: World) -> AsyncIterator[None]:
    """A backup is put in its place while it is used."""
    copy = await _backed_up(world)
    _restore(world, copy)
    yield
    world.holding = False


@asynccontextmanager
async def damaged(world: World) -> AsyncIterator[None]:
    """Overwritten and the daemon killed; at last a backup is put in its place."""
    copy = await _backed_up(world)
    with alone_with(world.database_file) as connection:  # else the log beside it mends the file
        await asyncio.to_thread(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with world.database_file.open("r+b") as file:
        file.write(os.urandom(4096) * (world.database_file.stat().st_size // 4096))
    world.kill("damaged")
    try:
        yield
    finally:
        _restore(world, copy)
        world.holding = False


@asynccontextmanager
async def read_only(world: World) -> AsyncIterator[None]:
    """The daemon may not write any more, and it has to start."""
    world.database_file.chmod(0o444)
    world.where.chmod(0o555)
    world.kill("read-only")
    try:
        yield
    finally:
        world.where.chmod(0o700)
        world.database_file.chmod(0o600)


@asynccontextmanager
async def full_while_migrating(world: World) -> AsyncIterator[None]:
    """Stopped, an older schema, a full disk, and started."""
    world.holding = True
    await world.delivered(within=60)
    world.may_start.clear()
    world.kill("to be migrated")
    assert world.process
    await world.process.wait()
    world.records.remember_folded()
    await asyncio.to_thread(_step_down, world.database_url)
    filler = fill(world.where)
    world.may_start.set()
    try:
        yield
    finally:
        filler.unlink()
        world.holding = False


def _step_down(url: str) -> None:
    engine = open_writer(url)
    with migrate._alone(engine) as connection:
        command.downgrade(migrate._config(connection, migrate._own_scripts()), "0001")
    engine.dispose()


FAULTS = [
    Fault("SQLite: locked for longer than the wait", locked, "locked by another program", lasts=40),
    Fault("SQLite: disk full", full, "disk is full|is the disk full", lasts=6, quick=True),
    Fault("SQLite: disk full, space, and full again", full_twice, "disk is full|is the disk full", lasts=6),
    Fault("SQLite: file moved away and put back", removed, "removed", lasts=6, combines=False),
    Fault("SQLite: file replaced by a backup", replaced, "replaced", lasts=4, combines=False),
    Fault(
        "SQLite: file damaged, killed, and restored",
        damaged,
        "is damaged|is not a SQLite database",
        lasts=8,
        combines=False,
        ends=UNUSABLE | {KILLED},
        lines=30,
    ),
    Fault(
        "SQLite: read-only at a restart",
        read_only,
        "may not be written|cannot be opened|Permission denied",
        lasts=8,
        options=Options(mortal=True),
        combines=False,
        ends=UNUSABLE | {KILLED},
        lines=30,
    ),
    Fault(
        "SQLite: disk full while it is migrated",
        full_while_migrating,
        "disk is full|no space|is the disk full",
        lasts=8,
        combines=False,
        ends=UNUSABLE | {KILLED},
        lines=30,
    ),
]

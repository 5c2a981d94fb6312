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
async def locked(one: World) -> AsyncIterator[None]:
    """Another program writes, for longer than anyone waits."""
    with alone_with(one.database_file) as other:
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
async def full(one: World) -> AsyncIterator[None]:
    filler = fill(one.where)
    try:
        yield
    finally:
        filler.unlink()


@asynccontextmanager
async def full_twice(one: World) -> AsyncIterator[None]:
    """Full, space for two seconds, and full again."""
    async with full(one):
        await asyncio.sleep(6)
    await asyncio.sleep(2)
    async with full(one):
        yield


@asynccontextmanager
async def removed(one: World) -> AsyncIterator[None]:
    """Moved away while it is used, and put back."""
    aside = one.database_file.with_name("aside.db")
    one.database_file.rename(aside)
    try:
        yield
    finally:
        aside.rename(one.database_file)


async def _backed_up(one: World) -> Path:
    """A copy in which everything is said, made while the balances hold still."""
    one.holding = True
    await one.told(within=60)
    copy = one.folder / "backup.db"
    copy.unlink(missing_ok=True)
    with alone_with(one.database_file) as source, closing(sqlite3.connect(copy)) as target:
        await asyncio.to_thread(source.backup, target)
    return copy


def _restore(one: World, copy: Path) -> None:
    for side in SIDES:
        Path(f"{one.database_file}{side}").unlink(missing_ok=True)
    part = one.database_file.with_name("restored.db")
    shutil.copy(copy, part)
    part.replace(one.database_file)
    one.read_anew()


@asynccontextmanager
async def replaced(one: World) -> AsyncIterator[None]:
    """A backup is put in its place while it is used."""
    copy = await _backed_up(one)
    _restore(one, copy)
    yield
    one.holding = False


@asynccontextmanager
async def damaged(one: World) -> AsyncIterator[None]:
    """Overwritten and the daemon killed; at last a backup is put in its place."""
    copy = await _backed_up(one)
    with alone_with(one.database_file) as connection:  # else the log beside it mends the file
        await asyncio.to_thread(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with one.database_file.open("r+b") as file:
        file.write(os.urandom(4096) * (one.database_file.stat().st_size // 4096))
    one.strike("damaged")
    try:
        yield
    finally:
        _restore(one, copy)
        one.holding = False


@asynccontextmanager
async def read_only(one: World) -> AsyncIterator[None]:
    """The daemon may not write any more, and it has to start."""
    one.database_file.chmod(0o444)
    one.where.chmod(0o555)
    one.strike("read-only")
    try:
        yield
    finally:
        one.where.chmod(0o700)
        one.database_file.chmod(0o600)


@asynccontextmanager
async def full_while_migrating(one: World) -> AsyncIterator[None]:
    """Stopped, an older schema, a full disk, and started."""
    one.holding = True
    await one.told(within=60)
    one.may_start.clear()
    one.strike("to be migrated")
    assert one.process
    await one.process.wait()
    await asyncio.to_thread(_step_down, one.database_url)
    filler = fill(one.where)
    one.may_start.set()
    try:
        yield
    finally:
        filler.unlink()
        one.holding = False


def _step_down(url: str) -> None:
    engine = open_writer(url)
    with migrate._alone(engine) as connection:
        command.downgrade(migrate._config(connection, migrate._own_scripts()), "0001")
    engine.dispose()


FAULTS = [
    Fault("SQLite: locked for longer than the wait", locked, "locked by another program", lasts=14),
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

"""A copy of a SQLite file while others write to it, and files that are there whole or not at all.

Refuses to write over anything.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from monitor.errors import DatabaseError, UsageError
from monitor.store.engines import explain
from monitor.store.writer import Transaction

PAGES_AT_ONCE: Final = 1000


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a new file, for its owner only; it has its name when all went well, and is gone when not."""
    if os.path.lexists(path):
        raise _exists(path)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            yield part
            _sync(part)
            _give_name(part, path)
            _sync(path.parent)
        finally:
            for end in ("", "-wal", "-shm", "-journal"):
                part.with_name(part.name + end).unlink(missing_ok=True)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {(error.strerror or type(error).__name__).lower()}") from None


def _give_name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename it writes over nothing
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        part.rename(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path}: exists already, and is left as it is")


def page_count(tx: Transaction) -> int:
    """How many pages a SQLite file has."""
    return int(tx.exec_driver_sql("PRAGMA page_count").scalar_one())


def copy_pages(tx: Transaction, target: Path, told: Callable[[int], None]) -> None:
    """Copy a SQLite file as this transaction sees it, which begins with this; `told` hears of every thousand pages."""
    source: Any = tx.connection.driver_connection
    # While a transaction reads, what others write changes nothing of what it sees, and begins no copy anew.
    tx.exec_driver_sql("SELECT count(*) FROM sqlite_master")
    with _explained(target), closing(sqlite3.connect(target)) as copy:
        source.backup(copy, pages=PAGES_AT_ONCE, progress=lambda *_: told(PAGES_AT_ONCE))


def seal(path: Path) -> None:
    """Make a SQLite file one that needs no others beside it, and look through all of it."""
    with _explained(path), closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if mode != "delete" or said != "ok" or broken:
        raise DatabaseError(f"SQLite file {path}: the copy is not whole ({said}); nothing was kept")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, sa.URL.create("sqlite", database=str(path))) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

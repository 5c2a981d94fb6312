"""Copy a SQLite file while others write to it, into a new file that appears complete or not at all."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from monitor.errors import DatabaseError, UsageError
from monitor.store.engines import explain
from monitor.store.file_access import create_empty_file
from monitor.store.writer import Transaction

PAGES_AT_ONCE: Final = 1000


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path for a new file of mode 0600, renamed at the end and removed after an error.

    `UsageError` when `path` exists or cannot be written.
    """
    if os.path.lexists(path):
        raise _exists(path)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        create_empty_file(part)
        try:
            yield part
            _sync(part)
            _rename(part, path)
            _sync(path.parent)
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {(error.strerror or type(error).__name__).lower()}") from None


def _rename(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename it overwrites nothing
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        part.rename(path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path}: exists already, and is left as it is")


def page_count(tx: Transaction) -> int:
    """Return how many pages a SQLite file has."""
    return int(tx.exec_driver_sql("PRAGMA page_count").scalar_one())


def copy_pages(tx: Transaction, target: Path, on_progress: Callable[[int], None]) -> None:
    """Copy a SQLite file as this transaction sees it; `on_progress` is called with a number of pages."""
    source: Any = tx.connection.driver_connection
    # Within a read transaction what others write is not seen, and does not restart the backup.
    tx.exec_driver_sql("SELECT count(*) FROM sqlite_master")
    with _explained(target), closing(sqlite3.connect(target)) as copy:
        source.backup(copy, pages=PAGES_AT_ONCE, progress=lambda *_: on_progress(PAGES_AT_ONCE))


def make_standalone(path: Path) -> None:
    """Make a SQLite file complete without files beside it, and check all of it; `DatabaseError` when it is damaged."""
    with _explained(path), closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if mode != "delete" or result != "ok" or broken:
        raise DatabaseError(f"SQLite file {path}: the copy is not whole ({result}); nothing was kept")


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

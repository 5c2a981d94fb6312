"""One daemon per database: `flock` beside a SQLite file, an advisory lock on PostgreSQL."""

import fcntl
import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import open_writer, sqlite_path, translated

ADVISORY_KEY: Final = 0x6372656469740001  # "credit" and a number of ours


class Hold:
    """The right to run as the daemon of one database; gone with the process, however that ends."""

    def __init__(self, *, descriptor: int | None = None, connection: sa.Connection | None = None) -> None:
        self._descriptor = descriptor
        self._connection = connection

    def release(self) -> None:
        """Let another daemon have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._connection is not None:
            self._connection.close()
            self._connection.engine.dispose()
            self._connection = None


def acquire(url: str) -> Hold | None:
    """Take the hold on a database that exists; None when another process has it."""
    engine = open_writer(url)
    if engine.dialect.name == "sqlite":
        return _flock(Path(f"{sqlite_path(engine.url)}.lock"))
    with translated(engine):
        return _advisory(engine)


def _flock(path: Path) -> Hold | None:
    # Python's descriptors are not inherited, so no child keeps the lock after the daemon has died.
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Hold(descriptor=descriptor)


def _advisory(engine: sa.Engine) -> Hold | None:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if connection.execute(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_KEY))).scalar_one():
        return Hold(connection=connection)
    connection.close()
    engine.dispose()
    return None

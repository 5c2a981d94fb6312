"""The lock of the leader, the one daemon that works on a database: `flock` on SQLite, a lease on PostgreSQL."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from monitor.errors import DatabaseError
from monitor.store.engines import open_writer, sqlite_path
from monitor.store.file_access import create_file, remedy
from monitor.store.lease import Lease
from monitor.store.writer import Transaction

Fence = Callable[[Transaction], None]


class LeaderLock(Protocol):
    """What a leader holds; `leads` becomes False when it was lost to another daemon."""

    loop_turned_at: float | None
    """When the holder's event loop turned last, by `time.monotonic`; None: unknown.

    A lease is not renewed for a process whose loop hangs.
    """

    @property
    def leads(self) -> bool: ...

    @property
    def until(self) -> float | None:
        """Until when the lock is valid, on `lease.boot_clock`; None: it does not expire."""

    @property
    def fence(self) -> Fence | None:
        """What every write of the leader begins with; None where no other process can be the leader."""

    @property
    def others(self) -> int:
        """How many other daemons run on this database."""

    @property
    def leader(self) -> str | None:
        """The host of the daemon that leads instead, as far as known."""

    def acquire(self) -> bool:
        """Try once; False when another daemon leads."""

    def drop(self) -> None:
        """Stop leading without releasing the lock: another daemon leads, or may do so by now."""

    def give_back(self) -> None:
        """Stop leading, and release the lock for another daemon if the database can be reached."""

    def release(self) -> None:
        """Release the lock and close the database; idempotent."""


class FileLock:
    """`flock` on a file beside the database: released when the process ends, however it ends."""

    until: float | None = None
    fence: Fence | None = None
    others = 0
    leader: str | None = None
    loop_turned_at: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def leads(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> bool:
        # Python's descriptors are not inherited, so no child keeps the lock after the daemon has died.
        try:
            descriptor = self._open()
        except OSError as error:
            who = remedy(self._path, write=True)
            raise DatabaseError(f"{self._path}: {(error.strerror or '').lower()}{f'; {who}' if who else ''}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise DatabaseError(f"{self._path}: cannot be locked: {error.strerror}") from None
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        try:
            return create_file(self._path)
        except FileExistsError:
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)

    def drop(self) -> None:
        self.release()

    def give_back(self) -> None:
        self.release()

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_leader_lock(url: str) -> LeaderLock:
    """Return the leader lock of a database, not yet taken."""
    if url.startswith("sqlite"):
        engine = open_writer(url)
        return FileLock(Path(f"{sqlite_path(engine.url)}.lock"))
    return Lease(url)


def acquire(url: str) -> LeaderLock | None:
    """Return the leader lock of a database that exists, taken; None when another process has it."""
    lock = open_leader_lock(url)
    if lock.acquire():
        return lock
    lock.release()
    return None

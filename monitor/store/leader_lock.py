"""The lock of the leader, the one daemon that works on a database: `flock` on SQLite, a lease on PostgreSQL."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from monitor.errors import DatabaseError, LeaseLost
from monitor.store.engines import open_writer, sqlite_path
from monitor.store.lease import Lease
from monitor.store.sqlite_file import file_id
from monitor.store.writer import Transaction

Fence = Callable[[Transaction], None]
log = logging.getLogger(__name__)


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
    def fence(self) -> Fence:
        """What every write of the leader begins with: raises `LeaseLost` when another process is the leader."""

    @property
    def can_stand_by(self) -> bool:
        """Whether several daemons can share the database, one of which leads."""

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
    """`flock` on a file beside the database: released when the process ends, however it ends.

    A lock on a file that somebody removed keeps nobody out: the file at the path has to be the one that is locked.
    The database itself is not locked so, because closing a descriptor of it would end SQLite's own locks.
    """

    can_stand_by = False
    others = 0
    leader: str | None = None
    loop_turned_at: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._turn = threading.RLock()

    @property
    def leads(self) -> bool:
        """Whether the locked file is still the one at the path; one that was removed is made and locked anew."""
        with self._turn:
            if self._descriptor is None:
                return False
            there = file_id(self._path)
            if there is None and self._path.parent.is_dir():
                return self._restore()
            return there is None or there == file_id(self._descriptor)

    @property
    def until(self) -> float | None:
        return None if self.leads else 0.0

    def fence(self, _tx: Transaction) -> None:
        if not self.leads:
            raise LeaseLost(f"{self._path}: another credit-monitor has locked this file, which was replaced")

    def _restore(self) -> bool:
        """Lock a new file in the place of one that was removed; False where another process was quicker."""
        before = self._descriptor
        try:
            restored = self.acquire()
        except DatabaseError as error:  # the file cannot be made: then nobody else can, either
            log.debug("%s", error)
            return True
        if restored:
            log.warning("%s: was removed, and is there again", self._path)
            if before is not None:
                os.close(before)
        return restored

    def acquire(self) -> bool:
        with self._turn:
            return self._acquire()

    def _acquire(self) -> bool:
        # Python's descriptors are not inherited, so no child keeps the lock after the daemon has died.
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise DatabaseError(f"{self._path}: cannot be locked: {error.strerror}") from None
        if file_id(self._path) != file_id(descriptor):  # removed between the two
            os.close(descriptor)
            return self._acquire()
        self._descriptor = descriptor
        return True

    def drop(self) -> None:
        self.release()

    def give_back(self) -> None:
        self.release()

    def release(self) -> None:
        with self._turn:
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

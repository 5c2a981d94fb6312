"""The right to be the one daemon of a database: `flock` beside a SQLite file, a lease on PostgreSQL."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from monitor.errors import DatabaseError
from monitor.store.engines import open_writer, sqlite_path
from monitor.store.lease import Lease
from monitor.store.writer import Transaction

Fence = Callable[[Transaction], None]


class LeaderLock(Protocol):
    """What a leader has; `leads` turns False when it has lost that to another daemon."""

    loop_turned_at: float | None
    """When the holder's event loop turned last, by `time.monotonic`; None: nobody keeps it.

    Nothing is renewed in the name of a process whose loop hangs.
    """

    @property
    def leads(self) -> bool: ...

    @property
    def until(self) -> float | None:
        """When what is done as the leader is to be done by, on `lease.boot_clock`; None: there is no end to it."""

    @property
    def fence(self) -> Fence | None:
        """What every write begins with; None where nobody else can write as the leader."""

    @property
    def others(self) -> int:
        """How many daemons stand by."""

    @property
    def leader(self) -> str | None:
        """The host of the daemon that leads instead, as far as is known."""

    def acquire(self) -> bool:
        """Try once; False when another daemon leads."""

    def drop(self) -> None:
        """Lead no longer, without telling anybody: another daemon leads, or may by now."""

    def give_back(self) -> None:
        """Lead no longer, and let another daemon lead at once, as far as the database can be told."""

    def release(self) -> None:
        """Let another daemon have it; once is enough, twice does no harm."""


class FileLock:
    """`flock` on a file beside the database: gone with the process, however that ends."""

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
        self._descriptor = descriptor
        return True

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

"""The lock of the leader, the one daemon that works on a database: `flock` on SQLite, a lease on PostgreSQL."""

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from monitor.errors import DatabaseError, LeaseLost
from monitor.store.engines import open_writer, sqlite_file, sqlite_path
from monitor.store.file_access import create_file, remedy
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


DAEMON: Final = "daemon"
COMMAND: Final = "command"
HAS_RUN: Final = "a daemon has run"
BUSY_TIMEOUT: Final = 0.5  # seconds: who only looks whether the lock is held holds it for a moment


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock of a SQLite file, as far as it is known."""

    pid: int | None
    since: datetime | None
    is_daemon: bool

    def __str__(self) -> str:
        """Return ` (process 412, since 2026-11-27 07:40 UTC)`, or nothing."""
        since = f", since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        return f" (process {self.pid}{since})" if self.pid else ""


class FileLock:
    """`flock` on a file beside the database: released when the process ends, however it ends.

    The file says who has it, or had it last, and that a daemon has run: `412 daemon`, `a daemon has run`.

    A lock on a file that somebody removed keeps nobody out: the file at the path has to be the one that is locked.
    The database itself is not locked so, because closing a descriptor of it would end SQLite's own locks.
    """

    can_stand_by = False
    others = 0
    leader: str | None = None
    loop_turned_at: float | None = None

    def __init__(self, path: Path, *, is_daemon: bool = True) -> None:
        self._path = path
        self._is_daemon = is_daemon
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
            descriptor = self._open()
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DatabaseError(f"{self._path}: is a symbolic link, which is not followed; remove it") from None
            who = remedy(self._path, write=True)
            raise DatabaseError(f"{self._path}: {(error.strerror or '').lower()}{f'; {who}' if who else ''}") from None
        try:
            if not self._lock(descriptor):
                os.close(descriptor)
                return False
        except OSError as error:
            os.close(descriptor)
            raise DatabaseError(f"{self._path}: cannot be locked: {error.strerror}") from None
        if file_id(self._path) != file_id(descriptor):  # removed between the two
            os.close(descriptor)
            return self._acquire()
        self._sign(descriptor)
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        try:
            return create_file(self._path)
        except FileExistsError:
            # Whoever may put a link here would have its pid written into a file of ours, or of root's.
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _lock(self, descriptor: int) -> bool:
        until = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(BUSY_TIMEOUT / 10)
            else:
                return True

    def _sign(self, descriptor: int) -> None:
        """Write who has the lock; on a full disk nobody is named."""
        with suppress(OSError):
            has_run = self._is_daemon or HAS_RUN in _text(descriptor)
            line = f"{os.getpid()} {DAEMON if self._is_daemon else COMMAND}\n"
            os.pwrite(descriptor, (line + f"{HAS_RUN}\n" * has_run).ljust(LONGEST_TEXT - 1).encode() + b"\n", 0)

    def drop(self) -> None:
        self.release()

    def give_back(self) -> None:
        self.release()

    def release(self) -> None:
        with self._turn:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


LONGEST_TEXT: Final = 64  # bytes; always as long, so that nobody reads half of it


def _text(descriptor: int) -> str:
    return os.pread(descriptor, LONGEST_TEXT, 0).decode(errors="replace")


def open_leader_lock(url: str, *, is_daemon: bool = True) -> LeaderLock:
    """Return the leader lock of a database, not yet taken."""
    if url.startswith("sqlite"):
        engine = open_writer(url)
        return FileLock(lock_path(sqlite_path(engine.url)), is_daemon=is_daemon)
    return Lease(url, is_daemon=is_daemon)


def acquire(url: str) -> LeaderLock | None:
    """Return the leader lock of a database that exists, taken for a command; None when another process has it."""
    lock = open_leader_lock(url, is_daemon=False)
    if lock.acquire():
        return lock
    lock.release()
    return None


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileLockState:
    """What the lock of a SQLite file says: who has it (None: nobody), and whether a daemon ever had it."""

    holder: Holder | None
    has_run: bool


def lock_path(path: Path) -> Path:
    """Return the file that the leader of a SQLite file has locked."""
    return Path(f"{path}.lock")


def look_at_file_lock(path: Path) -> FileLockState:
    """Return the state of a SQLite file's lock; raise `PermissionError` where it may not be opened."""
    try:
        descriptor = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return FileLockState(None, has_run=False)
    try:
        text, since = _text(descriptor), datetime.fromtimestamp(int(os.fstat(descriptor).st_mtime), UTC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return FileLockState(_holder(text, since), has_run=True)
    finally:
        os.close(descriptor)
    return FileLockState(None, has_run=HAS_RUN in text)


def _holder(text: str, since: datetime) -> Holder:
    """Return who signed; a version that did not sign was a daemon, as far as anybody knows."""
    pid, _, kind = text.partition("\n")[0].strip().partition(" ")
    if not pid.isdecimal():
        return Holder(None, None, is_daemon=True)
    return Holder(int(pid), since, is_daemon=kind == DAEMON)


def describe_holder(url: str) -> str:
    """Return ` (process 412, since …)` of who has a database's lock; nothing where that is not known."""
    target = sqlite_file(url)
    if target is None:
        return ""
    try:
        state = look_at_file_lock(target)
    except OSError:
        return ""
    return str(state.holder or "")

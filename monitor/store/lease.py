"""The lease of the leader among several daemons on one PostgreSQL, with a fence for every write.

The lease is one row, by the database's clock.  Its key, the term, grows with every leader.  Every write of a leader
reads the row FOR KEY SHARE, so that a successor waits until the transaction has ended or the server has ended it
(`engines` limits how long a transaction may be idle).  Renewing does not change the key and waits for nobody.  A leader
that was stopped and goes on finds another term, and writes nothing.
"""

import itertools
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from monitor import __version__
from monitor.errors import DatabaseError, LeaseLost
from monitor.store.engines import IDLE_LIMIT, location, open_writer, transaction
from monitor.store.tables import SCHEMA, daemons, leases
from monitor.store.writer import insert

LEASE: Final = timedelta(seconds=15)
RENEW_EVERY: Final = 3.0  # seconds
MARGIN: Final = 1.0  # seconds before its end at which, by our own clock, a lease counts as ended
HUNG_AFTER: Final = 10.0  # seconds without a turn of the event loop: the lease is not renewed
GONE_AFTER: Final = timedelta(seconds=60)  # a daemon that was not seen for so long has gone
FORGOTTEN_AFTER: Final = timedelta(days=7)
_NOW: Final = sa.func.clock_timestamp()
_HOLDER: Final = sa.select(leases.c.daemon, daemons.c.host, (leases.c.expires_at <= _NOW).label("over")).select_from(
    leases.outerjoin(daemons, daemons.c.id == leases.c.daemon)
)

# What an older program does not say: the database refuses it the lead where `compatibility.oldest` is newer (0007).
_MAY_LEAD: Final = sa.select(sa.func.set_config("credit_monitor.schema", SCHEMA, True))  # noqa: FBT003 -- this transaction

# A session that waits for its client within a pipeline (many rows at once), or for it to read an answer, is not idle to
# PostgreSQL: no time-out ends it, whatever it has locked.  Sessions that only read may read answers slowly.
_END_STALLED: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND state = 'active' AND (wait_event = 'ClientRead' AND query NOT ILIKE 'copy%' OR wait_event = 'ClientWrite'"
    " AND EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = pg_stat_activity.pid AND l.relation = 'leases'::regclass"
    " AND l.mode <> 'AccessShareLock'))"
    " AND state_change < clock_timestamp() - make_interval(secs => :limit)"
).bindparams(limit=IDLE_LIMIT)

log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Return seconds of a clock that is never set and goes on while the process or the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One daemon's claim to lead; thread-safe."""

    can_stand_by = True

    def __init__(self, url: str, *, is_daemon: bool = True) -> None:
        """`is_daemon` False: a command that works alone for a moment, and is not recorded as a daemon."""
        self._engine = open_writer(url)
        self._is_daemon = is_daemon
        self.id = own_id()
        self._term: int | None = None
        self._dropped: int | None = None  # a term that may still be ours in the database
        self._ends = 0.0  # by `boot_clock`
        self._ended = threading.Event()  # of the present term
        self.loop_turned_at: float | None = None  # by `time.monotonic`; None: unknown
        self.others = 0  # other daemons seen lately on this database
        self.leader: str | None = None  # the host that led when `acquire` last failed

    @property
    def leads(self) -> bool:
        """Whether nobody has taken the lease from us, as far as known; it may have expired."""
        return self._term is not None

    @property
    def until(self) -> float:
        """Until when the lease is valid, on `boot_clock`."""
        return self._ends

    def acquire(self) -> bool:
        """Take the lease if it is free, or if its holder has died on this machine; False when another daemon leads."""
        began = boot_clock()
        with transaction(self._engine) as tx:
            self._register(tx)
            row = tx.execute(_HOLDER).one()
            if not row.over and row.daemon != self.id and not is_dead(row.daemon):
                self.leader = row.host
                return False
        with transaction(self._engine) as tx:
            # Taken only from the holder that was read; another daemon that was quicker has a new term.
            free = (leases.c.daemon == row.daemon) & ((leases.c.expires_at <= _NOW) | sa.literal(not row.over))
            taken = (
                leases.update()
                .where(free)
                .values(term=leases.c.term + 1, daemon=self.id, acquired_at=_NOW, expires_at=_NOW + LEASE)
            )
            tx.execute(_MAY_LEAD)
            term = tx.execute(taken.returning(leases.c.term)).scalar()
        if term is None:
            return False
        self._term, self._ends = term, began + LEASE.total_seconds() - MARGIN
        self._ended = threading.Event()
        threading.Thread(target=self._renew_until, args=(self._ended,), name="lease", daemon=True).start()
        return True

    def fence(self, tx: sa.Connection) -> None:
        """Ensure that nobody else leads before this transaction has ended, else raise `LeaseLost`."""
        valid = self._ours(self._term) & (leases.c.expires_at > _NOW)
        question = sa.select(leases.c.term).where(valid).with_for_update(read=True, key_share=True)
        if self._term is None or tx.execute(question).first() is None:
            raise LeaseLost(f"{location(self._engine.url)}: another credit-monitor leads now")

    def drop(self) -> None:
        """Stop leading without writing to the database: it cannot be reached, or another daemon leads."""
        self._ended.set()
        self._term, self._dropped, self._ends = None, self._term or self._dropped, 0.0

    def give_back(self) -> None:
        """Stop leading and free the lease at once; another daemon that leads already is not disturbed."""
        self.drop()
        self._leave(for_good=False)

    def release(self) -> None:
        """Free the lease and close the database."""
        self.drop()
        self._leave(for_good=True)
        self._engine.dispose()

    def _leave(self, *, for_good: bool) -> None:
        try:
            with transaction(self._engine) as tx:
                if self._dropped is not None:
                    given_back = {"daemon": "", "expires_at": _NOW}
                    tx.execute(leases.update().where(self._ours(self._dropped)).values(given_back))
                if for_good:  # the row stays: that a daemon has run is known by it
                    gone = daemons.update().where(daemons.c.id == self.id)
                    tx.execute(gone.values(seen_at=_NOW - GONE_AFTER))
        except DatabaseError as error:
            log.debug("the lease runs out by itself: %s", error)
        self._dropped = None

    def _ours(self, term: int | None) -> sa.ColumnElement[bool]:
        """Compare term and holder: after a failover to a server that lacked the last term two may have the same."""
        return (leases.c.term == term) & (leases.c.daemon == self.id)

    # --- renewing -----------------------------------------------------------------------------------------------------

    def _renew_until(self, ended: threading.Event) -> None:
        """Renew until the lease is freed or lost; a failure of the database is retried."""
        while not ended.wait(RENEW_EVERY):
            try:
                if not self._is_hung() and not self._renew() and not ended.is_set():
                    self.drop()
            except DatabaseError as error:
                log.debug("the lease could not be renewed: %s", error)

    def _is_hung(self) -> bool:
        """Whether the event loop of this process has not turned for too long."""
        return self.loop_turned_at is not None and time.monotonic() - self.loop_turned_at >= HUNG_AFTER

    def _renew(self) -> bool:
        """Renew the lease, even one that has expired and nobody has taken; return False when another daemon leads."""
        began, term = boot_clock(), self._term
        with transaction(self._engine) as tx:
            self._register(tx)
            renewed = leases.update().where(self._ours(term)).values(expires_at=_NOW + LEASE)
            if tx.execute(renewed).rowcount == 0:
                return False
        if term == self._term:
            self._ends = began + LEASE.total_seconds() - MARGIN
        return True

    def _register(self, tx: sa.Connection) -> None:
        """Record that this daemon is alive, count the others, and end stalled sessions."""
        if tx.execute(_END_STALLED).first() is not None:
            log.warning("ended a connection that had stopped in the middle of a transaction")
        if self._is_daemon:
            self._record(tx)
        others = sa.select(sa.func.count()).where(daemons.c.id != self.id, daemons.c.seen_at > _NOW - GONE_AFTER)
        self.others = tx.execute(others.select_from(daemons)).scalar_one()

    def _record(self, tx: sa.Connection) -> None:
        me: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "version": __version__}
        row = insert("postgresql", daemons).values(id=self.id, started_at=_NOW, seen_at=_NOW, **me)
        tx.execute(row.on_conflict_do_update(index_elements=[daemons.c.id], set_={"seen_at": _NOW}))
        tx.execute(daemons.delete().where(daemons.c.seen_at < _NOW - FORGOTTEN_AFTER))


# --- identifying processes --------------------------------------------------------------------------------------------

_NUMBERS: Final = itertools.count(1)  # distinguishes several leases of one process
STATE: Final = 0  # fields of /proc/PID/stat after the command's closing bracket
STARTED: Final = 19


def own_id() -> str:
    """Return `machine.pid.started.number`; the machine is a digest of what is unique to this boot and container."""
    return f"{_machine() or '-'}.{os.getpid()}.{_started(os.getpid()) or '-'}.{next(_NUMBERS)}"


def is_dead(process_id: str) -> bool:
    """Whether the process of an `own_id` is known to have died: it ran on this machine and does not any more."""
    machine, pid, started, *_ = (*process_id.split("."), "", "", "")
    if machine != _machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    fields = _stat(int(pid))
    return bool(fields) and (fields[STATE] == "Z" or (started.isdecimal() and fields[STARTED] != started))


def _machine() -> str | None:
    """Return a digest of machine, boot and process namespace; None where these are unknown."""
    facts = [_text(Path(path)) for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")]
    if not any(facts):
        return None
    with suppress(OSError):
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
        return sha256("\n".join([socket.gethostname(), *facts]).encode()).hexdigest()[:12]
    return None


def _started(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks since boot."""
    fields = _stat(pid)
    return fields[STARTED] if fields else None


def _stat(pid: int) -> list[str]:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields if len(fields) > STARTED else []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

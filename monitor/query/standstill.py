"""Whether anybody polls: a daemon that has died, or hangs, looks healthy in every figure that it recorded before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from monitor import message
from monitor.model import FailureKind, RateLimit
from monitor.query.status import SEEN_WITHIN
from monitor.store.engines import sqlite_path, transaction
from monitor.store.leader_lock import Holder, look_at_file_lock
from monitor.store.tables import accounts, daemons, leases, organizations

POLLS: Final = 3  # that may be missing
LONGEST_PAUSE: Final = timedelta(hours=1)  # that a vendor may ask for


@dataclass(frozen=True, slots=True)
class Standstill:
    """Nobody has polled for too long: `since` when (None: ever), and the daemon that should have (None: none runs)."""

    since: datetime | None
    daemon: Holder | None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class _Daemon:
    """What is known of the daemon: who holds lock or lease, and whether any has run before."""

    holder: Holder | None
    has_run: bool
    host: str | None = None


def standstill_line(
    engine: sa.Engine, *, every: timedelta, limits: Mapping[str, RateLimit | None], at: datetime
) -> str | None:
    """Return what everybody has to know first, that nobody polls; None while somebody does."""
    found = find_standstill(engine, every=every, limits=limits, at=at)
    if found is None:
        return None
    return message.standstill_line(
        at - found.since if found.since else None,
        pid=found.daemon.pid if found.daemon else None,
        host=found.host,
        is_running=found.daemon is not None,
    )


def find_standstill(
    engine: sa.Engine, *, every: timedelta, limits: Mapping[str, RateLimit | None], at: datetime
) -> Standstill | None:
    """Return the standstill at an instant; None while somebody polls, and where no daemon ever ran.

    `limits`: the rate limit of each account, within which a poll of thousands may wait for long.
    """
    daemon = _sqlite_daemon(engine) if engine.dialect.name == "sqlite" else _postgres_daemon(engine)
    if not daemon.has_run or (daemon.holder and not daemon.holder.is_daemon):
        return None
    with transaction(engine) as tx:
        newest, allowed = _newest(tx), max(POLLS * every, _longest_wait(tx, limits))
    begun = daemon.holder.since if daemon.holder else None
    last = max((instant for instant in (newest, begun) if instant), default=None)
    if last is not None and at - last <= allowed:
        return None
    return Standstill(newest, daemon.holder, daemon.host)


def _newest(tx: sa.Connection) -> datetime | None:
    """Return when the newest check ended, or poll began."""
    instants = (
        tx.execute(sa.select(sa.func.max(organizations.c.checked_at))).scalar_one(),
        tx.execute(sa.select(sa.func.max(accounts.c.polled_at))).scalar_one(),
    )
    return max((instant for instant in instants if instant), default=None)


def _longest_wait(tx: sa.Connection, limits: Mapping[str, RateLimit | None]) -> timedelta:
    """Return how long a daemon that works may have nothing to record: its keys' limits, and a vendor's own."""
    counts = sa.select(organizations.c.account, sa.func.count()).where(organizations.c.watched)
    waits = [timedelta(0)]
    for account, count in tx.execute(counts.group_by(organizations.c.account)):
        limit = limits.get(account)
        if limit and count > limit.requests:
            waits.append(2 * limit.per)
    paused = sa.select(organizations.c.id).where(organizations.c.failure == FailureKind.RATE_LIMITED.value).limit(1)
    if tx.execute(paused).first() is not None:
        waits.append(LONGEST_PAUSE)
    return max(waits)


def _sqlite_daemon(engine: sa.Engine) -> _Daemon:
    try:
        state = look_at_file_lock(sqlite_path(engine.url))
    except OSError:  # this user may not look
        return _Daemon(None, has_run=False)
    return _Daemon(state.holder, state.has_run)


def _postgres_daemon(engine: sa.Engine) -> _Daemon:
    now = sa.func.clock_timestamp()
    leader = (
        sa.select(leases.c.daemon, leases.c.acquired_at, daemons.c.pid, daemons.c.host)
        .select_from(leases.outerjoin(daemons, daemons.c.id == leases.c.daemon))
        .where(leases.c.expires_at > now, leases.c.daemon != "")
    )
    alive = sa.select(daemons.c.pid).where(daemons.c.seen_at > now - SEEN_WITHIN).limit(1)
    with transaction(engine) as tx:
        has_run = tx.execute(sa.select(daemons.c.id).limit(1)).first() is not None
        row = tx.execute(leader).first()
        if row is None:
            # Nobody leads for a moment while one daemon takes over from another.
            return _Daemon(None, has_run and tx.execute(alive).first() is None)
    return _Daemon(Holder(row.pid, row.acquired_at, is_daemon=row.pid is not None), has_run, row.host)

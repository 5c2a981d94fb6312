"""Runs until told to stop: schedule, signals, systemd.  With `cli` the only reader of the wall clock."""

import asyncio
import logging
import os
import signal
import socket
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from monitor import store
from monitor.app import Parts, channel_mistakes, open_database, open_parts, require_accounts
from monitor.config import Settings
from monitor.digest import Digests
from monitor.errors import ConfigError, DatabaseError, Mistake
from monitor.poll import AccountPoll
from monitor.schedule import Schedule

FETCH_GRACE: Final = timedelta(seconds=5)
DIGEST_CHECK: Final = timedelta(minutes=1)
STOP_AFTER: Final = 8.0  # seconds until the children that still send are killed

log = logging.getLogger(__name__)


def wall_clock() -> datetime:
    """Now, aware UTC."""
    return datetime.now(UTC)


def run(settings: Settings) -> None:
    """Be the daemon of this configuration until SIGTERM or SIGINT."""
    require_accounts(settings)
    opened = open_database(settings)
    hold = store.acquire(settings.database.url)
    if hold is None:
        raise DatabaseError(f"{settings.database.shown_url}: another credit-monitor runs on this database")
    try:
        asyncio.run(_run(settings, opened))
    finally:
        hold.release()


async def _run(settings: Settings, opened: store.Store) -> None:
    parts = open_parts(settings, opened, clock=wall_clock)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    delivering = asyncio.create_task(parts.deliverer.run(), name="deliver")
    verifying = asyncio.create_task(_verify(settings, stopping), name="verify channels")
    schedule = Schedule(clock=wall_clock)
    attempted = asyncio.Event()
    for poll in parts.polls:
        job = partial(_poll, poll, attempted)
        schedule.every(settings.poll.every, job, name=f"poll {poll.name}", first_at=parts.due[poll.name])
    if any(channel.digest for channel in settings.channels.values()):
        now = wall_clock()
        digests = Digests(parts.store, settings, started_at=now)
        schedule.every(DIGEST_CHECK, lambda: digests.tick(wall_clock()), name="digests", first_at=now)
    schedule.start()
    log.info("watching %d account(s), polling every %s", len(parts.polls), settings.poll.every)
    if any(parts.due[poll.name] <= wall_clock() for poll in parts.polls):
        await _either(attempted, stopping)
    notify_systemd("READY=1")
    await stopping.wait()
    notify_systemd("STOPPING=1")
    log.info("stopping")
    # A database that does not answer must not hold up the stop; what is not committed is rolled back.
    last_resort = threading.Timer(STOP_AFTER + 1, os._exit, [0])
    last_resort.daemon = True
    last_resort.start()
    await _stop(parts, schedule, delivering)
    if verifying.done() and not verifying.cancelled() and (mistakes := verifying.result()):
        raise ConfigError(mistakes)
    verifying.cancel()


async def _poll(poll: AccountPoll, attempted: asyncio.Event) -> None:
    """One poll; the first to end, however it does, is what readiness waits for."""
    try:
        await poll.run()
    finally:
        attempted.set()


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waiting = [asyncio.create_task(one.wait()), asyncio.create_task(other.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _stop(parts: Parts, schedule: Schedule, delivering: asyncio.Task[None]) -> None:
    """Let fetches end for five seconds and messages for eight; what is unfinished then is done after the next start."""
    began = asyncio.get_running_loop().time()
    await schedule.stop(grace=FETCH_GRACE)
    await parts.ledger.flush()
    left = STOP_AFTER - (asyncio.get_running_loop().time() - began)
    await parts.deliverer.finish(timeout=max(left, 0))
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    await parts.close()


async def _verify(settings: Settings, stopping: asyncio.Event) -> list[Mistake]:
    """Whether Apprise takes every channel's URL; beside the first poll, because loading Apprise takes a second."""
    mistakes = await channel_mistakes(settings)
    if mistakes:
        stopping.set()
    return mistakes


def notify_systemd(state: str) -> None:
    """Tell the service manager, when there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(state.encode())

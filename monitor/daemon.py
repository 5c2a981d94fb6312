"""Runs until told to stop: leads, or stands by until it may; signals, systemd.

With `cli` the only reader of the wall clock.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from monitor import store
from monitor.app import channel_mistakes, open_database, require_accounts, secret_mistakes
from monitor.config import Settings
from monitor.counters import Counters
from monitor.errors import ConfigError, DatabaseError, Mistake
from monitor.heartbeat import Heartbeat
from monitor.model import Check, Snapshot
from monitor.notice import TOLD_AFTER, DatabaseNotice
from monitor.store import Hold, Store
from monitor.term import STOP_AFTER, Term
from monitor.web import serving

TRY_EVERY: Final = 2.0  # seconds between looks at whether the lead is free
STEP_ASIDE: Final = 2 * TRY_EVERY  # seconds that one who could not lead, or no longer, leaves to the others
KEPT_AT_ONCE: Final = 200  # held results at one look: whoever leads waits for them
STANDBY_TELLS_AFTER: Final = 3 * TOLD_AFTER  # of the database: by then whoever led would have
HUNG_AFTER: Final = 10.0  # seconds without a turn of the event loop: nobody leads in its name

log = logging.getLogger(__name__)


def wall_clock() -> datetime:
    """Now, aware UTC."""
    return datetime.now(UTC)


def run(settings: Settings) -> None:
    """Be the daemon of this configuration until SIGTERM or SIGINT."""
    require_accounts(settings)
    # One that stands by is to find out now, and not when it is needed.
    if mistakes := secret_mistakes(settings):
        raise ConfigError(mistakes)
    opened = open_database(settings)
    daemon = Daemon(settings, opened)
    if not daemon.stands_by and not daemon.hold.acquire():
        raise DatabaseError(f"{settings.database.shown_url}: another credit-monitor runs on this database")
    try:
        asyncio.run(daemon.run())
    finally:
        daemon.hold.release()


class Daemon:
    """One process of the service; on PostgreSQL one of several may lead, and the others stand by."""

    def __init__(self, settings: Settings, opened: Store) -> None:
        self._settings = settings
        self._store = opened
        self._turned_at = time.monotonic()
        self.hold: Hold = store.open_hold(settings.database.url, alive=self._is_turning)
        self.stands_by = self.hold.fence is not None
        self._trouble: store.Trouble | None = None  # of one that stands by
        self._led_last = False  # no other daemon was seen to lead since this one did
        self._held: list[Check] = []
        self._stopping = asyncio.Event()
        self._counters = Counters()
        self._heart = Heartbeat(settings.heartbeat_url())

    async def run(self) -> None:
        """Lead or stand by until told to stop, and answer for it over HTTP meanwhile, where that is switched on."""
        async with serving(self._settings, self._counters, clock=wall_clock, leading=lambda: self.hold.leads):
            await self._run()
        await self._heart.stop()

    async def _run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        verifying = asyncio.create_task(self._verify(), name="verify channels")
        beside = [
            verifying,
            asyncio.create_task(self._beat(), name="beat"),
            asyncio.create_task(self._notice().run(), name="notice"),
        ]
        try:
            while not self._stopping.is_set():
                await self._stand_by()
                if self.hold.leads:
                    await self._lead()
            while not self.hold.leads and await self._keep_some():
                pass
        finally:
            mistakes = verifying.result() if verifying.done() else []
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._store.close()
        if mistakes:
            raise ConfigError(mistakes)

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        notify_systemd("STOPPING=1")
        log.info("stopping")
        # A database that does not answer must not hold up the stop; what is not committed is rolled back.
        last_resort = threading.Timer(STOP_AFTER + 1, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()

    async def _lead(self) -> None:
        self._led_last = True
        term = Term(self._settings, self._store, self.hold, wall_clock, self._stopping, self._counters, self._heart)
        try:
            self._held = await term.run(self._held, ready=lambda: notify_systemd("READY=1"))
        except DatabaseError as error:
            if not self.stands_by:
                raise
            log.error("the lead could not be taken: %s", error)  # noqa: TRY400 -- it is one line
        if not self._stopping.is_set():
            log.warning("no longer leading")
            await asyncio.to_thread(self.hold.give_back)
            await _wait(self._stopping, STEP_ASIDE)

    # --- standing by --------------------------------------------------------------------------------------------------

    async def _stand_by(self) -> None:
        """Wait for the lead; what was fetched under an earlier one is kept meanwhile, if another daemon has it now."""
        said = False
        while not self._stopping.is_set() and not self.hold.leads:
            if await self._try_to_lead():
                return
            if not said and self._trouble is None:
                log.info("standing by: another credit-monitor leads")
                notify_systemd("READY=1\nSTATUS=standing by: another credit-monitor leads")
                said = True
            await self._keep_some()
            await _wait(self._stopping, TRY_EVERY)

    async def _try_to_lead(self) -> bool:
        try:
            leads = await asyncio.to_thread(self.hold.acquire)
        except DatabaseError as error:
            if self._trouble is None:
                log.error("the database cannot be used: %s", error)  # noqa: TRY400 -- it is one line
            self._trouble = store.Trouble(str(error), self._trouble.since if self._trouble else time.monotonic())
            return False
        if self._trouble:
            log.warning("the database is back")
        self._trouble = None
        self._led_last &= leads
        if leads:
            log.info("leading")
        return leads

    async def _keep_some(self) -> bool:
        """Keep some balances that were fetched as the leader: they are facts, whoever judges the next ones.

        What failed is none: this process may have been stopped for longer than an answer may take.
        """
        if self._trouble:
            return False
        self._held = [one for one in self._held if isinstance(one.outcome, Snapshot)]
        some = self._held[:KEPT_AT_ONCE]
        if not some:
            return False
        try:
            await self._store.write(partial(store.record, batch=some), fenced=False)
        except DatabaseError as error:
            log.debug("%d result(s) are still held: %s", len(self._held), error)
            return False
        del self._held[: len(some)]
        if not self._held:
            log.info("kept what was fetched before another daemon led")
        return True

    # --- beside everything --------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._turned_at = time.monotonic()
            await asyncio.sleep(1)

    def _is_turning(self) -> bool:
        return time.monotonic() - self._turned_at < HUNG_AFTER

    async def _verify(self) -> list[Mistake]:
        """Whether Apprise takes every channel's URL; beside the first poll, because loading Apprise takes a second."""
        mistakes = await channel_mistakes(self._settings)
        if mistakes:
            self._stop()
        return mistakes

    def _notice(self) -> DatabaseNotice:
        def trouble() -> tuple[str, datetime] | None:
            found = self._store.trouble if self.hold.leads else self._trouble
            if found is None:
                return None
            return found.cause, wall_clock() - timedelta(seconds=time.monotonic() - found.since)

        return DatabaseNotice(
            {name: self._settings.channel_url(name) for name in self._settings.channels},
            trouble=trouble,
            patience=lambda: TOLD_AFTER if self._led_last else STANDBY_TELLS_AFTER,
            timezone=self._settings.timezone,
            clock=wall_clock,
        )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """For an event, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def notify_systemd(state: str) -> None:
    """Tell the service manager, when there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(state.encode())

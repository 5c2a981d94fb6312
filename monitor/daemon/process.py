"""Runs until told to stop: leads, or stands by until it may; signals and reload.

With `cli` the only reader of the wall clock.
"""

import asyncio
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from monitor.app import open_database
from monitor.config import Settings
from monitor.config.checks import channel_mistakes, replacement, require_accounts, with_secrets
from monitor.daemon.database_alert import TOLD_AFTER
from monitor.daemon.leadership import STOP_AFTER, Leadership
from monitor.daemon.outside import Outside
from monitor.daemon.systemd import ServiceManager
from monitor.daemon.unseen import LoopErrors
from monitor.daemon.watchdog import DatabaseOutage, Report
from monitor.errors import ConfigError, DatabaseError, Mistake
from monitor.message import stands_by_line
from monitor.model import Check, Snapshot
from monitor.store import leader_lock, migrate, snapshots
from monitor.store.leader_lock import LeaderLock
from monitor.store.writer import Store

TRY_EVERY: Final = 2.0  # seconds between looks at whether the lead is free
STEP_ASIDE: Final = 2 * TRY_EVERY  # seconds that one who could not lead, or no longer, leaves to the others
KEPT_AT_ONCE: Final = 200  # held results at one look: whoever leads waits for them
STANDBY_TELLS_AFTER: Final = 3 * TOLD_AFTER  # of the database: by then whoever led would have
DESCRIPTORS: Final = 65_536  # of more than 3,000 accounts, each with all its connections open
HUNG_AFTER: Final = 10.0  # seconds without a turn of the event loop: nobody leads in its name

log = logging.getLogger(__name__)


def wall_clock() -> datetime:
    """Now, aware UTC."""
    return datetime.now(UTC)


def run(settings: Settings, *, reread: Callable[[], Settings]) -> None:
    """Be the daemon of this configuration until SIGTERM or SIGINT; on SIGHUP go on with what `reread` gives."""
    allow_descriptors()
    require_accounts(settings)
    settings = with_secrets(settings)
    manager = ServiceManager(os.environ)
    with manager.more_time("starting: the database's schema is being brought up to date"):
        opened = open_database(settings)
    daemon = Daemon(settings, opened, reread=reread, manager=manager)
    if not daemon.stands_by and not daemon.hold.acquire():
        raise DatabaseError(f"{settings.database.shown_url}: another credit-monitor runs on this database")
    try:
        asyncio.run(daemon.run())
    finally:
        daemon.hold.release()


def allow_descriptors() -> None:
    """As many as may be: the usual 1,024 are gone when a vendor hangs and fifty accounts wait for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Daemon:
    """One process of the service; on PostgreSQL one of several may lead, and the others stand by."""

    def __init__(
        self, settings: Settings, opened: Store, *, reread: Callable[[], Settings], manager: ServiceManager
    ) -> None:
        self._settings = settings
        self._proven: Settings | None = None  # those of the last term that could begin
        self._store = opened
        self._reread = reread
        self._manager = manager
        self._turned_at = time.monotonic()
        self.hold: LeaderLock = leader_lock.open_leader_lock(settings.database.url, alive=self._is_turning)
        self.stands_by = self.hold.fence is not None
        self._outage = DatabaseOutage(self.hold, opened, clock=wall_clock)
        self._led_last = False  # no other daemon was seen to lead since this one did
        self._held: list[Check] = []
        self._mended: frozenset[str] = frozenset()  # channels that a reload has changed
        self._term: Leadership | None = None
        self._stopping = asyncio.Event()
        self._ending = asyncio.Event()  # of the present term
        self._asked = asyncio.Event()  # for a reload
        self._report = Report(manager, self.hold, term=lambda: self._term, outage=self._outage, clock=wall_clock)
        self._outside = Outside(
            settings,
            self.hold,
            self._outage,
            patience=self._patience,
            hanging=self._report.hanging,
            clock=wall_clock,
        )

    async def run(self) -> None:
        """Lead or stand by until told to stop, and answer for it over HTTP meanwhile, where that is switched on."""
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        async with self._outside.served():
            await self._run()

    async def _run(self) -> None:
        self._take_signals(asyncio.get_running_loop())
        verifying = asyncio.create_task(self._verify(), name="verify channels")
        beside = [
            verifying,
            asyncio.create_task(self._beat(), name="beat"),
            asyncio.create_task(self._report.run(), name="report"),
            asyncio.create_task(self._reload_when_asked(), name="reload"),
            asyncio.create_task(self._outside.notice.run(), name="notice"),
        ]
        try:
            while not self._stopping.is_set():
                await self._stand_by()
                if self.hold.leads:
                    await self._lead()
            while not self.hold.leads and await self._keep_some():
                pass
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the loop could not take it any more
            mistakes = verifying.result() if verifying.done() and not verifying.cancelled() else []
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._store.close()
        if mistakes:
            raise ConfigError(mistakes)

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)

        # Not the loop's own way, which leaves the signal deadly between the end of the loop and that of the process.
        signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._asked.set))

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._ending.set()
        self._manager.stopping()
        log.info("stopping")
        # A database that does not answer must not hold up the stop; what is not committed is rolled back.
        last_resort = threading.Timer(STOP_AFTER + 1, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()

    # --- leading ------------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """One term; it ends with the process, with the lead, or to begin again with other settings."""
        self._ending = asyncio.Event()
        if self._stopping.is_set():
            return
        events, seen = (self._ending, self._stopping), (self._outside.counters, self._outside.heart)
        self._led_last = True
        mended, self._mended = self._mended, frozenset()
        self._term = Leadership(self._settings, self._store, self.hold, wall_clock, *events, *seen, mended=mended)
        try:
            self._held = await self._term.run(self._held, ready=self._begun)
        except ConfigError as error:
            self._go_back(error)
            return
        except DatabaseError as error:
            await self._keep_trying(error)
            return
        finally:
            self._term = None
        if self._store.file.is_replaced:
            self._take_the_new_file()
            await self._step_down()
        elif not self._ending.is_set():
            log.warning("no longer leading")
            await self._step_down()

    def _begun(self) -> None:
        self._proven = self._settings
        self._outage.over()
        self._report.tell()
        self._manager.ready()

    def _go_back(self, error: ConfigError) -> None:
        """A file that was there a moment ago is not: go on with the settings that a term could begin with."""
        if self._proven is None or self._proven is self._settings:
            raise error
        self._refuse(error)
        self._settings = self._proven

    async def _keep_trying(self, error: DatabaseError) -> None:
        """A term could not begin: let another daemon try, or, where there is none, wait for the database."""
        if self.stands_by:
            log.error("the lead could not be taken: %s", error)
            await self._step_down()
            return
        if self._proven is None:
            raise error
        self._outage.seen(error)
        await _wait(self._stopping, TRY_EVERY)

    async def _step_down(self) -> None:
        await asyncio.to_thread(self.hold.give_back)
        await _wait(self._stopping, STEP_ASIDE)

    def _take_the_new_file(self) -> None:
        """Somebody put another SQLite file in the place of ours, a backup for example."""
        log.warning("the database file was replaced: begun anew, without %d result(s) still held", len(self._held))
        self._held = []  # their organizations have other numbers there
        self._store.file.accept()
        migrate.require_current(self._store.engine)

    # --- standing by --------------------------------------------------------------------------------------------------

    async def _stand_by(self) -> None:
        """Wait for the lead; what was fetched under an earlier one is kept meanwhile, if another daemon has it now."""
        said = False
        while not self._stopping.is_set() and not self.hold.leads:
            if await self._try_to_lead():
                return
            if not said and self._outage.found is None:
                log.info("%s", stands_by_line(self.hold.leader))
                self._report.tell()
                self._manager.ready()
                said = True
            await self._keep_some()
            await _wait(self._stopping, TRY_EVERY)

    async def _try_to_lead(self) -> bool:
        try:
            leads = await asyncio.to_thread(self.hold.acquire)
        except DatabaseError as error:
            self._outage.seen(error)
            return False
        self._outage.over()
        self._led_last &= leads
        if leads:
            log.info("leading")
        return leads

    async def _keep_some(self) -> bool:
        """Keep some balances that were fetched as the leader: they are facts, whoever judges the next ones.

        What failed is none: this process may have been stopped for longer than an answer may take.
        """
        if self._outage.found:
            return False
        self._held = [one for one in self._held if isinstance(one.outcome, Snapshot)]
        some = self._held[:KEPT_AT_ONCE]
        if not some:
            return False
        try:
            await self._store.write(partial(snapshots.record, batch=some), fenced=False)
        except DatabaseError as error:
            log.debug("%d result(s) are still held: %s", len(self._held), error)
            return False
        del self._held[: len(some)]
        if not self._held:
            log.info("kept what was fetched before another daemon led")
        return True

    # --- reload -------------------------------------------------------------------------------------------------------

    async def _reload_when_asked(self) -> None:
        """Whoever asks again and again is answered once for all that was asked meanwhile."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._manager.reloading()
            try:
                settings = await replacement(self._reread, self._settings)
                await self._database_answers()
                await self._adopt(settings)
            except ConfigError as error:
                self._refuse(error)
            except Exception:
                log.exception("the configuration could not be reloaded; the old one stays in force")
                self._manager.ready()

    async def _database_answers(self) -> None:
        """Wait for it: a term begins with a write, and meanwhile the present one goes on fetching."""
        while self._term:
            try:
                await self._store.write(lambda _: None)
            except DatabaseError:
                await asyncio.sleep(1)
            else:
                return

    def _refuse(self, error: ConfigError) -> None:
        for mistake in error.mistakes:
            log.error("the configuration was not reloaded: %s", mistake)
        log.error("the old configuration stays in force")
        self._report.refused = str(error.mistakes[0])
        self._report.tell()
        self._manager.ready()

    async def _adopt(self, settings: Settings) -> None:
        """Go on with other settings: a leader in a new term, which says when it is ready."""
        await self._outside.take(settings)
        self._mended |= _changed_channels(self._settings, settings)
        log.info("the configuration was reloaded")
        self._settings, self._report.refused = settings, None
        if self._term:
            self._ending.set()
        else:
            self._report.tell()
            self._manager.ready()

    # --- beside everything --------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._turned_at = time.monotonic()
            self._store.sever_if_silent(self._turned_at)
            await asyncio.sleep(1)

    def _is_turning(self) -> bool:
        return time.monotonic() - self._turned_at < HUNG_AFTER

    async def _verify(self) -> list[Mistake]:
        """Whether Apprise takes every channel's URL; beside the first poll, because loading Apprise takes a second."""
        checked = self._settings
        try:
            mistakes = await channel_mistakes(checked)
        except Exception:
            log.exception("whether the channels' URLs can be used could not be found out; polling goes on")
            return []
        if not mistakes or checked is not self._settings:  # mended meanwhile, by a reload
            return []
        self._stop()
        return mistakes

    def _patience(self) -> timedelta:
        """How long the database may be away until the channels are told."""
        return TOLD_AFTER if self._led_last else STANDBY_TELLS_AFTER


def _changed_channels(before: Settings, after: Settings) -> frozenset[str]:
    """The channels that lead elsewhere than before."""
    return frozenset(
        name for name in after.channels if name in before.channels and before.urls[name].value != after.urls[name].value
    )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """For an event, or so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

"""The daemon's process: leads, or stands by until it may; signals and reload.

From `run` to ready this file reads from top to bottom.
"""

import asyncio
import errno
import logging
import math
import os
import resource
import signal
import socket
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from monitor.app import open_database
from monitor.config import Settings
from monitor.config.checks import channel_mistakes, replacement, require_accounts, with_secrets
from monitor.daemon import insecure
from monitor.daemon.database_alert import DatabaseAlert
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.leadership import STOP_TIMEOUT, Leadership
from monitor.daemon.state import ProcessState
from monitor.daemon.systemd import ServiceManager
from monitor.daemon.watchdog import Watchdog
from monitor.errors import ChildError, ConfigError, DatabaseError, ListenError, Mistake
from monitor.message import stands_by_line
from monitor.model import Snapshot
from monitor.store import installation, leader_lock, migrate, snapshots
from monitor.store.writer import Store
from monitor.web import serving

TRY_EVERY: Final = 2.0  # seconds between attempts to lead
SLOW_RELOAD: Final = 10.0  # seconds after which a reload that hangs is said
STEP_DOWN_TIMEOUT: Final = 2 * TRY_EVERY  # seconds that a daemon which could not lead leaves to the others
STORED_AT_ONCE: Final = 200  # results carried over in one transaction: the leader waits for it
VERIFY_AGAIN: Final = 5.0  # seconds until URLs are checked again that could not be
TURN_EVERY: Final = 1.0  # seconds
PROBE_EVERY: Final = 2.0  # seconds
HOSTS_NAMED: Final = 3
DESCRIPTORS: Final = 65_536  # of more than 3,000 accounts, each with all its connections open

log = logging.getLogger(__name__)


def wall_clock() -> datetime:
    """Return now, aware UTC."""
    return datetime.now(UTC)


def run(settings: Settings, *, reread: Callable[[], Settings], terminal: "Terminal | None") -> None:
    """Be the daemon of this configuration until SIGTERM or SIGINT; on SIGHUP go on with what `reread` returns.

    With a `terminal` the SIGHUP of its end is the end of the daemon, too.
    """
    allow_descriptors()
    require_accounts(settings)
    settings = with_secrets(settings)
    manager = ServiceManager(os.environ)
    with manager.more_time("starting: the database's schema is being brought up to date"):
        opened = open_database(settings)
    daemon = Daemon(settings, opened, reread=reread, manager=manager, terminal=terminal)
    lock = daemon.state.leader_lock
    if not daemon.state.can_stand_by and not lock.acquire():
        raise DatabaseError(_held(settings))
    try:
        _warn_of_new_host(opened)
        asyncio.run(daemon.run())
    finally:
        manager.ended()
        lock.release()


def _warn_of_new_host(opened: Store) -> None:
    """Log once, where the database comes from another host, what becomes of a copy of it that goes on there."""
    name = socket.gethostname()
    others = opened.write_now(lambda tx: installation.record_host(tx, name, at=wall_clock()))
    if others:
        log.warning(
            "this database was not used on %s before, but on %s: two installations that go on with copies of one "
            "database have one id, and would end each other's pages at on-call services (another id: docs/database.md)",
            name,
            ", ".join(others[:HOSTS_NAMED]),
        )


def _held(settings: Settings) -> str:
    who = leader_lock.describe_holder(settings.database.url)
    return f"{settings.database.shown_url}: another credit-monitor{who} runs on this database"


def allow_descriptors() -> None:
    """Raise the limit of open files: the usual 1,024 are gone when a vendor hangs and fifty accounts wait for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Daemon:
    """One process of the service; on PostgreSQL one of several may lead, and the others stand by."""

    def __init__(
        self,
        settings: Settings,
        opened: Store,
        *,
        reread: Callable[[], Settings],
        manager: ServiceManager,
        terminal: "Terminal | None" = None,
    ) -> None:
        self.state = ProcessState(
            settings=settings,
            store=opened,
            leader_lock=leader_lock.open_leader_lock(settings.database.url),
            heartbeat=Heartbeat(settings.heartbeat_url()),
            clock=wall_clock,
            installation=opened.write_now(installation.installation_id),
        )
        self._reread = reread
        self._manager = manager
        self._watchdog = Watchdog(manager, self.state)
        self._alert = DatabaseAlert(self.state)
        self._reload_asked = asyncio.Event()
        self._serving = AsyncExitStack()
        self._terminal = terminal

    async def run(self) -> None:
        """Lead or stand by until told to stop; serve HTTP meanwhile, where that is switched on."""
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        async with self.served():
            await self._run()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve HTTP meanwhile, where that is switched on; raise `ListenError` where the address cannot be had."""
        try:
            async with self._serving:
                await self._serve(self.state.settings)
                yield
        finally:
            await self.state.heartbeat.stop()

    async def _serve(self, settings: Settings) -> None:
        state = self.state
        served = serving(
            settings,
            state.counters,
            clock=state.clock,
            leading=lambda: state.leader_lock.leads,
            hanging=state.hanging,
            unready=state.unready,
        )
        await self._serving.enter_async_context(served)

    async def _run(self) -> None:
        state = self.state
        self._take_signals(asyncio.get_running_loop())
        verifying = asyncio.create_task(self._verify_channels(), name="verify channels")
        beside = [
            verifying,
            asyncio.create_task(self._turn(), name="turn"),
            asyncio.create_task(self._watchdog.run(), name="watchdog"),
            asyncio.create_task(self._reload_when_asked(), name="reload"),
            asyncio.create_task(self._alert.run(), name="database alert"),
            asyncio.create_task(self._probe(), name="probe the database"),
            asyncio.create_task(insecure.watch(state), name="insecure settings"),
        ]
        try:
            while not state.stopping.is_set():
                await self._stand_by()
                if state.leader_lock.leads:
                    await self._lead()
            while not state.leader_lock.leads and await self._store_carried_over():
                pass
            if state.carried_over:
                log.error("%d result(s) could not be recorded, and end with this process", len(state.carried_over))
            if trouble := state.unwritten.trouble:
                log.error("%s could not be written, and may be sent again by the next", trouble.what)
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the loop could not take it any more
            mistakes = verifying.result() if verifying.done() and not verifying.cancelled() else []
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await state.template.aclose()
            state.store.close()
        if mistakes:
            raise ConfigError(mistakes)

    # --- standing by --------------------------------------------------------------------------------------------------

    async def _stand_by(self) -> None:
        """Wait until this daemon leads; meanwhile store what it fetched under an earlier leadership."""
        state, is_told = self.state, False
        while not state.stopping.is_set() and not state.leader_lock.leads:
            if await self._try_to_lead():
                return
            if not is_told and not state.is_database_away:
                log.info("%s", stands_by_line(state.leader_lock.leader))
                self._watchdog.report()
                self._manager.ready()
                is_told = True
            await self._store_carried_over()
            await _wait(state.stopping, TRY_EVERY)

    async def _try_to_lead(self) -> bool:
        try:
            leads = await asyncio.to_thread(self.state.leader_lock.acquire)
        except DatabaseError as error:
            self.state.database_failed(error)
            return False
        if not leads:  # it works for the one that leads; whether for us, the beginning says
            self.state.database_works()
        self.state.led_last &= leads
        if leads:
            log.info("leading")
        return leads

    async def _store_carried_over(self) -> bool:
        """Store some balances that were fetched as the leader; return whether there were any, and they are stored.

        They are facts, whoever judges the next ones.  A failed check is none: this process may have been stopped for
        longer than an answer may take.
        """
        state = self.state
        if state.is_database_away:
            return False
        state.carried_over = [check for check in state.carried_over if isinstance(check.outcome, Snapshot)]
        batch = state.carried_over[:STORED_AT_ONCE]
        if not batch:
            return False
        try:
            await state.store.write(partial(snapshots.record_checks, batch=batch), fenced=False)
        except DatabaseError as error:
            log.debug("%d result(s) are still held: %s", len(state.carried_over), error)
            return False
        del state.carried_over[: len(batch)]
        if not state.carried_over:
            log.info("kept what was fetched before another daemon led")
        return True

    # --- leading ------------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Lead until the process stops, another daemon leads, or other settings are to be used."""
        state = self.state
        if state.stopping.is_set():
            return
        state.led_last = True
        leadership = state.leadership = Leadership(
            settings=state.settings,
            store=state.store,
            leader_lock=state.leader_lock,
            clock=state.clock,
            counters=state.counters,
            heartbeat=state.heartbeat,
            stopping=state.stopping,
            mended=state.mended,
            renamed=dict(state.renamed),
            template=state.template,
            unwritten=state.unwritten,
            ages=state.ages,
        )
        try:
            await leadership.begin(state.carried_over)
            state.mended -= leadership.mended
            state.renamed = {old: new for old, new in state.renamed.items() if old not in leadership.renamed}
            self._ready()
            state.carried_over = await leadership.lead()
        except ConfigError as error:
            self._restore_proven(error)
            return
        except DatabaseError as error:
            await self._retry_later(error)
            return
        finally:
            state.leadership = None
        if state.store.file.is_replaced:
            self._accept_replaced_file()
            await self._step_down()
        elif not leadership.ending.is_set():
            log.warning("no longer leading")
            state.ages.forget()
            await self._step_down()
            if not state.can_stand_by and not state.leader_lock.acquire():
                raise DatabaseError(_held(state.settings))

    def _ready(self) -> None:
        self.state.proven = self.state.settings
        self.state.database_works()
        self._watchdog.report()
        self._manager.ready()

    def _restore_proven(self, error: ConfigError) -> None:
        """Go on with the settings of the last leadership that could begin; without any, raise `error`."""
        if self.state.proven is None or self.state.proven is self.state.settings:
            raise error
        self._refuse(error)
        self.state.settings = self.state.proven
        self.state.renamed.clear()

    async def _retry_later(self, error: DatabaseError) -> None:
        """Let another daemon try to lead, or, where there can be none, wait for the database."""
        if self.state.can_stand_by:
            self.state.database_failed(error, what="the lead could not be taken")
            await self._step_down()
            return
        if self.state.proven is None:
            raise error
        self.state.database_failed(error)
        await _wait(self.state.stopping, TRY_EVERY)

    async def _step_down(self) -> None:
        await asyncio.to_thread(self.state.leader_lock.give_back)
        await _wait(self.state.stopping, STEP_DOWN_TIMEOUT)

    def _accept_replaced_file(self) -> None:
        """Go on with another SQLite file that was put in the place of the first, a backup for example."""
        state = self.state
        count = len(state.carried_over)
        log.warning("the database file was replaced: begun anew, without %d result(s) still held", count)
        state.carried_over = []  # their organizations have other numbers there
        state.store.file.accept()
        migrate.require_current(state.store.engine)
        # Unfenced: the lead was given up when the file was seen to be another one.
        state.installation = state.store.write_now(installation.installation_id, fenced=False)

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)

        # Not the loop's own way, which leaves the signal deadly between the end of the loop and that of the process.
        signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._hang_up))
        if self._terminal is not None and not self._terminal.is_there:  # gone while nobody listened yet
            self._hang_up()

    def _hang_up(self) -> None:
        """Reload; but stop where the terminal that this process was started in has gone."""
        if self._terminal is not None and not self._terminal.is_there:
            log.warning("the terminal has gone")
            self._stop()
        else:
            self._reload_asked.set()

    def _stop(self) -> None:
        if self.state.stopping.is_set():
            return
        self.state.stopping.set()
        if self.state.leadership:
            self.state.leadership.ending.set()
        self._manager.stopping()
        log.info("stopping")
        # A database that does not answer must not hold up the stop; what is not committed is rolled back.
        last_resort = threading.Timer(STOP_TIMEOUT + 1, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()

    # --- reload -------------------------------------------------------------------------------------------------------

    async def _reload_when_asked(self) -> None:
        """Reload on SIGHUP; signals that arrive during a reload are answered by one more."""
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            self._manager.reloading()
            try:
                settings = await self._replacement()
                if settings is None:
                    continue
                await self._wait_for_database()
                await self._adopt(settings)
            except ConfigError as error:
                self._refuse(error)
            except ChildError as error:
                log.error("the configuration was not reloaded: %s", error)  # noqa: TRY400 -- it is one line
                self._manager.ready(refused=str(error))
            except Exception:
                log.exception("the configuration could not be reloaded; the old one stays in force")
                self._manager.ready(refused="it could not be read; the log says why")

    async def _replacement(self) -> Settings | None:
        """Return the configuration read anew; None when that hangs, and another reload is asked for."""
        reading = asyncio.ensure_future(replacement(self._reread, self.state.settings, self.state.template))
        try:
            await asyncio.wait([reading], timeout=SLOW_RELOAD)
            if not reading.done():
                log.error(
                    "reload: reading the configuration has taken %g s so far; until it is read the old one stays in"
                    " force, and another SIGHUP begins again",
                    SLOW_RELOAD,
                )
                asked = asyncio.create_task(self._reload_asked.wait())
                await asyncio.wait([reading, asked], return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
            return reading.result() if reading.done() else None
        finally:
            reading.cancel()

    async def _wait_for_database(self) -> None:
        """Wait until the database takes a write, which a leadership begins with; the present one goes on fetching."""
        while self.state.leadership:
            try:
                await self.state.store.write(lambda _: None)
            except DatabaseError:
                await asyncio.sleep(1)
            else:
                return

    def _refuse(self, error: ConfigError) -> None:
        for mistake in error.mistakes:
            log.error("the configuration was not reloaded: %s", mistake)
        log.error("the old configuration stays in force")
        self.state.refused = str(error.mistakes[0])
        self._watchdog.report()
        self._manager.ready(refused=self.state.refused)

    async def _adopt(self, settings: Settings) -> None:
        """Go on with other settings: a leader begins a new leadership with them, and reports when it is ready."""
        await self._use_outside(settings)
        self.state.mended |= _changed_channels(self.state.settings, settings)
        renamed = _renamed_channels(self.state.settings, settings)
        before = {old: renamed.get(new, new) for old, new in self.state.renamed.items()}
        self.state.renamed = renamed | before
        log.info("the configuration was reloaded")
        self.state.settings, self.state.refused = settings, None
        if self.state.leadership:
            self.state.leadership.ending.set()
        else:
            self._watchdog.report()
            self._manager.ready()

    async def _use_outside(self, settings: Settings) -> None:
        """Use the heartbeat, channels and address of other settings; serving nothing does not stop the polls."""
        await self.state.heartbeat.call_instead(settings.heartbeat_url())
        self._alert.use(settings)
        await self._serving.aclose()
        try:
            await self._serve(settings)
        except ListenError as error:
            log.error("nothing is served: %s", error)  # noqa: TRY400 -- it is one line

    # --- beside everything --------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Keep when the event loop turned last, and end a database connection that hangs."""
        while True:
            now = time.monotonic()
            self.state.leader_lock.loop_turned_at = now
            if not self.state.ages.clock.just_woke:  # else the database may have answered while we were stopped
                self.state.store.sever_if_silent(now)
            await asyncio.sleep(TURN_EVERY)

    async def _probe(self) -> None:
        """Find out whether a database in trouble takes writes again, also where nothing is to be written."""
        while True:
            await asyncio.sleep(PROBE_EVERY)
            if self.state.leader_lock.leads and self.state.store.trouble:
                await self.state.store.is_writable()
            self.state.tell_trouble()

    async def _verify_channels(self) -> list[Mistake]:
        """Stop, and return the mistakes, where Apprise does not take a channel's URL.

        It runs beside the first poll, because loading Apprise takes a second.
        """
        checked = self.state.settings
        try:
            mistakes = await self._channel_mistakes(checked)
        except Exception:
            log.exception("whether the channels' URLs can be used could not be found out; polling goes on")
            return []
        if not mistakes or checked is not self.state.settings:  # corrected meanwhile, by a reload
            return []
        self._stop()
        return mistakes

    async def _channel_mistakes(self, checked: Settings) -> list[Mistake]:
        """Return the mistakes in the channels' URLs; asked again while the machine is in trouble."""
        is_said = False
        while True:
            try:
                return await channel_mistakes(checked, self.state.template)
            except ChildError as error:
                if not is_said:
                    log.error("%s; tried again until it works, and polling goes on", error)  # noqa: TRY400
                is_said = True
                await asyncio.sleep(VERIFY_AGAIN)


class Terminal:
    """The terminal that controls this process: its end is a SIGHUP, as is a person's request to reload."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of_this_process(cls) -> "Terminal | None":
        """Return the terminal; None for a service, after `setsid`, and where its end is to be ignored (`nohup`)."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return None
        try:
            return cls(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return None

    @property
    def is_there(self) -> bool:
        """Whether somebody may still be at it."""
        try:
            termios.tcgetattr(self._descriptor)
        except (OSError, termios.error):
            return False
        return True


class LoopErrors:
    """The event loop's exception handler: logs what no caller catches.

    Exhausted resources are logged without a traceback and once a minute: asyncio retries a socket again and again.
    """

    EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
    AGAIN_AFTER: Final = 60.0  # seconds until the same one is logged again

    def __init__(self) -> None:
        self._logged_at: dict[int, float] = {}  # errno -> when, by the loop's clock

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log an error; the rest of the context is left out, because its representations may hold secrets."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in self.EXHAUSTED:
            log.error("in the event loop: %s", context["message"], exc_info=error)
        elif loop.time() - self._logged_at.get(error.errno, -math.inf) >= self.AGAIN_AFTER:
            self._logged_at[error.errno] = loop.time()
            log.error("in the event loop: %s: %s", context["message"], (error.strerror or "").lower())


def _changed_channels(before: Settings, after: Settings) -> frozenset[str]:
    """The channels that lead elsewhere than before."""
    return frozenset(
        name for name in after.channels if name in before.channels and before.urls[name].value != after.urls[name].value
    )


def _renamed_channels(before: Settings, after: Settings) -> dict[str, str]:
    """Return the channels that have another name now and lead where they did: old name → new."""
    gone = {before.urls[name].value: name for name in before.channels if name not in after.channels}
    new = [name for name in after.channels if name not in before.channels]
    return {gone[after.urls[name].value]: name for name in reversed(new) if after.urls[name].value in gone}


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

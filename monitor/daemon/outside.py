"""What tells of the daemon itself: HTTP, a dead man's switch, and to the channels that the database is away.

Refuses to judge; a reload gives each its new settings.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

from monitor.config import Settings
from monitor.counters import Counters
from monitor.daemon.database_alert import DatabaseNotice
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.watchdog import DatabaseOutage
from monitor.errors import ListenError
from monitor.store.leader_lock import LeaderLock
from monitor.web import serving

log = logging.getLogger(__name__)


class Outside:
    """`counters` and `heart` are a term's to use, `notice` is run beside it."""

    def __init__(
        self,
        settings: Settings,
        hold: LeaderLock,
        outage: DatabaseOutage,
        *,
        patience: Callable[[], timedelta],
        hanging: Callable[[], str | None],
        clock: Callable[[], datetime],
    ) -> None:
        """`patience`: how long the database may be away until the channels are told; `hanging`: what hangs, if any."""
        self.counters = Counters()
        self.heart = Heartbeat(settings.heartbeat_url())
        self.notice = DatabaseNotice(
            _channel_urls(settings), trouble=outage.now, patience=patience, timezone=settings.timezone, clock=clock
        )
        self._settings = settings
        self._hold = hold
        self._hanging = hanging
        self._clock = clock
        self._serving = AsyncExitStack()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Answer over HTTP meanwhile, where that is switched on; `ListenError` when it cannot be."""
        try:
            async with self._serving:
                await self._serve()
                yield
        finally:
            await self.heart.stop()

    async def take(self, settings: Settings) -> None:
        """Go on with other settings; an address that cannot be had is no reason to stop watching."""
        self._settings = settings
        await self.heart.call_instead(settings.heartbeat_url())
        self.notice.tell_instead(_channel_urls(settings), timezone=settings.timezone)
        await self._serving.aclose()
        try:
            await self._serve()
        except ListenError as error:
            log.error("nothing is served: %s", error)  # noqa: TRY400 -- it is one line

    async def _serve(self) -> None:
        served = serving(
            self._settings,
            self.counters,
            clock=self._clock,
            leading=lambda: self._hold.leads,
            hanging=self._hanging,
        )
        await self._serving.enter_async_context(served)


def _channel_urls(settings: Settings) -> dict[str, str]:
    return {name: settings.channel_url(name) for name in settings.channels}

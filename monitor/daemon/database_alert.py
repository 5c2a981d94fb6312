"""Tells the channels that the database is away, and that it is back: the one message that the outbox cannot keep.

Goes to every channel, whatever its minimum severity, from memory: tried once a minute until it is taken or no longer
true, and lost with the process.  Refuses to decide anything else.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from monitor import channels
from monitor.message import database_away, database_back
from monitor.model import Message, Severity

ALERT_AFTER: Final = timedelta(minutes=5)  # that the database has been away
AGAIN: Final = timedelta(minutes=1)  # until a channel that did not take it is tried again

log = logging.getLogger(__name__)

Trouble = tuple[datetime, str]  # since when, and the cause


class DatabaseAlert:
    """Looks at `trouble` (None: there is none) now and then, and tells when it has lasted for longer than allowed."""

    def __init__(
        self,
        urls: Mapping[str, str],
        *,
        trouble: Callable[[], Trouble | None],
        alert_after: Callable[[], timedelta],
        timezone: ZoneInfo,
        clock: Callable[[], datetime],
    ) -> None:
        self._urls = urls
        self._trouble = trouble
        self._alert_after = alert_after
        self._timezone = timezone
        self._clock = clock
        self._id = ""
        self._since: datetime | None = None
        self._told: set[str] = set()
        self._back_at: datetime | None = None  # that it is over is still to be told to some
        self._refused: dict[str, str] = {}  # channel → what was logged of it
        self._tried_at: datetime | None = None

    def use(self, urls: Mapping[str, str], *, timezone: ZoneInfo) -> None:
        """Other channels than before; one that has been told, and is still there, is not told again."""
        self._urls, self._timezone = urls, timezone

    async def run(self, *, every: timedelta = timedelta(seconds=5)) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(every.total_seconds())
            if loop.time() - began > 3 * every.total_seconds():
                continue  # this process was stopped: what it knows of the database is old
            try:
                await self.look()
            except Exception:
                log.exception("the channels could not be told of the database")

    async def look(self) -> None:
        """Tell what is to be told now."""
        now, trouble = self._clock(), self._trouble()
        if trouble is None:
            await self._tell_end(now)
            return
        since, cause = trouble
        if self._back_at:  # away again: another outage
            self._forget()
        if now - since < self._alert_after() or self._is_just_tried(now):
            return
        self._since = self._since or since
        self._id = self._id or secrets.token_hex(8)
        self._tried_at = now
        message = database_away(
            host=socket.gethostname(), since=self._since, at=now, cause=cause, id=self._id, timezone=self._timezone
        )
        waiting = [name for name in self._urls if name not in self._told]
        self._told |= await self._send(waiting, message, over=False)

    async def _tell_end(self, now: datetime) -> None:
        """Whoever heard of it hears that it is over, once."""
        if self._since is None:
            return
        if self._back_at is None:
            self._back_at, self._tried_at = now, None
            self._refused.clear()
        if self._is_just_tried(now):
            return
        self._tried_at = now
        message = database_back(
            host=socket.gethostname(), since=self._since, at=self._back_at, id=self._id, timezone=self._timezone
        )
        self._told &= set(self._urls)
        self._told -= await self._send(list(self._told), message, over=True)
        if not self._told:
            self._forget()

    def _is_just_tried(self, now: datetime) -> bool:
        return self._tried_at is not None and timedelta(0) <= now - self._tried_at < AGAIN

    def _forget(self) -> None:
        self._since, self._back_at, self._tried_at, self._told, self._id = None, None, None, set(), ""
        self._refused.clear()

    async def _send(self, names: list[str], message: Message, *, over: bool) -> set[str]:
        """The channels that took it."""

        async def send(name: str) -> bool:
            outgoing = [channels.Outgoing(0, message, Severity.CRITICAL, resolved=over)]
            async with aclosing(channels.send(name, self._urls[name], outgoing)) as attempts:
                async for attempt in attempts:
                    if attempt.error is not None and self._refused.get(name) != attempt.error:
                        self._refused[name] = attempt.error  # once, and not once a minute
                        log.warning("%s: the notice about the database: %s", name, attempt.error)
                    return attempt.error is None
            return False

        taken = await asyncio.gather(*map(send, names))
        return {name for name, ok in zip(names, taken, strict=True) if ok}

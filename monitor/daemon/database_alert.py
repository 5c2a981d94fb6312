"""Tells the channels that the database is away, and that it is back: the message that the outbox cannot store.

It goes to every channel, whatever its minimum severity, from memory: tried once a minute until it is delivered or no
longer true, and lost with the process.
"""

import asyncio
import logging
import secrets
import socket
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

from monitor import channels
from monitor.config import Settings
from monitor.daemon.state import ProcessState
from monitor.message import database_away, database_back
from monitor.model import Message, Severity

LOOK_EVERY: Final = timedelta(seconds=5)
RETRY_AFTER: Final = timedelta(minutes=1)  # until a channel that did not take it is tried again

log = logging.getLogger(__name__)


class DatabaseAlert:
    """Sends the alert when the database has been away for longer than `ProcessState.alert_after`, and its end."""

    def __init__(self, state: ProcessState) -> None:
        self._state = state
        self.use(state.settings)
        self._id = ""
        self._since: datetime | None = None
        self._told: set[str] = set()
        self._back_at: datetime | None = None  # set while some channels are still to be told of the end
        self._refused: dict[str, str] = {}  # channel → what was logged of it
        self._tried_at: datetime | None = None

    def use(self, settings: Settings) -> None:
        """Use the channels of other settings; one that has been told, and is still there, is not told again."""
        self._urls = {name: settings.channel_url(name) for name in settings.channels}
        self._timezone = settings.timezone

    async def run(self, *, every: timedelta = LOOK_EVERY) -> None:
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
        """Send what is due now."""
        now, trouble = self._state.clock(), self._state.database_trouble()
        if trouble is None:
            await self._tell_end(now)
            return
        since, cause = trouble
        if self._back_at:  # away again: another outage
            self._forget()
        if now - since < self._state.alert_after or self._is_just_tried(now):
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
        """Tell the channels that were told of the outage that it is over, once."""
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
        return self._tried_at is not None and timedelta(0) <= now - self._tried_at < RETRY_AFTER

    def _forget(self) -> None:
        self._since, self._back_at, self._tried_at, self._told, self._id = None, None, None, set(), ""
        self._refused.clear()

    def _key(self) -> str:
        """Return the key of this host's outage at on-call services: a restart goes on with the same one."""
        return channels.incident_key(self._state.installation, f"database.{socket.gethostname()}")

    async def _send(self, names: list[str], message: Message, *, over: bool) -> set[str]:
        """Return the channels that took it."""

        async def send(name: str) -> bool:
            outgoing = [channels.Outgoing(0, message, Severity.CRITICAL, resolved=over, key=self._key())]
            sending = channels.send(name, self._urls[name], outgoing, template=self._state.template)
            async with aclosing(sending) as attempts:
                async for attempt in attempts:
                    if attempt.error is not None and self._refused.get(name) != attempt.error:
                        self._refused[name] = attempt.error  # once, and not once a minute
                        log.warning("%s: the notice about the database: %s", name, attempt.error)
                    return attempt.error is None
            return False

        taken = await asyncio.gather(*map(send, names))
        return {name for name, ok in zip(names, taken, strict=True) if ok}

"""A dead man's switch: tells somebody else after each poll that we live, so that they notice when we do not.

Refuses to hold up a poll, to call more often than once a minute, and to repeat the address, which is a secret.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from monitor.providers import ping

PAUSE: Final = 60.0  # seconds from one call to the next
TRIES: Final = 3  # of what was not taken, when no new poll comes
LONGEST_WORDS: Final = 200

log = logging.getLogger(__name__)


def address(url: str, *, problem: str | None, seconds: float) -> str:
    """Where to call: Uptime Kuma's push is told in the query, everything else as Healthchecks is, by `/fail`."""
    parts = urlsplit(url)
    if "/api/push/" in parts.path:
        kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in {"status", "msg", "ping"}]
        said = [("status", "down" if problem else "up"), ("msg", (problem or "OK")[:LONGEST_WORDS])]
        return parts._replace(query=urlencode([*kept, *said, ("ping", str(round(seconds * 1000)))])).geturl()
    if problem is None:
        return url
    return parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl()


@dataclass(slots=True)
class Heartbeat:
    """Calls `url` after polls; without one does nothing.  `call` gives what went wrong."""

    url: str | None = field(repr=False)
    call: Callable[[str], Awaitable[str | None]] = ping
    pause: float = PAUSE
    _problems: dict[str, str | None] = field(default_factory=dict)
    _seconds: float = 0.0
    _failures: int = 0  # in a row
    _tries: int = 0  # of what is due
    _due: bool = False
    _called_at: float | None = None
    _calling: asyncio.Task[None] | None = None

    def poll_ended(self, account: str, problem: str | None, *, seconds: float = 0.0) -> None:
        """An account's poll is over, and was of use or was not; returns at once."""
        self._problems[account] = problem
        self._seconds = seconds
        self._due, self._tries = self.url is not None, 0
        self._call_soon()

    def keep(self, accounts: Collection[str]) -> None:
        """Forget what was wrong with others, which nobody polls any more."""
        self._problems = {name: problem for name, problem in self._problems.items() if name in accounts}

    async def call_instead(self, url: str | None) -> None:
        """Call there from now on, and no more where it was, with what was still to be told."""
        if url == self.url:
            return
        self._due = url is not None and self._calling is not None and not self._calling.done()
        await self.stop()
        self.url, self._called_at, self._failures, self._tries = url, None, 0, 0
        self._call_soon()

    async def stop(self) -> None:
        """Call no more."""
        if self._calling:
            self._calling.cancel()
            await asyncio.gather(self._calling, return_exceptions=True)

    def _call_soon(self) -> None:
        if self.url and self._due and (self._calling is None or self._calling.done()):
            self._calling = asyncio.get_running_loop().create_task(self._call_when_due(self.url), name="heartbeat")

    async def _call_when_due(self, url: str) -> None:
        now = asyncio.get_running_loop().time
        while self._due:
            if self._called_at is not None:
                await asyncio.sleep(max(self._called_at + self.pause - now(), 0))
            self._due, self._called_at = False, now()
            trouble = await self.call(address(url, problem=self._problem(), seconds=self._seconds))
            self._keep_at_it(trouble)

    def _keep_at_it(self, trouble: str | None) -> None:
        """Say once that it does not work, and once that it works again; try again a few times."""
        if trouble is None:
            if self._failures:
                log.info("heartbeat: taken again")
            self._failures = 0
            return
        if not self._failures:
            log.warning("heartbeat: %s", trouble)
        self._failures += 1
        self._tries += 1
        self._due = self._due or self._tries < TRIES

    def _problem(self) -> str | None:
        """What is wrong with the last polls; one account that cannot be polled is not hidden by others that can."""
        wrong = [f"{name}: {problem}" for name, problem in self._problems.items() if problem]
        return "; ".join(wrong) or None

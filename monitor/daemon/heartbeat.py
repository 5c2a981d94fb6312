"""A dead man's switch: calls a monitoring service after each poll, which alerts people when the calls stop.

It delays no poll, calls once a minute at most, and logs nothing of the address, which is a secret.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from monitor.providers.http import ping

INTERVAL: Final = 60.0  # seconds from one call to the next
ATTEMPTS: Final = 3  # of a call that failed, until the next poll ends
MESSAGE_LIMIT: Final = 200  # characters of a problem

log = logging.getLogger(__name__)


def address(url: str, *, problem: str | None, seconds: float) -> str:
    """Return the URL to call: Uptime Kuma takes the outcome in the query, Healthchecks and others as `/fail`."""
    parts = urlsplit(url)
    if "/api/push/" in parts.path:
        unchanged = [(name, value) for name, value in parse_qsl(parts.query) if name not in {"status", "msg", "ping"}]
        outcome = [("status", "down" if problem else "up"), ("msg", (problem or "OK")[:MESSAGE_LIMIT])]
        return parts._replace(query=urlencode([*unchanged, *outcome, ("ping", str(round(seconds * 1000)))])).geturl()
    if problem is None:
        return url
    return parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl()


@dataclass(slots=True)
class Heartbeat:
    """Calls `url` after polls, or does nothing without one; `call` returns why a call failed."""

    url: str | None = field(repr=False)
    call: Callable[[str], Awaitable[str | None]] = ping
    interval: float = INTERVAL
    _problems: dict[str, str | None] = field(default_factory=dict)
    _seconds: float = 0.0
    _failures: int = 0  # in a row
    _attempts: int = 0  # of the call that is due
    _due: bool = False
    _called_at: float | None = None
    _calling: asyncio.Task[None] | None = None

    def poll_ended(self, account: str, problem: str | None, *, seconds: float = 0.0) -> None:
        """Call soon, because an account's poll has ended, with a problem or without; returns at once."""
        self._problems[account] = problem
        self._seconds = seconds
        self._due, self._attempts = self.url is not None, 0
        self._call_soon()

    def keep(self, accounts: Collection[str]) -> None:
        """Forget the problems of other accounts, which are no longer polled."""
        self._problems = {name: problem for name, problem in self._problems.items() if name in accounts}

    async def call_instead(self, url: str | None) -> None:
        """Call another URL from now on, also with a call that is still due."""
        if url == self.url:
            return
        self._due = url is not None and self._calling is not None and not self._calling.done()
        await self.stop()
        self.url, self._called_at, self._failures, self._attempts = url, None, 0, 0
        self._call_soon()

    async def stop(self) -> None:
        """Cancel a call that is due or under way."""
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
                await asyncio.sleep(max(self._called_at + self.interval - now(), 0))
            self._due, self._called_at = False, now()
            error = await self.call(address(url, problem=self._problem(), seconds=self._seconds))
            self._note(error)

    def _note(self, error: str | None) -> None:
        """Log the first failure and the first success after it; make a failed call due again a few times."""
        if error is None:
            if self._failures:
                log.info("heartbeat: taken again")
            self._failures = 0
            return
        if not self._failures:
            log.warning("heartbeat: %s", error)
        self._failures += 1
        self._attempts += 1
        self._due = self._due or self._attempts < ATTEMPTS

    def _problem(self) -> str | None:
        """Return the problems of the last poll of every account; None without any."""
        problems = [f"{name}: {problem}" for name, problem in self._problems.items() if problem]
        return "; ".join(problems) or None

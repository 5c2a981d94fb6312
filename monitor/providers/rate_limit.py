"""Keeps one API key within a rate: spaces its requests evenly, and holds them all after the vendor asked to wait.

Accounts with the same key at the same address share a pace.  Refuses to send, retry or know HTTP.
"""

import asyncio
import hashlib
import math
from weakref import WeakValueDictionary

from monitor.errors import RateLimited
from monitor.model import RateLimit

_SLACK = 1.02  # requests that leave evenly do not arrive quite evenly


class Pace:
    """The spacing and the pause of one key."""

    def __init__(self) -> None:
        self._interval = 0.0
        self._next_at = 0.0
        self._paused_until = -math.inf
        self._queue = asyncio.Lock()  # first come, first served

    def slow_to(self, rate_limit: RateLimit | None) -> None:
        """Keep this limit as well as the ones before."""
        if rate_limit is not None:
            interval = rate_limit.per.total_seconds() / rate_limit.requests * _SLACK
            self._interval = max(self._interval, interval)

    async def turn(self) -> None:
        """Return when a request may leave; `RateLimited` at once while the key is paused."""
        self._refuse_while_paused()
        if not self._interval:
            return
        loop = asyncio.get_running_loop()
        async with self._queue:
            self._refuse_while_paused()
            await asyncio.sleep(self._next_at - loop.time())
            self._refuse_while_paused()
            self._next_at = loop.time() + self._interval

    def pause(self, seconds: float) -> None:
        """Hold every request of this key; a longer pause stands."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _refuse_while_paused(self) -> None:
        remaining = self._paused_until - asyncio.get_running_loop().time()
        if remaining > 0:
            message = f"waiting for another {math.ceil(remaining)} s, as the vendor's rate limit was reached"
            raise RateLimited(message, retry_after=remaining)


_paces: WeakValueDictionary[bytes, Pace] = WeakValueDictionary()


def shared_pace(base_url: str, api_key: str, *, rate_limit: RateLimit | None) -> Pace:
    """The pace of a key, shared by everyone who uses it; the slowest of their limits counts."""
    name = hashlib.sha256(f"{base_url}\n{api_key}".encode()).digest()
    pace = _paces.setdefault(name, Pace())
    pace.slow_to(rate_limit)
    return pace

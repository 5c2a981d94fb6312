"""The rate limit of an API key: requests are spaced evenly, and all wait after the vendor asked for it.

Accounts with the same key at the same address share a limiter.
"""

import asyncio
import hashlib
import math
from weakref import WeakValueDictionary

from monitor.errors import RateLimited
from monitor.model import RateLimit

_SLACK = 1.02  # requests that leave evenly do not arrive quite evenly


class RateLimiter:
    """Spacing and backoff of one key."""

    def __init__(self) -> None:
        self._interval = 0.0
        self._next_at = 0.0
        self._paused_until = -math.inf
        self._queue = asyncio.Lock()  # first come, first served

    def limit_to(self, rate_limit: RateLimit | None) -> None:
        """Apply this limit in addition to earlier ones: the slowest counts."""
        if rate_limit is not None:
            interval = rate_limit.per.total_seconds() / rate_limit.requests * _SLACK
            self._interval = max(self._interval, interval)

    async def turn(self) -> None:
        """Return when a request may be sent; raise `RateLimited` at once while the key is paused."""
        self._raise_while_paused()
        if not self._interval:
            return
        loop = asyncio.get_running_loop()
        async with self._queue:
            self._raise_while_paused()
            await asyncio.sleep(self._next_at - loop.time())
            self._raise_while_paused()
            self._next_at = loop.time() + self._interval

    def pause(self, seconds: float) -> None:
        """Refuse every request of this key for so many seconds; a longer pause is kept."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _raise_while_paused(self) -> None:
        remaining = self._paused_until - asyncio.get_running_loop().time()
        if remaining > 0:
            message = f"waiting for another {math.ceil(remaining)} s, as the vendor's rate limit was reached"
            raise RateLimited(message, retry_after=remaining)


_limiters: WeakValueDictionary[bytes, RateLimiter] = WeakValueDictionary()


def shared_limiter(base_url: str, api_key: str, *, rate_limit: RateLimit | None) -> RateLimiter:
    """Return the limiter of a key, shared by all its accounts; the slowest of their limits counts."""
    name = hashlib.sha256(f"{base_url}\n{api_key}".encode()).digest()
    limiter = _limiters.setdefault(name, RateLimiter())
    limiter.limit_to(rate_limit)
    return limiter

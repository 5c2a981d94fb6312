"""Waiting for conditions, all with one time-out: so long that only what never happens reaches it."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

LONG: Final = 90.0  # seconds
STOP: Final = 30.0  # seconds for a stop that promises eight: a busy machine may need so many, one that hangs needs more
PAUSE: Final = 0.02
MOST_PATIENCE: Final = 8.0

Condition = Callable[[], object | Awaitable[object]]


def nothing_more() -> str:
    return ""


def patience() -> float:
    """How many times longer anything may take: as often as this machine has more to do than it has processors."""
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), MOST_PATIENCE)


async def until(condition: Condition, *, within: float = LONG, why: Callable[[], str] = nothing_more) -> float:
    """Wait until a condition holds, which may be awaitable; return how many seconds that took.

    `AssertionError` after `within` seconds, with what `why` says then.
    """
    began = time.monotonic()
    while True:
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return time.monotonic() - began
        assert time.monotonic() - began < within, f"it did not happen within {within:g} s\n{why()}"
        await asyncio.sleep(PAUSE)


def wait_until(condition: Callable[[], object], *, within: float = LONG) -> float:
    """The same without an event loop."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, f"it did not happen within {within:g} s"
        time.sleep(PAUSE)
    return time.monotonic() - began

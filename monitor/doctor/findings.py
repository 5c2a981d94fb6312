"""What a look found, and how to look without waiting for ever.

Refuses to know what is looked at.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from monitor.errors import MonitorError

T = TypeVar("T")
PATIENCE: Final = 40.0  # seconds for one look
REPORT: Final = "please report this as a fault of credit-monitor"


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    state: State
    what: str
    found: str
    todo: str | None = None


def ok(what: str, found: str) -> Finding:
    return Finding(State.OK, what, found)


def warning(what: str, found: str, todo: str) -> Finding:
    return Finding(State.WARNING, what, found, todo)


def problem(what: str, found: str, todo: str) -> Finding:
    return Finding(State.PROBLEM, what, found, todo)


async def look(
    what: str, looking: Awaitable[list[Finding]], *, hint: str = REPORT, within: float = PATIENCE
) -> list[Finding]:
    """What a look finds within so many seconds; whatever goes wrong in it is a finding, too."""
    try:
        async with asyncio.timeout(within):
            return await looking
    except TimeoutError:
        return [problem(what, f"no answer within {within:g} s", hint)]
    except MonitorError as error:
        return [problem(what, str(error), hint)]
    except Exception as error:  # noqa: BLE001 -- the other looks go on; its text may hold anything
        return [problem(what, f"could not be looked at ({type(error).__name__})", REPORT)]


async def apart(looking: Callable[[], T]) -> T:
    """The result of something that may block, from a thread that nobody waits for when it hangs."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        if not result.done():
            set_it()

    def run() -> None:
        try:
            found = looking()
        except Exception as error:  # noqa: BLE001 -- raised where it is awaited
            failure = error
            _tell(loop, lambda: settle(lambda: result.set_exception(failure)))
        else:
            _tell(loop, lambda: settle(lambda: result.set_result(found)))

    threading.Thread(target=run, daemon=True).start()
    return await result


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(call)

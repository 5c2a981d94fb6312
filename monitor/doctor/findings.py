"""Findings, and how to look at something with a time limit and outside the event loop."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from monitor.errors import MonitorError

T = TypeVar("T")
LOOK_TIMEOUT: Final = 40.0  # seconds
REPORT: Final = "please report this as a fault of credit-monitor"


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: what was looked at, its state, and what to do about it."""

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
    what: str, looking: Awaitable[list[Finding]], *, hint: str = REPORT, within: float = LOOK_TIMEOUT
) -> list[Finding]:
    """Return the findings of a look; an error in it, or no result `within` so many seconds, is a finding, too."""
    try:
        async with asyncio.timeout(within):
            return await looking
    except TimeoutError:
        return [problem(what, f"no answer within {within:g} s", hint)]
    except MonitorError as error:
        return [problem(what, str(error), hint)]
    except Exception as error:  # noqa: BLE001 -- the other looks go on; its text may hold anything
        return [problem(what, f"could not be looked at ({type(error).__name__})", REPORT)]

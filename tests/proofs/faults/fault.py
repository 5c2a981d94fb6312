"""A fault: how it is brought about and taken away, and what must be seen of it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from tests.proofs.faults.world import Options, World

BOTH = ("sqlite", "postgresql")


class Cannot(Exception):
    """This fault cannot be brought about here; says why."""


@dataclass(frozen=True)
class Fault:
    """`inflict` is entered at the beginning and left at the end; `cause` is what a line of the log must match."""

    name: str
    inflict: Callable[[World], AbstractAsyncContextManager[None]]
    cause: str = ""  # a regular expression; empty: nothing needs to be said
    lasts: float = 4.0  # seconds
    within: float = 25.0  # seconds from its end to the next balance recorded
    settles: float = 150.0  # seconds until the outbox is empty
    options: Options = field(default_factory=Options)
    databases: tuple[str, ...] = ("sqlite",)
    combines: bool = True  # with others, at the same time
    quick: bool = False  # part of the short form
    lines: int = 12  # warnings and worse that it may cost
    repeats: int = 5  # the very same line
    ends: frozenset[int] = frozenset()  # exit codes with which the daemon may end, to be started again
    growth: float = 10.0  # MiB that may stay
    waits_for: str = ""  # what has to be built before this can hold

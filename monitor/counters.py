"""What the daemon counts from its start on, for the metrics.

Only the event loop's thread uses it; another thread is given a copy.
"""

from bisect import bisect_left
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, Self

from monitor.model import Failure, Outcome

FETCHED: Final = "success"  # the outcome of a check that returned a balance; the others are kinds of failure
BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)  # seconds


@dataclass(slots=True)
class Durations:
    """A histogram: how many durations were up to each of `BOUNDS` (and longer), and their total in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Counters:
    """All counters; what is not in them has not happened yet."""

    checks: Counter[tuple[str, str]] = field(default_factory=Counter)  # by account and outcome
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)  # by channel and outcome of an attempt
    polls: dict[str, Durations] = field(default_factory=dict)  # completed ones, by account
    held: int = 0  # results that the database did not take yet ...
    set_aside: int = 0  # ... of these, results that it does not take while it takes others
    dropped: int = 0  # results that were more than can be held

    def checked(self, account: str, outcome: Outcome) -> None:
        """Count a check that ended."""
        self.checks[account, outcome.kind.value if isinstance(outcome, Failure) else FETCHED] += 1

    def polled(self, account: str, seconds: float) -> None:
        """Count a poll that is complete."""
        self.polls.setdefault(account, Durations()).add(seconds)

    def attempted(self, channel: str, outcome: str) -> None:
        """Count an attempt to deliver one notification."""
        self.deliveries[channel, outcome] += 1

    def copy(self) -> Self:
        """Return a copy that does not change any more."""
        return deepcopy(self)

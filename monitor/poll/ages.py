"""How long nothing is known of each organization, on a clock that counts only the time in which this process ran.

Time in which the machine slept or the process was stopped counts for nobody, and a clock that is set right neither.
"""

import math
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from monitor.model import Age
from monitor.store.organizations import LastKnown

WOKEN: Final = 10.0  # seconds after a stop in which what looks late may only not have had its turn yet
_APART: Final = 1e-6  # seconds between those that were checked before this process began


class RunningClock:
    """Seconds in which this process ran; safe to use from any thread.

    Whoever relies on it calls `now` more often than every `longest_turn` seconds: what passes between two calls beyond
    that is time in which the process was stopped.
    """

    def __init__(self, longest_turn: float = math.inf) -> None:
        self._longest_turn = longest_turn
        self._lock = threading.Lock()
        self._seen = time.monotonic()
        self._ran = 0.0
        self._stops = 0
        self._woken_at = -math.inf

    def now(self) -> float:
        """Return the seconds in which this process ran, until now."""
        with self._lock:
            seen = time.monotonic()
            passed, self._seen = seen - self._seen, seen
            if passed <= self._longest_turn:
                self._ran += passed
            else:
                self._stops += 1
                self._woken_at = self._ran
            return self._ran

    @property
    def stops(self) -> int:
        """How often this process was stopped, and went on."""
        self.now()
        return self._stops

    @property
    def just_woke(self) -> bool:
        """Whether this process went on only a moment ago."""
        return self.now() - self._woken_at < WOKEN


class Ages:
    """When each organization was asked for last, and gave its last balance; lives as long as the process."""

    def __init__(self, clock: RunningClock | None = None) -> None:
        self.clock = clock or RunningClock()
        self.slow: set[str] = set()  # accounts whose polls do not fit their interval, as was said
        self._known: dict[int, tuple[datetime, float]] = {}  # last snapshot or first failure, by both clocks
        self._asked: dict[int, float] = {}  # when the last check ended
        self._judged: dict[int, float] = {}  # when it was judged that nobody asked

    def load(self, rows: Iterable[LastKnown], *, at: datetime) -> None:
        """Take what the database knows: another process may have asked, and one before this one has."""
        now = self.clock.now()
        ordered = sorted(rows, key=lambda row: (row.checked_at is not None, row.checked_at or at))
        for rank, row in enumerate(ordered):
            known = self._known.get(row.id)
            if row.since is not None and (known is None or known[0] < row.since):
                self._known[row.id] = (row.since, now - max((at - row.since).total_seconds(), 0.0))
            # Nobody is late because this process did not run: the oldest comes first, and no more.
            self._asked.setdefault(row.id, now - (len(ordered) - rank) * _APART)

    def forget(self) -> None:
        """Another process polls from now on: what this one did not ask for is not late."""
        self._asked.clear()
        self._judged.clear()

    def answered(self, organization_id: int, taken_at: datetime) -> None:
        """Keep that an organization gave a balance just now."""
        now = self.clock.now()
        self._known[organization_id] = (taken_at, now)
        self._asked[organization_id] = now
        self._judged.pop(organization_id, None)

    def failed(self, organization_id: int, at: datetime) -> Age:
        """Keep that an organization gave none just now; return for how long it has given none."""
        now = self.clock.now()
        since, began = self._known.setdefault(organization_id, (at, now))
        self._asked[organization_id] = now
        self._judged.pop(organization_id, None)
        return Age(since, timedelta(seconds=now - began))

    def asked(self, organization_id: int) -> float:
        """Return when an organization was asked for last; those that never were come first."""
        return self._asked.get(organization_id, -math.inf)

    def is_unasked(self, organization_id: int, limit: timedelta) -> bool:
        """Return whether nobody asked for an organization within `limit`; once in so long."""
        now = self.clock.now()
        last = max(self._asked.setdefault(organization_id, now), self._judged.get(organization_id, -math.inf))
        if now - last <= limit.total_seconds():
            return False
        self._judged[organization_id] = now
        return True

"""The use of one organization, folded from its snapshots one by one into days and hours.

Refuses to keep snapshots: whatever the interval of the polls, it holds 28 days and 24 hours of the day.  A rise of the
balance ends a segment, what was used beneath it stays unknown; a single fall far beyond the usual use is set aside.
"""

import json
import math
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Final, Self

from monitor.forecast.rhythm import DAY, Day, Rhythm, Runway, even, learn, resettled
from monitor.model import Snapshot

MEMORY: Final = 28  # days of use that are kept
FEW: Final = 3  # days; with fewer, use is taken as even
ENOUGH: Final = 24.0  # hours of known use before anything is forecast
GAP: Final = 6.0  # hours; longer between two snapshots says how much was used, but not when
HOUR_PRIOR: Final = 3.0  # days: how much proof an hour needs to differ from the others
FADE: Final = math.exp(-1 / 20)  # of the hours of a day, from day to day
FULL: Final = 0.99  # of an hour
HALF: Final = 0.5  # of a day's use; with less of it seen the day is unknown
ONE_OFF: Final = 1.0  # usual days in one fall ...
ONE_OFF_HOURS: Final = 8.0  # ... and another one for so many hours between the snapshots
OFTEN: Final = 3  # falls set aside within the memory are no longer one-off


@dataclass(frozen=True, slots=True)
class Unknown:
    """Too little history: so much more use has to be seen."""

    missing: timedelta


class Usage:
    """What is known of one organization's use: `add` every snapshot in order of arrival, ask `runway` at any time."""

    def __init__(self) -> None:
        self._at = -math.inf  # of the last snapshot, in hours since 1970
        self._credits = 0.0
        self._day = 0  # the day that `_used` and `_seen` are of, hour by hour
        self._used = [0.0] * DAY
        self._seen = [0.0] * DAY
        self._fine = True  # no use of the day was spread across a gap
        self._days: list[Day] = []  # before `_day`, the last one last
        self._hours = [0.0] * DAY  # by hour of the day: its use on past days, and ...
        self._times = [0.0] * DAY  # ... on how many it was seen
        self._spent = 0.0  # credits, within ...
        self._watched = 0.0  # ... so many hours: both over all history
        self._over = 0  # falls in a row that were beyond the usual
        self._drops: list[tuple[int, float]] = []  # falls set aside: day, credits
        self._rhythm: Rhythm | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Count what was used since the snapshot before."""
        at, credits = snapshot.taken_at.timestamp() / 3600, float(snapshot.credits)
        before, used = self._at, self._credits - credits
        self._at, self._credits = at, credits
        if not self._day or at - before > MEMORY * DAY:
            self._begin(int(at // DAY))
        elif at <= before:
            self._step_back(int(at // DAY), max(used, 0.0))
        elif used >= 0:
            self._count(before, at, used)
        self._turn_to(int(at // DAY))

    def runway(self) -> Runway | Unknown:
        """From the last snapshot added until the credits are used up."""
        if self._watched < ENOUGH:
            return Unknown(timedelta(hours=ENOUGH - self._watched))
        return (self._learned() or even(self._pace(), self._watched / DAY)).runway(self._at, self._credits)

    def _pace(self) -> float:
        return self._spent / self._watched * DAY

    def _learned(self) -> Rhythm | None:
        if self._rhythm is None and sum(day.used is not None for day in self._days) >= FEW:
            self._rhythm = learn(self._day, self._days, self._shares(), often=self._often())
        return self._rhythm

    def _begin(self, day: int) -> None:
        """Nothing is known; or what is known is too old."""
        fresh = Usage()
        fresh._at, fresh._credits, fresh._day = self._at, self._credits, day
        self.__dict__.update(fresh.__dict__)

    def _step_back(self, day: int, used: float) -> None:
        """The clock did not move on: the use counts, the time does not."""
        self._used[int(self._at) % DAY] += used
        if day < self._day - 1:
            self._day, self._rhythm = day, None

    def _count(self, start: float, end: float, used: float) -> None:
        if used > self._limit(end - start):
            self._over += 1
            if self._over == 1:
                self._drops.append((self._day, used))
                return
            if self._over == 2:
                used += self._drops.pop()[1]
        else:
            self._over = 0
        self._spread(start, end, used)

    def _limit(self, hours: float) -> float:
        """The most that one fall over so many hours may be without being set aside."""
        rhythm = self._learned()
        usual = rhythm.usual if rhythm else self._pace() if self._watched >= ENOUGH else 0.0
        return usual * (ONE_OFF + hours / ONE_OFF_HOURS) if usual > 0 else math.inf

    def _spread(self, start: float, end: float, used: float) -> None:
        rate = used / (end - start)
        fine = end - start <= GAP
        self._spent += used
        self._watched += end - start
        while start < end:
            self._turn_to(int(start // DAY))
            until = min(int(start) + 1.0, end)
            hour = int(start) % DAY
            self._used[hour] += rate * (until - start)
            self._seen[hour] += until - start
            self._fine &= fine
            start = until

    def _turn_to(self, day: int) -> None:
        while self._day < day:
            self._close()

    def _close(self) -> None:
        """The day is over: keep its use, and where in the day it was."""
        rhythm, shares = self._learned(), self._shares()
        seen = sum(min(seen, 1.0) * share for seen, share in zip(self._seen, shares, strict=True))
        self._days.append(Day(sum(self._used) / seen if seen >= HALF else None, self._fine))
        most = rhythm.usual / 4 if rhythm and rhythm.usual > 0 else math.inf
        for hour, seen in enumerate(self._seen):
            if self._fine and seen >= FULL:
                self._hours[hour] = self._hours[hour] * FADE + min(self._used[hour], most)
                self._times[hour] = self._times[hour] * FADE + 1
        self._day += 1
        self._used, self._seen, self._fine, self._rhythm = [0.0] * DAY, [0.0] * DAY, True, None
        self._days = resettled(self._day, self._days[-MEMORY:])
        self._drops = [drop for drop in self._drops if drop[0] >= self._day - MEMORY]

    def _shares(self) -> list[float]:
        """Each hour's part of a day's use; an even one until it has been seen on some days."""
        known = [used / times for used, times in zip(self._hours, self._times, strict=True) if times]
        mean = fmean(known) if known else 0.0
        if mean <= 0:
            return [1 / DAY] * DAY
        shares = [
            (used / mean + HOUR_PRIOR) / (times + HOUR_PRIOR)
            for used, times in zip(self._hours, self._times, strict=True)
        ]
        total = sum(shares)
        return [share / total for share in shares]

    def _often(self) -> float:
        """Credits a day of falls that were set aside, but come again and again."""
        return sum(used for _, used in self._drops) / len(self._days) if len(self._drops) >= OFTEN else 0.0

    def dump(self) -> str:
        """All of it, for `load`; at most some kilobytes."""
        return json.dumps({name: value for name, value in self.__dict__.items() if name != "_rhythm"})

    @classmethod
    def load(cls, text: str) -> Self:
        """What `dump` wrote: goes on as if it had never stopped."""
        usage = cls()
        usage.__dict__.update(json.loads(text))
        usage._days = [Day(*day) for day in usage._days]
        return usage

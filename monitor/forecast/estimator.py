"""The use of one organization, folded from its snapshots one by one into days and hours.

Its size does not depend on the interval of the polls: 28 days, and the 24 hours of a day.  What was used beneath a
rise of the balance stays unknown; a single fall far beyond the usual is set aside as an outlier.
"""

import json
import math
from datetime import timedelta
from statistics import fmean
from typing import Final, Self

from monitor.forecast.rhythm import DAY, Day, Rhythm, even_rhythm, learn, rescale_after_shift
from monitor.forecast.runway import runway_of
from monitor.model import Runway, Snapshot, Unknown

MEMORY: Final = 28  # days of use that are kept
MIN_HOURS: Final = 24.0  # hours of known use before anything is forecast
MIN_DAYS: Final = 3  # days; with fewer, use is taken as even
GAP: Final = 6.0  # hours; after a longer one between two snapshots it is known how much was used, but not when
HOUR_SEEN: Final = 0.99  # of an hour: with less of it seen, it is not counted
DAY_SEEN: Final = 0.5  # of a day's use; with less of it seen, the day is unknown
FADE: Final = math.exp(-1 / 20)  # of the hours, from day to day
HOUR_PRIOR: Final = 1.0  # days of evidence that an hour needs to differ from the others
ONE_OFF: Final = 1.0  # usual days in one fall are beyond the usual ...
ONE_OFF_HOURS: Final = 8.0  # ... and another one for so many hours between the snapshots
REPEATED: Final = 2  # such falls in a row are use
RECURRING: Final = 3  # and so are such falls within the memory


class Estimator:
    """What is known of one organization's use: `add` every snapshot in order of arrival, ask `runway` at any time.

    `dump` stores the attributes under their names: one that is renamed makes stored states unreadable.
    """

    def __init__(self) -> None:
        self._start_over(-math.inf, 0.0)

    def _start_over(self, at: float, balance: float) -> None:
        self._at = at  # of the last snapshot, in hours since 1970
        self._balance = balance
        self._day = int(at // DAY) if math.isfinite(at) else 0  # the day that these are of, hour by hour:
        self._used = [0.0] * DAY
        self._seen = [0.0] * DAY
        self._fine = True  # nothing of it was spread across a gap
        self._days: list[Day] = []  # before `_day`, the last one last
        self._hours = [0.0] * DAY  # by hour of the day: its use on past days, and ...
        self._times = [0.0] * DAY  # ... on how many it was seen
        self._spent = 0.0  # credits, within ...
        self._watched = 0.0  # ... so many hours: both over all history
        self._beyond = 0  # falls in a row that were beyond the usual
        self._drops: list[tuple[int, float]] = []  # falls set aside: day, credits
        self._rhythm: Rhythm | None = None  # learned from the above when first asked for

    def add(self, snapshot: Snapshot) -> None:
        """Count what was used since the snapshot before."""
        at, balance = snapshot.taken_at.timestamp() / 3600, float(snapshot.credits)
        before, used = self._at, self._balance - balance
        if at - before > MEMORY * DAY:
            self._start_over(at, balance)
            return
        self._at, self._balance = at, balance
        if at <= before:
            self._add_backwards(int(at // DAY), max(used, 0.0))
        elif used >= 0:
            self._count(before, at, used)
        self._advance_to(int(at // DAY))

    def runway(self) -> Runway | Unknown:
        """Return the runway from the last snapshot added until the credits are used up."""
        if self._watched < MIN_HOURS:
            return Unknown(timedelta(hours=MIN_HOURS - self._watched))
        rhythm = self._learned_rhythm() or even_rhythm(self._burn_rate(), self._watched / DAY)
        return runway_of(rhythm, self._at, self._balance)

    def dump(self) -> str:
        """Return the whole state as JSON, for `load`: about two kilobytes."""
        return json.dumps({name: value for name, value in vars(self).items() if name != "_rhythm"})

    @classmethod
    def load(cls, text: str) -> Self:
        """Return the estimator that `dump` wrote, as if it had never stopped."""
        usage = cls()
        vars(usage).update(json.loads(text))
        usage._days = [Day(*day) for day in usage._days]
        return usage

    def _burn_rate(self) -> float:
        return self._spent / self._watched * DAY

    def _learned_rhythm(self) -> Rhythm | None:
        if self._rhythm is None and sum(day.used is not None for day in self._days) >= MIN_DAYS:
            self._rhythm = learn(self._day, self._days, self._shares(), recurring=self._recurring_drops())
        return self._rhythm

    def _add_backwards(self, day: int, used: float) -> None:
        """Count use without time, since the clock did not move on; when it stepped far back, renumber the days."""
        self._used[int(self._at) % DAY] += used
        if day < self._day - 1:
            self._day, self._rhythm = day, None

    def _count(self, start: float, end: float, used: float) -> None:
        if used <= self._limit(end - start):
            self._beyond = 0
        else:
            self._beyond += 1
            if self._beyond < REPEATED:
                self._drops.append((self._day, used))
                return
            if self._beyond == REPEATED and self._drops:
                used += self._drops.pop()[1]
                self._rhythm = None
        self._spread(start, end, used)

    def _limit(self, hours: float) -> float:
        """Return the largest fall over so many hours that is not an outlier."""
        rhythm = self._learned_rhythm()
        usual = rhythm.usual if rhythm else self._burn_rate() if self._watched >= MIN_HOURS else 0.0
        return usual * (ONE_OFF + hours / ONE_OFF_HOURS) if usual > 0 else math.inf

    def _spread(self, start: float, end: float, used: float) -> None:
        rate, fine = used / (end - start), end - start <= GAP
        self._spent += used
        self._watched += end - start
        while start < end:
            self._advance_to(int(start // DAY))
            until = min(start // 1 + 1, end)
            hour = int(start) % DAY
            self._used[hour] += rate * (until - start)
            self._seen[hour] += until - start
            self._fine = self._fine and fine
            start = until

    def _advance_to(self, day: int) -> None:
        while self._day < day:
            self._close_day()

    def _close_day(self) -> None:
        """Keep the use of the day that is over, and at which hours it was."""
        rhythm, shares = self._learned_rhythm(), self._shares()
        seen = sum(min(seen, 1.0) * share for seen, share in zip(self._seen, shares, strict=True))
        self._days.append(Day(sum(self._used) / seen if seen >= DAY_SEEN else None, self._fine))
        most = rhythm.usual / 4 if rhythm and rhythm.usual > 0 else math.inf
        for hour, part in enumerate(self._seen):
            if self._fine and part >= HOUR_SEEN:
                self._hours[hour] = self._hours[hour] * FADE + min(self._used[hour], most)
                self._times[hour] = self._times[hour] * FADE + 1
        self._day += 1
        self._days = rescale_after_shift(self._day, self._days[-MEMORY:])
        self._drops = [drop for drop in self._drops if drop[0] >= self._day - MEMORY]
        self._used, self._seen, self._fine, self._rhythm = [0.0] * DAY, [0.0] * DAY, True, None

    def _shares(self) -> list[float]:
        """Return each hour's share of a day's use; the fewer days are known, the more even."""
        pairs = list(zip(self._hours, self._times, strict=True))
        known = [used / times for used, times in pairs if times]
        mean = fmean(known) if known else 0.0
        if mean <= 0:
            return [1 / DAY] * DAY
        shares = [(used / mean + HOUR_PRIOR) / (times + HOUR_PRIOR) for used, times in pairs]
        total = sum(shares)
        return [share / total for share in shares]

    def _recurring_drops(self) -> float:
        """Return credits a day of outliers that recur; today's are not yet among them."""
        falls = [used for day, used in self._drops if day < self._day]
        return sum(falls) / len(self._days) if len(falls) >= RECURRING else 0.0

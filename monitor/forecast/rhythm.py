"""The usual use of an organization: a level, a weekly and a daily rhythm, and how far off that may be.

Refuses to know snapshots and clocks: days of use go in, hours until so many credits are used come out.  Days and hours
are UTC; instants are hours since 1970.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median
from typing import Final, NamedTuple

DAY: Final = 24
WEEK: Final = 7
MEMORY: Final = 28  # days of use that are kept
FEW: Final = 3  # days; with fewer, use is taken as even
WEEKEND: Final = (2, 3)  # day number modulo 7 of Saturday and Sunday: 1970 began on a Thursday

# Found on public usage series and stable under leaving any of them out: docs/forecast.md.
OFFSET: Final = 0.1  # in usual days; keeps the logarithm of an idle day finite
BURST: Final = 1.0  # a day counts for at most e times the usual one
LOWEST: Final = -5.0
HALF_WEEK: Final = 3.0  # days; the recent level
LONG: Final = 20.0  # days; the lasting level
RISING: Final = 0.5  # how much of the way from the lasting to the recent level is believed ...
FALLING: Final = 0.15  # ... and less when use falls: warning late is worse than early
WEEKDAY_PRIOR: Final = 5.0  # in days: how hard one weekday is to tell from the others
WEEKEND_PRIOR: Final = 0.2
HOUR_PRIOR: Final = 3.0
CAUTION: Final = 0.45  # how far "likely" leans to the early side, in spreads ...
MOST_SPREAD: Final = 0.5  # ... of at most this
UNKNOWN_SPREAD: Final = 0.5  # with a day or two of history


class Day(NamedTuple):
    """One past day: credits used, None when too little of it was seen; `fine` when also its place in the week is."""

    used: float | None
    fine: bool


@dataclass(frozen=True, slots=True)
class Runway:
    """Hours from the last snapshot until the credits are used up; `math.inf` when nothing is used."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Expected use, hour by hour, of the week that begins at 0:00 of `day` and repeats itself.

    `curve[h]` is what is used until hour `h`; `usual` a usual day's use; `spread` the deviation of a day's logarithm.
    """

    day: int
    curve: tuple[float, ...]
    usual: float
    spread: float
    days: int

    def runway(self, at: float, credits: float) -> Runway:
        """Until a balance seen at hour `at` is used up."""
        if credits <= 0:
            return Runway(0.0, 0.0, 0.0)
        likely = self._until(at, credits)
        if math.isinf(likely):
            return Runway(likely, likely, likely)
        fast, slow = self._doubt(likely / DAY)
        return Runway(self._until(at, credits / fast), likely, self._until(at, credits / slow))

    def _doubt(self, days: float) -> tuple[float, float]:
        """Factors on the expected use between which the truth lies four times out of five."""
        doubt = math.sqrt(0.02 + 1.0 / (1 + self.days) ** 2 + self.spread**2 / (1 + days))
        return math.exp(doubt), math.exp(-doubt * 1.5)

    def _until(self, at: float, used: float) -> float:
        curve = self.curve
        week = curve[-1]
        if week <= 0:
            return math.inf
        since = (at - self.day * DAY) % (WEEK * DAY)
        hour = int(since)
        begin = curve[hour] + (curve[hour + 1] - curve[hour]) * (since - hour)
        weeks, rest = divmod(begin + used, week)
        node = min(bisect_right(curve, rest), WEEK * DAY)
        before, after = curve[node - 1], curve[node]
        part = (rest - before) / (after - before) if after > before else 1.0
        return weeks * WEEK * DAY + node - 1 + part - since


def even(use: float, known: float) -> Rhythm:
    """Too few days for a rhythm: `use` credits a day, evenly, seen for `known` days."""
    curve = tuple([use / DAY * hour for hour in range(WEEK * DAY + 1)])
    return Rhythm(0, curve, use, UNKNOWN_SPREAD, int(known))


def learn(day: int, days: Sequence[Day], shares: Sequence[float], *, often: float) -> Rhythm:
    """The rhythm from 0:00 of `day` on, from the `days` before it, each hour's share and `often` credits a day beside."""
    known = [(day - len(days) + i, d.used, d.fine) for i, d in enumerate(days) if d.used is not None]
    uses = [used for _, used, _ in known]
    usual = _usual(uses)
    if usual <= 0:
        return _rhythm(day, [often] * WEEK, shares, usual=0.0, spread=0.0, days=len(known))
    logs = [min(max(math.log(used / usual + OFFSET), LOWEST), BURST) for used in uses]
    week = _week(known, logs)
    logs = [log - week[number % WEEK] for (number, _, _), log in zip(known, logs, strict=True)]
    level, spread = _level([day - number for number, _, _ in known], logs)
    use = max((math.exp(level) - OFFSET) * usual, _floor(uses)) * math.exp(CAUTION * min(spread, MOST_SPREAD))
    ahead = [use * math.exp(week[(day + i) % WEEK]) + often for i in range(WEEK)]
    return _rhythm(day, ahead, shares, usual=usual, spread=spread, days=len(known))


def _usual(uses: Sequence[float]) -> float:
    """Between median and mean, of days of which none counts for more than four."""
    middle = median(uses)
    mean = fmean(min(used, 4 * middle) for used in uses) if middle > 0 else fmean(uses)
    return math.sqrt(max(middle, mean / 10) * mean)


def _floor(uses: Sequence[float]) -> float:
    """Use that comes on few days is missed by the middle of all days: then the mean holds."""
    mean = fmean(uses)
    idle = sum(used < mean / 10 for used in uses) / len(uses)
    return idle * fmean(min(used, 4 * mean) for used in uses) if idle > 0.5 else 0.02 * mean


def _week(known: Sequence[tuple[int, float, bool]], logs: Sequence[float]) -> list[float]:
    """What each weekday (day number modulo 7) adds to the logarithm of a day's use: nothing until proven."""
    fine = [(number % WEEK, log) for (number, _, fine), log in zip(known, logs, strict=True) if fine]
    if not fine:
        return [0.0] * WEEK
    mean = fmean(log for _, log in fine)
    fine = [(weekday, min(max(log - mean, -1.4), 0.7)) for weekday, log in fine]
    share = sum(weekday in WEEKEND for weekday, _ in fine) / len(fine)
    apart = [(weekday in WEEKEND) - share for weekday, _ in fine]
    slope = sum(a * log for a, (_, log) in zip(apart, fine, strict=True)) / (sum(a * a for a in apart) + WEEKEND_PRIOR)
    sums, counts = [0.0] * WEEK, [WEEKDAY_PRIOR] * WEEK
    weekend = [slope * ((weekday in WEEKEND) - 2 / 7) for weekday in range(WEEK)]
    for weekday, log in fine:
        sums[weekday] += log - weekend[weekday]
        counts[weekday] += 1
    week = [weekend[i] + sums[i] / counts[i] for i in range(WEEK)]
    middle = fmean(week)
    return [effect - middle for effect in week]


def _level(ages: Sequence[int], logs: Sequence[float]) -> tuple[float, float]:
    """The logarithm of the use to expect, and its spread from day to day."""
    lasting = _mean([math.exp(-age / LONG) for age in ages], logs)
    recent = _mean([math.exp(-age / HALF_WEEK) for age in ages], logs)
    spread = math.sqrt(_mean([math.exp(-age / LONG) for age in ages], [(log - lasting) ** 2 for log in logs]))
    return lasting + (RISING if recent > lasting else FALLING) * (recent - lasting), spread


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def _rhythm(day: int, ahead: Sequence[float], shares: Sequence[float], *, usual: float, spread: float, days: int) -> Rhythm:
    curve = accumulate((use * share for use in ahead for share in shares), initial=0.0)
    return Rhythm(day, tuple(curve), usual, spread, days)

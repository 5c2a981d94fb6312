"""The usual use of an organization: a level, a weekly and a daily rhythm, and their spread.

Days and hours are UTC; instants are hours since 1970, days are numbered from there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median
from typing import Final, NamedTuple

DAY: Final = 24
WEEK: Final = 7
WEEKEND: Final = (2, 3)  # day number modulo 7 of Saturday and Sunday: 1970 began on a Thursday

# Found on public usage series, on a plateau of good ones: docs/forecast.md.
OFFSET: Final = 0.15  # in usual days; keeps the logarithm of an idle day finite
BURST: Final = 0.65  # a day counts for at most twice the usual one
LONG: Final = 14.0  # days back over which the lasting level fades ...
SHORT: Final = 3.0  # ... and the recent one
RISING: Final = 0.5  # how much of the way from the lasting to the recent level is believed ...
FALLING: Final = 0.2  # ... and less when use falls: warning late is worse than early
WEEKDAY_PRIOR: Final = 6.0  # in weeks: how much evidence one weekday needs to differ from the others ...
WEEKEND_PRIOR: Final = 0.5  # ... and the weekend
CAUTION: Final = 1.4  # "likely" leans to the early side by so many spreads ...
STEADY: Final = 0.18  # ... beyond what warns in time anyway ...
MOST_CAUTION: Final = 0.3  # ... and no further
SURGE: Final = (3, 0.9)  # days in a row, and by what logarithm, beyond the usual: a new level, not a burst
LULL: Final = (5, -0.9)
SHIFT_SPREADS: Final = 3.0
DEFAULT_SPREAD: Final = 0.2  # while there are too few days to estimate it


class Day(NamedTuple):
    """One past day: credits used, None when too little of it was seen; `fine`: its hours are known, too."""

    used: float | None
    fine: bool


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Expected use, hour by hour, of the week that begins at 0:00 of `day` and repeats itself.

    `curve[h]` is what is used until hour `h`; `usual` the use of a usual day; `spread` the deviation of a day's
    logarithm; `days` how many days it was learned from.
    """

    day: int
    curve: tuple[float, ...]
    usual: float
    spread: float
    days: float


def even_rhythm(use: float, days: float) -> Rhythm:
    """Return the rhythm for too few days: `use` credits a day, evenly, as seen over so many days."""
    curve = tuple([use / DAY * hour for hour in range(WEEK * DAY + 1)])
    return Rhythm(0, curve, use, DEFAULT_SPREAD, days)


def learn(day: int, days: Sequence[Day], shares: Sequence[float], *, recurring: float) -> Rhythm:
    """Return the rhythm from 0:00 of `day` on, from the days before it and each hour's share of a day.

    `recurring`: credits a day that are used on top, in outliers that recur.
    """
    pattern = _pattern(day, days)
    if pattern.usual <= 0:
        ahead = [recurring] * WEEK
    else:
        use = max((math.exp(pattern.level) - OFFSET) * pattern.usual, pattern.floor)
        use *= math.exp(min(max(CAUTION * (pattern.spread - STEADY), 0.0), MOST_CAUTION))
        ahead = [use * math.exp(pattern.week[(day + i) % WEEK]) + recurring for i in range(WEEK)]
    curve = accumulate((use * share for use in ahead for share in shares), initial=0.0)
    return Rhythm(day, tuple(curve), pattern.usual, pattern.spread, pattern.days)


def rescale_after_shift(day: int, days: list[Day]) -> list[Day]:
    """Return the days before `day`; after a lasting shift of the level, older days are rescaled to the new level."""
    for length, least in (SURGE, LULL):
        past, recent = days[:-length], days[-length:]
        if len(days) < length + WEEK or any(entry.used is None or not entry.fine for entry in recent):
            continue
        pattern = _pattern(day - length, past)
        bar = max(abs(least), SHIFT_SPREADS * pattern.spread)
        if pattern.usual <= 0 or pattern.days < WEEK:
            continue
        off = [pattern.off(day - length + i, entry.used or 0.0) for i, entry in enumerate(recent)]
        if min(off) > bar if least > 0 else max(off) < -bar:
            factor = math.exp(median(off))
            return [Day(None if entry.used is None else entry.used * factor, entry.fine) for entry in past] + recent
    return days


class _Pattern(NamedTuple):
    usual: float  # credits a day
    level: float  # logarithm of the use to expect in usual days, plus OFFSET
    spread: float
    week: list[float]  # what each weekday (day number modulo 7) adds to that logarithm
    floor: float  # credits a day
    days: int

    def off(self, number: int, used: float) -> float:
        return math.log(used / self.usual + OFFSET) - self.week[number % WEEK] - self.level


def _pattern(day: int, days: Sequence[Day]) -> _Pattern:
    known = [(day - len(days) + i, entry.used, entry.fine) for i, entry in enumerate(days) if entry.used is not None]
    uses = [used for _, used, _ in known]
    usual = _usual(uses) if uses else 0.0
    if usual <= 0:
        return _Pattern(0.0, 0.0, 0.0, [0.0] * WEEK, 0.0, max(len(uses), 1))
    logs = [min(math.log(used / usual + OFFSET), BURST) for used in uses]
    week = _week([(number % WEEK, log) for (number, _, fine), log in zip(known, logs, strict=True) if fine])
    logs = [log - week[number % WEEK] for (number, _, _), log in zip(known, logs, strict=True)]
    level, spread = _level([day - number for number, _, _ in known], logs)
    return _Pattern(usual, level, spread, week, _floor(uses), len(uses))


def _usual(uses: Sequence[float]) -> float:
    """Return a use between median and mean; no day counts for more than four medians."""
    middle = median(uses)
    mean = fmean(min(used, 4 * middle) for used in uses) if middle > 0 else fmean(uses)
    return math.sqrt(max(middle, mean / 10) * mean)


def _floor(uses: Sequence[float]) -> float:
    """Return the mean where use falls on few days, which logarithms underestimate; else 0."""
    mean = fmean(uses)
    idle = sum(used < mean / 10 for used in uses)
    return idle / len(uses) * fmean(min(used, 4 * mean) for used in uses) if 2 * idle > len(uses) else 0.0


def _week(logs: Sequence[tuple[int, float]]) -> list[float]:
    """Return what each weekday adds: shrunk to the weekend's effect, and that to zero, while evidence is small."""
    if not logs:
        return [0.0] * WEEK
    mean = fmean(log for _, log in logs)
    capped = [(weekday, min(max(log - mean, -2 * BURST), BURST)) for weekday, log in logs]
    share = sum(weekday in WEEKEND for weekday, _ in capped) / len(capped)
    apart = [(weekday in WEEKEND) - share for weekday, _ in capped]
    slope = sum(a * log for a, (_, log) in zip(apart, capped, strict=True))
    slope /= sum(a * a for a in apart) + WEEKEND_PRIOR
    week = [slope * ((weekday in WEEKEND) - len(WEEKEND) / WEEK) for weekday in range(WEEK)]
    sums, counts = [0.0] * WEEK, [WEEKDAY_PRIOR] * WEEK
    for weekday, log in capped:
        sums[weekday] += log - week[weekday]
        counts[weekday] += 1
    week = [effect + total / count for effect, total, count in zip(week, sums, counts, strict=True)]
    middle = fmean(week)
    return [effect - middle for effect in week]


def _level(ages: Sequence[int], logs: Sequence[float]) -> tuple[float, float]:
    """Return the logarithm of the use to expect, and its spread from day to day."""
    lasting = [math.exp(-age / LONG) for age in ages]
    level = _mean(lasting, logs)
    lead = _mean([math.exp(-age / SHORT) for age in ages], logs) - level
    spread = math.sqrt(_mean(lasting, [(log - level) ** 2 for log in logs]))
    return level + (RISING if lead > 0 else FALLING) * lead, spread


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(map(float.__mul__, weights, values)) / sum(weights)

"""From a rhythm of use to a runway: the likely hours until a balance is used up, and the range around it."""

import math
from bisect import bisect_right
from typing import Final

from monitor.forecast.rhythm import DAY, WEEK, Rhythm
from monitor.model import Runway

# How far the range reaches, as the logarithm of a share of the credits; found as those of `rhythm` are.
LOW: Final = (0.13, 0.9)  # at least, and for each spread
HIGH: Final = (0.12, 0.8)
HIGH_SOON: Final = 0.3  # more for each spread, the sooner it is empty
FEW_DAYS: Final = 0.7  # more, the fewer days the rhythm was learned from


def runway_of(rhythm: Rhythm, at: float, credits: float) -> Runway:
    """Return hours until a balance seen at the instant `at` (hours since 1970) is used up."""
    if credits <= 0:
        return Runway(0.0, 0.0, 0.0)
    likely = _hours_until(rhythm, at, credits)
    if math.isinf(likely):
        return Runway(likely, likely, likely)
    few = FEW_DAYS / rhythm.days
    more = math.exp(LOW[0] + LOW[1] * rhythm.spread + few)
    less = math.exp(HIGH[0] + (HIGH[1] + HIGH_SOON / math.sqrt(1 + likely / DAY)) * rhythm.spread + few)
    return Runway(_hours_until(rhythm, at, credits / more), likely, _hours_until(rhythm, at, credits * less))


def _hours_until(rhythm: Rhythm, at: float, used: float) -> float:
    """Return hours from an instant until so many credits are used, by the curve of the week, again and again."""
    curve = rhythm.curve
    week = curve[-1]
    if week <= 0:
        return math.inf
    since = (at - rhythm.day * DAY) % (WEEK * DAY)
    hour = min(int(since), WEEK * DAY - 1)
    begin = curve[hour] + (curve[hour + 1] - curve[hour]) * (since - hour)
    weeks, beyond = divmod(begin + used, week)
    node = min(bisect_right(curve, beyond), WEEK * DAY)
    before, after = curve[node - 1], curve[node]
    part = (beyond - before) / (after - before) if after > before else 1.0
    return max(weeks * WEEK * DAY + node - 1 + part - since, 0.0)

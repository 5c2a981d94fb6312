"""What a chart shows: the course of one balance, and what is known around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import groupby, pairwise
from statistics import median
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

MOST_POINTS: Final = 800  # that are drawn; of more the first, lowest, highest and last of each stretch
GAP: Final = 3  # times the usual distance between two points: nothing is known in between


class Point(NamedTuple):
    """A balance that was taken."""

    at: datetime
    credits: Decimal


class Level(NamedTuple):
    """A level of the rule `credits`, and where it is left again."""

    severity: str  # info, warning or critical
    below: Decimal
    clear: Decimal


class Rise(NamedTuple):
    """Credits that came: bought, or (a refill) by themselves."""

    at: datetime
    amount: Decimal
    is_refill: bool = False


class Span(NamedTuple):
    """An incident, or a time without credits; `ends_at` None while it lasts."""

    begins_at: datetime
    ends_at: datetime | None
    severity: str  # or "no-credits"
    rule: str = ""


class Forecast(NamedTuple):
    """When the balance is expected to be used up; None is never, or beyond what anybody can say."""

    earliest: datetime | None
    likely: datetime | None
    latest: datetime | None


@dataclass(frozen=True)
class Course:
    """The course of one balance from `begins_at` to `ends_at` (now, or the end of what is asked for).

    `points` oldest first; `every` is how often it is taken, None: as the points say.
    """

    name: str
    unit: str
    begins_at: datetime
    ends_at: datetime
    zone: ZoneInfo
    points: Sequence[Point] = ()
    before: Point | None = None  # the last one before `begins_at`
    every: timedelta | None = None
    levels: Sequence[Level] = ()
    rises: Sequence[Rise] = ()
    spans: Sequence[Span] = ()
    forecast: Forecast | None = None

    @cached_property
    def gap(self) -> timedelta:
        """From how long on a time without a balance is a gap."""
        # Who asks from cron, or imported a history by the hour, has no gap between two hours.
        distances = [(after.at - before.at).total_seconds() for before, after in pairwise(self.points)]
        usual = max(self.every or timedelta(0), timedelta(seconds=median(distances) if distances else 0))
        return GAP * usual if usual else timedelta.max

    @cached_property
    def stretches(self) -> list[list[Point]]:
        """Return the points in stretches without a gap, each with `MOST_POINTS` at most over all."""
        gap = self.gap
        within = [point for point in self.points if self.begins_at <= point.at <= self.ends_at]
        if self.before and within and within[0].at - self.before.at <= gap:
            within.insert(0, Point(self.begins_at, self.before.credits))
        stretches: list[list[Point]] = []
        for point in within:
            if stretches and point.at - stretches[-1][-1].at <= gap:
                stretches[-1].append(point)
            else:
                stretches.append([point])
        return [_thinned(stretch, len(within)) for stretch in stretches]


def _thinned(points: list[Point], of: int) -> list[Point]:
    """Return so few points that a chart of `of` points has `MOST_POINTS`: a dip of one check is still there."""
    if of <= MOST_POINTS or len(points) <= 4:  # noqa: PLR2004 -- there is nothing to leave out
        return points
    buckets = max(1, MOST_POINTS * len(points) // (4 * of))
    begin, length = points[0].at, points[-1].at - points[0].at
    kept: list[Point] = []
    for _, members in groupby(points, lambda point: min(buckets - 1, int((point.at - begin) / length * buckets))):
        bucket = list(members)
        lowest, highest = min(bucket, key=_credits), max(bucket, key=_credits)
        kept += sorted({bucket[0], lowest, highest, bucket[-1]})
    return kept


def _credits(point: Point) -> Decimal:
    return point.credits

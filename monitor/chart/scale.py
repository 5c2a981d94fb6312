"""Where an instant and a balance stand in a chart, and where its ticks are, with their words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

_STEPS: Final = (1, 2, 2.5, 5, 10)
_HOURS: Final = (1, 2, 3, 6, 12)
_DAYS: Final = (1, 2, 7, 14)
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60)
_THOUSAND: Final = 1000


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of figures on a range of the picture's coordinates."""

    low: float
    high: float
    at_low: float
    at_high: float

    def __call__(self, figure: float) -> float:
        """Return the coordinate of a figure."""
        return self.at_low + (figure - self.low) / (self.high - self.low) * (self.at_high - self.at_low)


def balance_ticks(low: Decimal, high: Decimal, most: int) -> tuple[list[float], int]:
    """Return round figures from below `low` to above `high`, and how many decimals they need."""
    bottom, top = float(min(low, Decimal(0))), float(max(high, Decimal(0)))
    if top == bottom:
        top = bottom + 1
    rough = (top - bottom) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(bottom / step + 1e-9), math.ceil(top / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, decimals + 1):
        decimals += 1
    return [round(number * step, decimals) for number in range(first, last + 1)], decimals


def write_figure(figure: float, decimals: int) -> str:
    """Return a figure of an axis: `0`, `2,500`, `0.25`, `1.5 M`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(figure) >= size:
            return f"{figure / size:,.3f}".rstrip("0").rstrip(".") + f" {letter}"
    return f"{figure:,.{decimals}f}"


def time_ticks(begin: datetime, end: datetime, zone: ZoneInfo, most: int) -> list[tuple[datetime, str]]:
    """Return round instants of a zone with their words; `most` of them."""
    length = max(end - begin, timedelta(minutes=1))
    for ticks in (_hours(begin, end, zone, length / most), _days(begin, end, zone, length / most)):
        if ticks:
            return ticks
    return _months(begin, end, zone, length / most)


def _hours(begin: datetime, end: datetime, zone: ZoneInfo, least: timedelta) -> list[tuple[datetime, str]]:
    if least <= timedelta(minutes=30):
        minutes = next(each for each in (1, 5, 10, 15, 30) if timedelta(minutes=each) >= least)
        at = begin.replace(minute=0, second=0, microsecond=0)
        step = timedelta(minutes=minutes)
        return [(each, f"{each.astimezone(zone):%H:%M}") for each in _steps(at, step, begin, end)]
    hours = next((each for each in _HOURS if timedelta(hours=each) >= least), None)
    if hours is None:
        return []
    ticks = []
    for at in _steps(begin.replace(minute=0, second=0, microsecond=0), timedelta(minutes=30), begin, end):
        local = at.astimezone(zone)
        if local.minute == 0 and local.hour % hours == 0:
            ticks.append((at, f"{local:%a} {local.day}" if local.hour == 0 else f"{local:%H:%M}"))
    return ticks


def _days(begin: datetime, end: datetime, zone: ZoneInfo, least: timedelta) -> list[tuple[datetime, str]]:
    days = next((each for each in _DAYS if timedelta(days=each) >= least), None)
    if days is None:
        return []
    ticks = []
    day = begin.astimezone(zone).date()
    while (at := datetime.combine(day, time(), zone).astimezone(UTC)) <= end:
        if at >= begin and day.toordinal() % days == (1 if days >= 7 else 0):  # noqa: PLR2004 -- weeks begin on Monday
            ticks.append((at, f"{day:%a} {day.day}" if days == 1 else f"{day.day} {day:%b}"))
        day += timedelta(days=1)
    return ticks


def _months(begin: datetime, end: datetime, zone: ZoneInfo, least: timedelta) -> list[tuple[datetime, str]]:
    months = next((each for each in _MONTHS if timedelta(days=28 * each) >= least), _MONTHS[-1])
    ticks = []
    local = begin.astimezone(zone)
    number = local.year * 12 + local.month - 1
    while (at := datetime(number // 12, number % 12 + 1, 1, tzinfo=zone).astimezone(UTC)) <= end:
        if at >= begin and number % months == 0:
            ticks.append((at, f"{number // 12}" if number % 12 == 0 else f"{at.astimezone(zone):%b}"))
        number += 1
    return ticks


def _steps(at: datetime, step: timedelta, begin: datetime, end: datetime) -> Iterator[datetime]:
    while at <= end:
        if at >= begin:
            yield at
        at += step

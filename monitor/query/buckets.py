"""The borders of hours, days, weeks and months of a time zone, as instants.

Pure arithmetic.  A local day may have 23 or 25 hours, an hour that occurs twice is two, a day
that a zone leaves out is none.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from monitor.proration import HOUR, MICROSECOND


class By(StrEnum):
    """How long a bucket is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"


def borders(by: By, zone: ZoneInfo, since: datetime, until: datetime) -> list[datetime]:
    """Return where the buckets of `since` <= instant < `until` begin, and where the last one ends; UTC, ascending."""
    if since >= until:
        return []
    instants = list(_borders(by, zone, since, until))
    if by is not By.HOUR:
        # What holds `since` begins at the last border that is not after it: a date may have two midnights or none.
        while len(instants) > 1 and instants[1] <= since:
            instants.pop(0)
    return instants


def begin(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day; of one that the zone leaves out, the first instant after it."""
    at = datetime.combine(day, time(), zone).astimezone(UTC)
    if (at - MICROSECOND).astimezone(zone).date() >= day:  # its midnight was skipped, and more than its midnight
        return _clock_change(zone, at - timedelta(days=1), at)
    return at


def _borders(by: By, zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    if by is By.HOUR:
        yield from _hours(zone, since, until)
        return
    day = _first(by, since.astimezone(zone).date())
    at = begin(day, zone)
    yield at
    while at < until:
        day = _next(by, day)
        after = begin(day, zone)
        if after > at:  # else the day before is one that the zone leaves out
            yield after
        at = after


def _first(by: By, day: date) -> date:
    """Return the first day of the week or month that a day is in."""
    if by is By.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by is By.MONTH else day


def _next(by: By, day: date) -> date:
    if by is By.MONTH:
        return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if by is By.WEEK else 1)


def _hours(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    at = since - _into_the_hour(since, zone)
    if _offset(at, zone) != _offset(since, zone):  # the clocks changed within this hour
        at = _clock_change(zone, at, since)
    yield at
    while at < until:
        after = at + HOUR - _into_the_hour(at, zone)
        if _offset(after - MICROSECOND, zone) != _offset(at, zone):
            after = _clock_change(zone, at, after)
        at = after
        yield at


def _into_the_hour(at: datetime, zone: ZoneInfo) -> timedelta:
    local = at.astimezone(zone)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta | None:
    return at.astimezone(zone).utcoffset()


def _clock_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the first instant of the new offset, between two instants of different offsets."""
    old = _offset(before, zone)
    while after - before > MICROSECOND:
        middle = before + (after - before) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after

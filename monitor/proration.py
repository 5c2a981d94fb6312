"""Prorate the change between two snapshots by time, exactly: shares are whole millionths that add up.

Pure arithmetic.  A share is the difference of two running totals, each rounded towards zero, so that the shares of
neighbouring periods, of the hours of a day and of the days of a month always add up to the whole change.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from monitor.amounts import from_micro, to_micro
from monitor.model import Snapshot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Share(NamedTuple):
    """What was used and topped up in the bucket that begins at `starts_at`; both are 0 or more."""

    starts_at: datetime
    used: Decimal
    topped_up: Decimal


def floor(at: datetime, step: timedelta) -> datetime:
    """Return the last multiple of `step`, counted from 1970 in UTC, at or before an instant."""
    return EPOCH + (at - EPOCH) // step * step


def share(before: Snapshot, after: Snapshot, since: datetime, until: datetime) -> Decimal:
    """Return the share (negative: used) of the change from `before` to the later `after` in `since` <= at < `until`."""
    micros = to_micro(after.credits - before.credits)
    part = _until(before, after, micros, until) - _until(before, after, micros, since)
    return from_micro(part)


def prorate(before: Snapshot, after: Snapshot, step: timedelta) -> Iterator[Share]:
    """Yield the share of the change from `before` to the later `after` in each bucket of `step`, oldest first.

    A snapshot at the very beginning of a bucket ends the one before: that bucket has no share of the earlier change.
    """
    starts_at, last = floor(before.taken_at, step), floor(after.taken_at - MICROSECOND, step)
    if starts_at == last:  # nearly always
        yield _share(starts_at, after.credits - before.credits)
        return
    micros, done = to_micro(after.credits - before.credits), 0
    while starts_at <= last:
        reached = _until(before, after, micros, starts_at + step)
        yield _share(starts_at, from_micro(reached - done))
        starts_at, done = starts_at + step, reached


def _until(before: Snapshot, after: Snapshot, micros: int, at: datetime) -> int:
    """Return the part of a change, in millionths, that lies before an instant, rounded towards zero."""
    if at <= before.taken_at:
        return 0
    if at >= after.taken_at:
        return micros
    passed, whole = (at - before.taken_at) // MICROSECOND, (after.taken_at - before.taken_at) // MICROSECOND
    size = abs(micros) * passed // whole
    return size if micros > 0 else -size


def _share(starts_at: datetime, change: Decimal) -> Share:
    nothing = Decimal(0)
    return Share(starts_at, -change, nothing) if change < 0 else Share(starts_at, nothing, change)

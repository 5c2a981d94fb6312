"""The course of an organization's balance, read for a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from monitor import query
from monitor.chart import Course, Forecast, Level, Point, Rise, Span
from monitor.config import Settings
from monitor.model import Rules, Runway
from monitor.notify.routing import Named, rules_of
from monitor.query import IncidentRow, OrganizationStatus
from monitor.store.organizations import mixed_accounts
from monitor.store.writer import Engine, read

MOST_RAW: Final = 25_000  # balances that are read one by one; more are read by the hour or day
MOST_RISES: Final = 200
EARLIEST: Final = timedelta(days=3650)  # no forecast reaches further


@dataclass(frozen=True, slots=True)
class Period:
    """What a chart shows: from when to when."""

    begins_at: datetime
    ends_at: datetime


def read_course(
    engine: Engine,
    settings: Settings,
    row: OrganizationStatus,
    period: Period,
    *,
    now: datetime,
    runway: Any,
    incidents: Sequence[IncidentRow],
) -> Course:
    """Return the course of a balance within a period, with what is known around it."""
    points, before, every = _points(engine, row, period, settings)
    return Course(
        name=row.name,
        unit=row.unit,
        begins_at=period.begins_at,
        ends_at=period.ends_at,
        zone=settings.timezone,
        points=points,
        before=before,
        every=every,
        levels=_levels(engine, settings, row),
        rises=_rises(points, before),
        spans=[
            Span(each.opened_at, each.resolved_at, each.worst_severity.label, each.rule.value)
            for each in incidents
            if each.opened_at < period.ends_at and (each.resolved_at or now) > period.begins_at
        ],
        forecast=_forecast(row, runway) if period.ends_at >= now - timedelta(minutes=1) else None,
    )


def every_of(settings: Settings, account: str) -> timedelta:
    """Return how often an account is asked; one that is configured no more was asked as all are."""
    configured = settings.accounts.get(account)
    return configured.every if configured else settings.poll.every


def _points(
    engine: Engine, row: OrganizationStatus, period: Period, settings: Settings
) -> tuple[list[Point], Point | None, timedelta]:
    """Return the points, the one before them, and how often a balance is taken."""
    within: dict[str, Any] = {"since": period.begins_at, "until": period.ends_at + timedelta(microseconds=1)}
    length, poll = period.ends_at - period.begins_at, every_of(settings, row.account)
    gone = query.removed(engine, row.name, **within)
    if not gone and length / poll <= MOST_RAW:
        taken = [each for each in query.history(engine, row.name, **within) if each.vendor_id == row.vendor_id]
        points = [Point(each.taken_at, each.credits) for each in taken]
        first = taken[0] if taken else None
        before = Point(period.begins_at, first.credits - first.change) if first and first.change is not None else None
        return points, before, poll
    every = (
        timedelta(hours=1) if all(each.hours for each in gone) and length <= timedelta(days=120) else timedelta(days=1)
    )
    points = []
    for bucket in query.history_buckets(engine, row.name, every=every, **within):
        if bucket.vendor_id != row.vendor_id:
            continue
        for number, balance in enumerate((bucket.highest, bucket.lowest, bucket.credits)):
            at = bucket.starts_at + number * every / 3
            if period.begins_at <= at <= period.ends_at and not (points and points[-1].credits == balance):
                points.append(Point(at, balance))
    return points, None, every


def rules_for(engine: Engine, settings: Settings, row: OrganizationStatus) -> Rules:
    """Return the rules that judge an organization."""
    mixed = read(engine, lambda tx: mixed_accounts(tx, {row.account}))
    return rules_of(settings, Named(row.name, row.account, row.unit, mixed=row.account in mixed))


def _levels(engine: Engine, settings: Settings, row: OrganizationStatus) -> list[Level]:
    rungs = rules_for(engine, settings, row).credits
    return [Level(rung.severity.label, rung.below, rung.clear) for rung in rungs if not rung.of_top_up]


def _rises(points: Sequence[Point], before: Point | None) -> list[Rise]:
    rises, last = [], before
    for point in points:
        if last is not None and point.credits > last.credits:
            rises.append(Rise(point.at, point.credits - last.credits))
        last = point
    return sorted(sorted(rises, key=lambda rise: -rise.amount)[:MOST_RISES])


def _forecast(row: OrganizationStatus, runway: Any) -> Forecast | None:
    if not isinstance(runway, Runway) or row.taken_at is None or not row.credits or row.credits <= Decimal(0):
        return None
    return Forecast(*(_after(row.taken_at, hours) for hours in (runway.low, runway.likely, runway.high)))


def _after(at: datetime, hours: float) -> datetime | None:
    return at + timedelta(hours=hours) if hours < EARLIEST / timedelta(hours=1) else None

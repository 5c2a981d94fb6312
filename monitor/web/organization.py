"""The page of one organization: its course, its use, its incidents and who was told of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from monitor import query
from monitor.chart import Course, Size, draw
from monitor.config import Settings, rules_in_force
from monitor.config.fields import zone as parse_zone
from monitor.errors import UsageError
from monitor.message import format_amount
from monitor.query import DeliveryQuestion, OrganizationStatus, UsageQuestion, UsageRow
from monitor.rows.status import Standing, runway_in_words
from monitor.store.writer import Engine
from monitor.web.bars import draw_bars
from monitor.web.courses import Period, read_course, rules_for
from monitor.web.overview import SHAPES, empty_on

RANGES: Final = {
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "1y": timedelta(days=365),
    "all": None,
}
USUAL: Final = "7d"
BY: Final = {
    "hour": timedelta(days=2),
    "day": timedelta(days=30),
    "week": timedelta(weeks=26),
    "month": timedelta(days=730),
}
INCIDENTS: Final = 50
NOTIFICATIONS: Final = 200
CHART: Final = Size(960, 340)


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for, as it stands in the URL; what cannot be read counts as not given."""

    range: str
    period: Period | None
    by: str
    zone: ZoneInfo
    given: Mapping[str, str]  # from, to, tz: as they were written

    @classmethod
    def of(cls, given: Mapping[str, str], settings: Settings) -> "View":
        """Read it from a query string."""
        zone = settings.timezone
        kept: dict[str, str] = {}
        if given.get("tz"):
            with suppress(ValueError):
                zone = parse_zone(given["tz"])
                kept["tz"] = given["tz"]
        ends = [_instant(given.get(name, ""), zone) for name in ("from", "to")]
        period = Period(ends[0], ends[1]) if ends[0] and ends[1] and ends[0] < ends[1] else None
        if period:
            kept |= {"from": given["from"], "to": given["to"]}
        range_ = given.get("range", "")
        return cls(
            range=range_ if range_ in RANGES else USUAL,
            period=period,
            by=given["by"] if given.get("by") in BY else "day",
            zone=zone,
            given=kept,
        )

    def within(self, now: datetime, first_at: datetime | None) -> Period:
        """Return from when to when."""
        if self.period:
            return Period(self.period.begins_at, min(self.period.ends_at, max(now, self.period.begins_at + _LEAST)))
        length = RANGES[self.range]
        begin = now - length if length else min(first_at or now - _LEAST, now - _LEAST)
        return Period(begin, now)


_LEAST: Final = timedelta(minutes=10)


def _instant(text: str, zone: ZoneInfo) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "+"))  # a plus sign of an offset arrives as a space
        if at.tzinfo is None:
            at = query.begin(at.date(), zone) if at.time() == time() else at.replace(tzinfo=zone)
        return at.astimezone(parse_zone("UTC"))
    except (ValueError, OverflowError):
        return None


def organization(engine: Engine, standing: Standing, name: str, view: View) -> dict[str, Any] | None:
    """Return what the template shows; None where there is no such organization."""
    row = next((each for each in standing.organizations if name == each.name), None) or next(
        (each for each in query.status(engine, watched_only=False) if name in (each.name, each.vendor_id)), None
    )
    if row is None:
        return None
    settings, now = standing.settings, standing.now
    runway = standing.runways.get(row.id) or query.runways(engine, [row.id]).get(row.id)
    incidents = query.incidents(engine, organization=row.name, limit=INCIDENTS)
    unit = row.unit
    period = view.within(now, query.first_at(engine, row.id))
    course = read_course(engine, settings, row, period, now=now, runway=runway, incidents=incidents)
    daily = _usage(engine, settings, row, now, by="day", since=BY["day"], zone=settings.timezone)
    bars = _usage(engine, settings, row, now, by=view.by, since=BY[view.by], zone=view.zone)
    own = settings.organizations.get(row.name)
    account = settings.accounts.get(row.account)
    return {
        "row": row,
        "view": view,
        "shape": SHAPES[row.state],
        "unit": unit,
        "runway": runway_in_words(runway),
        "empty_on": empty_on(row, runway, standing),
        "first_lines": standing.first_lines(),
        "chart": draw(course, partial(_write, unit), size=CHART, titled=False),
        "data": _data(course, unit),
        "period": period,
        "course": course,
        "balances": _table(course),
        "used": {days: _sum(daily, days) for days in (1, 7, 30)},
        "cost": _cost(daily),
        "bars": draw_bars(bars, view.by, view.zone, partial(_write, unit)),
        "usage": bars,
        "incidents": list(reversed(incidents)),
        "notifications": _notifications(engine, row.name),
        "silences": [
            each
            for each in query.silences(engine, at=now, active_only=False)
            if each.subject_id == row.id and each.organization == row.name
        ],
        "rules": list(rules_in_force(settings, row.name, row.account, rules_for(engine, settings, row))),
        "failure": query.last_failure(engine, row.id),
        "top_up_url": account.top_up_url if account else None,
        "paused": bool(own and own.paused),
        "ranges": list(RANGES),
        "bys": list(BY),
    }


def _write(unit: str, amount: Decimal) -> str:
    return format_amount(amount, unit)


def _usage(
    engine: Engine,
    settings: Settings,
    row: OrganizationStatus,
    now: datetime,
    *,
    by: str,
    since: timedelta,
    zone: ZoneInfo,
) -> list[UsageRow]:
    """Return the use in buckets; none where retention has left too little."""
    question = UsageQuestion(
        by=query.By(by),
        zone=zone,
        price=lambda one: settings.price(one.account, one.provider),
        now=now,
        since=now - since,
    )
    try:
        with query.usage(engine, question, row.name) as answer:
            return [each for each in answer.rows if each.vendor_id == row.vendor_id]
    except UsageError:
        return []


def _sum(daily: Sequence[UsageRow], days: int) -> Decimal | None:
    known = [each.used for each in daily[-days:] if each.used is not None]
    return sum(known, Decimal(0)) if known else None


def _cost(daily: Sequence[UsageRow]) -> Decimal | None:
    known = [each.cost for each in daily[-30:] if each.cost is not None]
    return sum(known, Decimal(0)) if known else None


def _notifications(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Return what was said, the newest first, each with its outcome at every channel."""
    rows = query.deliveries(engine, DeliveryQuestion(organization=name, limit=NOTIFICATIONS))
    said: dict[str, dict[str, Any]] = {}
    for delivery in reversed(rows):
        said.setdefault(delivery.notification, {"first": delivery, "deliveries": []})["deliveries"].append(delivery)
    return list(said.values())


def _table(course: Course) -> list[tuple[datetime, Decimal, Decimal | None]]:
    """Return the balances behind the chart, the newest first, thinned to a length that can be read."""
    within = [point for point in course.points if course.begins_at <= point.at <= course.ends_at]
    step = max(1, len(within) // 60)
    picked = within[::-1][::step]
    changes: list[Decimal | None] = [later.credits - earlier.credits for later, earlier in pairwise(picked)]
    return [(point.at, point.credits, change) for point, change in zip(picked, [*changes, None], strict=False)]


def _data(course: Course, unit: str) -> str:
    """Return what the chart of a browser with scripts draws, as JSON: seconds since 1970 and figures; null is a gap."""
    xs: list[float] = []
    ys: list[float | None] = []
    for stretch in course.stretches:
        if xs:
            xs.append(xs[-1] + 0.001)
            ys.append(None)
        xs += [point.at.timestamp() for point in stretch]
        ys += [float(point.credits) for point in stretch]
    if course.stretches and course.ends_at - course.stretches[-1][-1].at <= course.gap:
        xs.append(course.ends_at.timestamp())
        ys.append(ys[-1])
    forecast = course.forecast
    drawn = {
        "unit": unit,
        "zone": course.zone.key,
        "begin": course.begins_at.timestamp(),
        "end": course.ends_at.timestamp(),
        "x": xs,
        "y": ys,
        "levels": [[level.severity, float(level.below), float(level.clear)] for level in course.levels],
        "rises": [[rise.at.timestamp(), float(rise.amount), rise.is_refill] for rise in course.rises],
        "spans": [
            [span.begins_at.timestamp(), _seconds(span.ends_at), span.severity, span.rule] for span in course.spans
        ],
        "empty": _day(forecast.likely, course) if forecast and forecast.likely else "",
        "forecast": _seconds_of((forecast.earliest, forecast.likely, forecast.latest)) if forecast else None,
    }
    return json.dumps(drawn, separators=(",", ":"))


def _day(at: datetime, course: Course) -> str:
    local = at.astimezone(course.zone)
    return f"{local:%a} {local.day} {local:%b}"


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _seconds_of(instants: Iterable[datetime | None]) -> list[float | None]:
    return [_seconds(at) for at in instants]

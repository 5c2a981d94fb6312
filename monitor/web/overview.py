"""The overview: every organization, what runs out first on top; then what else is wrong."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from monitor import query
from monitor.amounts import is_currency
from monitor.chart import Course, Point, draw_spark
from monitor.message.runway import name_moment
from monitor.message.status_line import leads_line
from monitor.model import Runway
from monitor.proration import EPOCH
from monitor.query import OrganizationStatus, Used
from monitor.rows.status import Standing, runway_in_words
from monitor.store.writer import Engine

ROWS: Final = 100  # a page
AT_ONCE: Final = 50  # organizations whose use is read together
LONGEST: Final = 2.0  # seconds of one page for that
UNKNOWN: Final = (None, EPOCH, None, None)
STATES: Final = ("critical", "warning", "info", "unknown", "ok", "silenced", "paused")
SHAPES: Final = {"critical": "◆", "warning": "▲", "info": "●", "unknown": "?", "ok": "✓"}
SORTS: Final = ("state", "organization", "balance", "age", "runway", "day", "week")
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)
MONTH: Final = timedelta(days=30)
FAR: Final = 60 * 24  # hours from which on no day is named


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for, as it stands in the URL."""

    q: str = ""
    state: str = ""
    sort: str = "runway"
    page: int = 1
    wall: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "View":
        """Read it from a query string; what nobody knows counts as not given."""
        sort, number = given.get("sort", ""), given.get("page", "")
        return cls(
            q=given.get("q", "")[:200].strip(),
            state=given["state"] if given.get("state") in STATES else "",
            sort=sort if sort.removeprefix("-") in SORTS else "runway",
            page=int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 1,  # noqa: PLR2004
            wall="wall" in given,
        )

    @property
    def column(self) -> str:
        """The column by which it is sorted."""
        return self.sort.removeprefix("-")


class Figures:
    """Use and sparklines, remembered as long as no newer balance is recorded."""

    def __init__(self) -> None:
        self._used: dict[int, tuple[datetime | None, datetime, Used | None, Used | None]] = {}
        self._sparks: dict[int, tuple[datetime | None, str]] = {}

    def used(
        self, engine: Engine, rows: Sequence[OrganizationStatus], now: datetime
    ) -> dict[int, tuple[Used | None, Used | None]]:
        """Return the use of 24 hours and of 7 days, by organization; of thousands those for which there is time."""
        old = [row for row in rows if not self._is_known(row, now - timedelta(hours=1))]
        until = time.monotonic() + LONGEST
        for begin in range(0, len(old), AT_ONCE):
            if time.monotonic() > until:
                break
            part = old[begin : begin + AT_ONCE]
            ids = [row.id for row in part]
            day = query.used_within(engine, ids, since=now - DAY, until=now)
            week = query.used_within(engine, ids, since=now - WEEK, until=now)
            self._used |= {row.id: (row.taken_at, now, day.get(row.id), week.get(row.id)) for row in part}
        return {row.id: self._used.get(row.id, UNKNOWN)[2:] for row in rows}

    @property
    def known(self) -> int:
        """Of how many organizations the use is known: a page is another one when it grows."""
        return len(self._used)

    def _is_known(self, row: OrganizationStatus, since: datetime) -> bool:
        known = self._used.get(row.id)
        return known is not None and known[0] == row.taken_at and known[1] >= since

    def sparks(
        self, engine: Engine, rows: Sequence[OrganizationStatus], now: datetime, zone: ZoneInfo
    ) -> dict[int, str]:
        """Return a picture of the last 30 days of each organization."""
        old = [row for row in rows if self._sparks.get(row.id, (now, ""))[0] != row.taken_at]
        if old:
            days = query.daily_balances(engine, [row.id for row in old], since=now - MONTH)
            self._sparks |= {row.id: (row.taken_at, _spark(row, days.get(row.id, []), now, zone)) for row in old}
        return {row.id: self._sparks[row.id][1] for row in rows}


def _spark(row: OrganizationStatus, days: Sequence[tuple[datetime, Decimal]], now: datetime, zone: ZoneInfo) -> str:
    points = [Point(*day) for day in days]
    if not points:
        return ""
    return draw_spark(Course(row.name, row.unit, now - MONTH, now, zone, points=points, every=DAY))


def overview(engine: Engine, standing: Standing, view: View, figures: Figures) -> dict[str, Any]:
    """Return what the template shows."""
    every = [_entry(standing, row) for row in standing.organizations]
    chosen = [entry for entry in every if _is_wanted(entry, view)]
    by_use = view.column in {"day", "week"}
    if by_use:
        _add_use(engine, chosen, standing.now, figures)
    chosen = _sorted(chosen, view)
    pages = max(1, math.ceil(len(chosen) / ROWS))
    page = min(max(view.page, 1), pages)
    shown = chosen[(page - 1) * ROWS : page * ROWS]
    if not by_use:
        _add_use(engine, shown, standing.now, figures)
    sparks = figures.sparks(engine, [entry["row"] for entry in shown], standing.now, standing.settings.timezone)
    for entry in shown:
        entry["spark"] = sparks[entry["row"].id]
    return {
        "view": view,
        "sentence": _sentence(standing),
        "first_lines": standing.first_lines(),
        "lines": list(standing.lines()),
        "entries": shown,
        "found": len(chosen),
        "all": len(every),
        "page": page,
        "pages": pages,
        "totals": _totals(every),
        "states": STATES,
        "heard_at": standing.recorded_at,
    }


def _add_use(engine: Engine, entries: Sequence[dict[str, Any]], now: datetime, figures: Figures) -> None:
    used = figures.used(engine, [entry["row"] for entry in entries], now)
    for entry in entries:
        entry["day"], entry["week"] = (amount.used if amount else None for amount in used[entry["row"].id])


def _entry(standing: Standing, row: OrganizationStatus) -> dict[str, Any]:
    runway = standing.runways.get(row.id)
    quiet = standing.quiet(row)
    return {
        "row": row,
        "shape": SHAPES[row.state],
        "unit": row.unit,
        "hours": _hours(row, runway, standing.now),
        "runway": runway_in_words(runway),
        "empty_on": empty_on(row, runway, standing),
        "quiet": _quiet_words(quiet, standing),
        "silenced": quiet["silenced"],
        "paused": quiet["paused"],
    }


def _hours(row: OrganizationStatus, runway: Any, now: datetime) -> float | None:
    """Return the hours from now until the balance is used up; None while unknown."""
    if row.credits is not None and row.credits <= 0:
        return 0.0
    if not isinstance(runway, Runway) or row.taken_at is None:
        return None
    return max(0.0, runway.likely - (now - row.taken_at) / timedelta(hours=1))


def empty_on(row: OrganizationStatus, runway: Any, standing: Standing) -> str:
    """Return roughly when it will be empty: `Thursday evening`; "" when unknown or far off."""
    hours = _hours(row, runway, standing.now)
    if hours is None or hours >= FAR or hours == 0:
        return ""
    return name_moment(standing.now, timedelta(hours=hours), timezone=standing.settings.timezone)


def _quiet_words(quiet: Mapping[str, Any], standing: Standing) -> str:
    words = ["paused"] if quiet["paused"] else []
    if quiet["silenced"]:
        until = quiet["silenced_until"]
        words.append(
            f"silenced until {until.astimezone(standing.settings.timezone):%Y-%m-%d %H:%M}" if until else "acknowledged"
        )
    words += [f"{channel['channel']} is down" for channel in quiet["channels_down"]]
    return ", ".join(words)


def _is_wanted(entry: Mapping[str, Any], view: View) -> bool:
    row, text = entry["row"], view.q.casefold()
    if text and not any(text in (word or "").casefold() for word in (row.name, row.title, row.account, row.vendor_id)):
        return False
    return not view.state or entry.get(view.state) is True or row.state == view.state


def _sorted(entries: Sequence[dict[str, Any]], view: View) -> list[dict[str, Any]]:
    """Return the entries in order; what is not known is behind what is, whichever way."""
    known = [entry for entry in entries if _figure(entry, view.column) is not None]
    unknown = [entry for entry in entries if _figure(entry, view.column) is None]
    known.sort(key=lambda entry: (_figure(entry, view.column), *_tie(entry)), reverse=view.sort.startswith("-"))
    return known + sorted(unknown, key=_tie)


def _figure(entry: Mapping[str, Any], column: str) -> Any:
    row = entry["row"]
    return {
        "state": SORT_OF_STATE[row.state],
        "organization": row.name.casefold(),
        "balance": row.credits,
        "age": None if row.taken_at is None else -row.taken_at.timestamp(),
        "runway": entry["hours"],
        "day": entry.get("day"),
        "week": entry.get("week"),
    }[column]


def _tie(entry: Mapping[str, Any]) -> tuple[int, float, str]:
    hours = entry["hours"] if entry["hours"] is not None else math.inf
    return SORT_OF_STATE[entry["row"].state], hours, entry["row"].name


SORT_OF_STATE: Final = {"critical": 0, "warning": 1, "info": 2, "unknown": 3, "ok": 4}


def _sentence(standing: Standing) -> str:
    """Return `12 organizations, 1 critical, next poll in 3 min`."""
    worst = Counter(row.incidents[0].severity for row in standing.organizations if row.incidents)
    failing = sum(row.failure is not None for row in standing.organizations)
    polled = standing.recorded_at
    due = None if polled is None or standing.standstill else polled + standing.settings.shortest_every - standing.now
    return leads_line(len(standing.organizations), failing=failing, troubled=worst, next_poll=due)


def _totals(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, Decimal, int]]:
    """Return unit, sum of the balances and how many there are."""
    sums: dict[tuple[str, str], list[Decimal]] = {}  # a currency is money of its own, another unit its vendor's
    for row in (entry["row"] for entry in entries):
        if row.credits is not None:
            sums.setdefault((row.unit, "" if is_currency(row.unit) else row.provider), []).append(row.credits)
    vendors = Counter(unit for unit, _ in sums)
    return [
        (f"{unit} ({vendor})" if vendors[unit] > 1 else unit, sum(balances, Decimal(0)), len(balances))
        for (unit, vendor), balances in sorted(sums.items())
    ]

"""Use by hour, day, week or month as a row of bars; the figures stand in the table below it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from monitor.query import UsageRow

WIDTH: Final = 960
HEIGHT: Final = 96
FORMS: Final = {"hour": "%a %H:%M", "day": "%a %d %b", "week": "week of %d %b", "month": "%b %Y"}


def draw_bars(rows: Sequence[UsageRow], by: str, zone: ZoneInfo, write: Callable[[Decimal], str]) -> str:
    """Return the SVG; nothing where no use is known."""
    most = max((row.used for row in rows if row.used), default=None)
    if not rows or not most:
        return ""
    step = WIDTH / len(rows)
    bars = "".join(
        _bar(row, number * step, step, most, name_bucket(row.starts_at, by, zone), write)
        for number, row in enumerate(rows)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bars" viewBox="0 0 {WIDTH} {HEIGHT + 2}" width="{WIDTH}"'
        f' height="{HEIGHT + 2}" preserveAspectRatio="none" role="img"'
        f' aria-label="Used by {by}, at most {escape(write(most))}">{bars}</svg>'
    )


def _bar(row: UsageRow, left: float, step: float, most: Decimal, when: str, write: Callable[[Decimal], str]) -> str:
    height = float(row.used / most) * HEIGHT if row.used else 0.0
    width = max(step - 2, 0.8)
    kind = "bar bar-gap" if row.gap else "bar"
    words = "not known" if row.used is None else f"{write(row.used)} used"
    return (
        f'<rect class="{kind}" x="{left + 1:.1f}" y="{HEIGHT + 1 - max(height, 1):.1f}" width="{width:.1f}"'
        f' height="{max(height, 1):.1f}"><title>{escape(f"{when}: {words}")}</title></rect>'
    )


def name_bucket(at: datetime, by: str, zone: ZoneInfo) -> str:
    """Return a bucket by its local beginning."""
    return at.astimezone(zone).strftime(FORMS[by])

"""Runways in words: for a sentence, a row of a message, a cell of a table.

Hours under two days, then days, and no figure beyond 60 days.
"""

import math
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from monitor.model import Facts, Runway, Unknown

MINUTE: Final = 1 / 60  # in hours, like all figures here
DAY: Final = 24
IN_HOURS: Final = 2 * DAY  # under this a runway is ends_text in hours
FAR: Final = 60 * DAY  # from here on no figure is given
WEEKDAY_ALONE: Final = timedelta(days=6)  # so far ahead a weekday cannot be mistaken for the one a week later
WHOLE: Final = 9.95  # what would be shown as 10.0 or more has no decimal
PARTS: Final = ((6, "night"), (12, "morning"), (18, "afternoon"), (22, "evening"), (24, "night"))  # until this hour


def remaining(facts: Facts, hours: float) -> float:
    """Return hours from the instant of the facts: a forecast counts from the snapshot it was made of."""
    if facts.taken_at is None:
        return max(hours, 0.0)
    return max(hours - max(facts.at - facts.taken_at, timedelta(0)) / timedelta(hours=1), 0.0)


def lasting(facts: Facts) -> str:
    """Return `about 3.1 days` or `more than 60 days`, for a forecast that is neither unknown nor infinite."""
    hours = remaining(facts, facts.runway_likely or 0.0)
    return " ".join(_amount(hours)) if hours >= FAR else f"about {' '.join(_amount(hours))}"


def is_over(facts: Facts) -> bool:
    """Return whether by the forecast nothing is left now."""
    return facts.runway_likely is not None and remaining(facts, facts.runway_likely) < MINUTE


def moment(facts: Facts, *, timezone: ZoneInfo) -> str:
    """Return roughly when it will be empty: `Thursday evening`, `Saturday 5 December`; "" when far off.

    A night belongs to the day on which it begins.
    """
    if facts.runway_likely is None or remaining(facts, facts.runway_likely) >= FAR:
        return ""
    return name_moment(facts.at, timedelta(hours=remaining(facts, facts.runway_likely)), timezone=timezone)


def name_moment(at: datetime, ahead: timedelta, *, timezone: ZoneInfo) -> str:
    """Return roughly what time it is then, as seen `at` an instant: `Thursday evening`, `Saturday 5 December`."""
    then = (at + ahead).astimezone(timezone)
    return f"{then:%A} {then.day} {then:%B}" if ahead >= WEEKDAY_ALONE else _part_of_day(then)


def _part_of_day(at: datetime) -> str:
    part = next(name for until, name in PARTS if at.hour < until)
    day = at - timedelta(days=1) if part == "night" and at.hour < DAY // 2 else at
    return f"{day:%A} {part}"


def band(facts: Facts) -> str:
    """Return `2.4 to 4.0 days`; "" when unknown or no wider than the likely figure."""
    if not isinstance(facts.runway, Runway):
        return ""
    low, high = _amount(remaining(facts, facts.runway.low)), _amount(remaining(facts, facts.runway.high))
    if low == high:
        return ""
    return f"{low[0]} to {' '.join(high)}" if low[1] == high[1] else f"{' '.join(low)} to {' '.join(high)}"


def describe(facts: Facts, *, timezone: ZoneInfo) -> str:
    """Return the forecast for a row of its own; "" when there is none."""
    if facts.runway_likely is None:
        return _missing(facts.runway.missing) if isinstance(facts.runway, Unknown) else ""
    if math.isinf(facts.runway_likely):
        return "nothing is used"
    if remaining(facts, facts.runway_likely) >= FAR:
        return "more than 60 days"
    if is_over(facts):
        return "empty by now"
    when = f"empty in {lasting(facts)}, {moment(facts, timezone=timezone)} ({timezone})"
    return f"{when}; {range_}" if (range_ := band(facts)) else when


def _missing(missing: timedelta) -> str:
    hours = max(math.ceil(missing / timedelta(hours=1)), 1)
    return (
        f"unknown; {hours} more {'hour' if hours == 1 else 'hours'} of history {'is' if hours == 1 else 'are'} needed"
    )


def _amount(hours: float) -> tuple[str, str]:
    """Return a figure and its unit."""
    if hours >= FAR:
        return "more than 60", "days"
    if hours >= IN_HOURS:
        return _digits(hours / DAY), "days"
    if hours >= 1:
        return _digits(hours), "hours"
    minutes = int(hours / MINUTE)
    return str(minutes), "minute" if minutes == 1 else "minutes"


def _digits(figure: float) -> str:
    return f"{figure:.1f}" if figure < WHOLE else f"{figure:.0f}"


# --- for tables -------------------------------------------------------------------------------------------------------

DASH: Final = "\u2013"
SHORT: Final = {"days": "d", "hours": "h", "minutes": "min", "minute": "min"}


def format_runway(likely: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a runway in short: `3.1 d (2.4-4.0)`, `31 h (20 h-2.1 d)`, `> 60 d`, `nothing used`, `unknown`."""
    if likely is None:
        return "unknown"
    if math.isinf(likely):
        return "nothing used"
    if likely >= FAR:
        return "> 60 d"
    figure, unit = _short(likely)
    if low is None or high is None or _short(low) == _short(high):
        return f"{figure} {unit}"
    ends = (_short(low), _short(high))
    ends_text = (end[0] if {end[1] for end in ends} == {unit} else " ".join(end) for end in ends)
    return f"{figure} {unit} ({DASH.join(ends_text)})"


def _short(hours: float) -> tuple[str, str]:
    figure, unit = _amount(max(hours, 0.0))
    return figure.replace("more than 60", "60+"), SHORT[unit]

"""Values of the alerting settings as people write them: shares, limits, gaps between reminders, times of the day."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from monitor import durations
from monitor.config.units import OFF, credits_figure, zone

HOUR: Final = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Share(Decimal):
    """A level as a share of the last top-up: 0.2 is "20%"."""


def level(value: Any) -> Decimal:
    """A level of credits, or a share of the last top-up such as "20%"."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return credits_figure(value)
    try:
        percent = Decimal(value.strip().removesuffix("%").strip())
    except InvalidOperation:
        percent = Decimal(-1)
    if not percent.is_finite() or not 0 < percent <= 100:  # noqa: PLR2004 -- percent
        raise ValueError('expected a share of the last top-up from above "0%" to "100%"')
    return Share(percent / 100)


def spend(value: Any) -> Mapping[str, Any] | None:
    """`"500/1h"`, `{ credits = 500, window = "1h", clear = 400 }`, or "off" (None)."""
    if value == OFF:
        return None
    if isinstance(value, Mapping):
        return value
    parts = re.fullmatch(r"\s*([0-9.]+)\s*/\s*(\w+)\s*", value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected credits in a time such as "500/1h", { credits = 500, window = "1h" }, or "off"')
    return {"credits": parts[1], "window": parts[2]}


def reminders(value: Any) -> Mapping[str, Any]:
    """Gaps by severity; one gap, list of gaps or "off" (none) stands for all severities."""
    if isinstance(value, Mapping):
        return value
    return dict.fromkeys(("info", "warning", "critical"), value)


def gaps(value: Any) -> tuple[timedelta, ...]:
    """Growing gaps between reminders, the last of which repeats; "off" is none."""
    if value == OFF:
        return ()
    listed = value if isinstance(value, list | tuple) else [value]
    found = tuple(durations.parse(one) for one in listed)
    if not found or any(later < earlier for earlier, later in pairwise(found)):
        raise ValueError('expected a gap such as "4h", or growing ones such as ["4h", "8h", "1d"]')
    if found[0] < timedelta(minutes=1):
        raise ValueError("expected gaps of a minute or more")
    return found


@dataclass(frozen=True, slots=True)
class Quiet:
    """Quiet hours as written; no zone means the one of all settings."""

    start: time
    end: time
    zone: ZoneInfo | None = None

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}" + (f" {self.zone.key}" if self.zone else "")


def quiet_hours(value: Any) -> Quiet | None:
    """`"22:00-07:00"`, with a time zone behind it where it is another than that of all settings; or "off" (None)."""
    if value == OFF:
        return None
    parts = re.fullmatch(rf"{HOUR}\s*-\s*{HOUR}(?:\s+(\S+))?", value.strip()) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected hours such as "22:00-07:00" or "22:00-07:00 Europe/Berlin", or "off"')
    start, end = time(int(parts[1]), int(parts[2])), time(int(parts[3]), int(parts[4]))
    if start == end:
        raise ValueError("begins and ends at the same time")
    return Quiet(start, end, zone(parts[5]) if parts[5] else None)


@dataclass(frozen=True, slots=True)
class DigestAt:
    """When a digest is due, as written; no zone means the one of all settings."""

    at: time
    weekday: int | None = None
    zone: ZoneInfo | None = None

    def __str__(self) -> str:
        day = "daily" if self.weekday is None else f"weekly {WEEKDAYS[self.weekday]}"
        return f"{day} {self.at:%H:%M}" + (f" {self.zone.key}" if self.zone else "")


def digest(value: Any) -> DigestAt | None:
    """`"daily 08:00"`, `"weekly mon 08:00"`, with a time zone behind it where needed; or "off" (None)."""
    if value == OFF:
        return None
    days = "|".join(WEEKDAYS)
    pattern = rf"(?:daily|weekly\s+({days})\w*)\s+{HOUR}(?:\s+(\S+))?"
    parts = re.fullmatch(pattern, value.strip(), re.IGNORECASE) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected "daily 08:00" or "weekly mon 08:00", perhaps with a time zone behind it, or "off"')
    weekday = WEEKDAYS.index(parts[1].lower()) if parts[1] else None
    return DigestAt(time(int(parts[2]), int(parts[3])), weekday, zone(parts[4]) if parts[4] else None)


def yes_or_no(value: Any) -> bool:
    """True or false; in an environment variable as words."""
    words = {"true": True, "false": False}
    found = words.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError("expected true or false")
    return found

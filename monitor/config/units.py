"""Values as people write them, turned into what the rooms use: durations, rates, ladders, names.

Every function takes what TOML or an environment variable holds and raises `ValueError` that says what was expected; no
message repeats a value that may be secret.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from monitor.model import Generation, RateLimit, Rung, Severity

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST: Final = timedelta(days=3660)
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
OFF: Final = "off"

CREDITS_BAND: Final = Decimal("1.05")
RUNWAY_BAND: Final = Decimal("1.25")
MOST_CREDITS: Final = Decimal(10) ** 12


def duration(value: Any) -> timedelta:
    """A length of time: "90s", "5m", "1h30m", "7d", "2w"."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        raise ValueError(f'has no unit; expected a length of time such as "{value}s" or "{value}m"')
    parts = re.findall(r"(\d{1,9})([smhdw])", value) if isinstance(value, str) else []
    if not parts or "".join(n + u for n, u in parts) != value:
        raise ValueError('expected a length of time such as "90s", "5m", "1h30m" or "7d"')
    if len({unit for _, unit in parts}) < len(parts):
        raise ValueError("names a unit twice")
    total = sum((timedelta(**{UNITS[u]: int(n)}) for n, u in parts), timedelta())
    if not timedelta(0) < total <= LONGEST:
        raise ValueError("expected more than nothing and at most ten years")
    return total


def duration_or_off(value: Any) -> timedelta | None:
    """A duration, or "off" (None)."""
    return None if value == OFF else duration(value)


def text(value: Any) -> str:
    """Any text that is not empty and holds no control characters."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("expected a text that is not empty")
    return value.strip()


def names(value: Any) -> tuple[str, ...]:
    """A list of names; in an environment variable also separated by commas."""
    listed = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise ValueError('expected a list of names such as ["ops", "mail"]')
    return tuple(dict.fromkeys(listed))


def whole(value: Any) -> int:
    """A whole number from 1 on."""
    try:
        number = int(value) if not isinstance(value, bool | Decimal) else 0
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= 1000:  # noqa: PLR2004 -- said in the message
        raise ValueError("expected a whole number from 1 to 1000")
    return number


def choice(*allowed: str) -> Any:
    """A function that takes one of these words."""

    def choose(value: Any) -> str:
        if value not in allowed:
            raise ValueError("expected " + " or ".join(f'"{one}"' for one in allowed))
        return str(value)

    return choose


def generation(value: Any) -> Generation:
    """A generation of the vendor's API."""
    return Generation(choice("v1", "v1alpha")(value))


def severity(value: Any) -> Severity:
    """A severity by its word."""
    if isinstance(value, Severity):
        return value
    return Severity.of(choice("info", "warning", "critical")(value))


def zone(value: Any) -> ZoneInfo:
    """A time zone of the IANA database."""
    try:
        return ZoneInfo(text(value))
    except (KeyError, ValueError, OSError):
        raise ValueError('is not a time zone; expected a name such as "Europe/Berlin" or "UTC"') from None


def base_url(value: Any) -> str:
    """Where a vendor is: http or https, a host, perhaps a port and a path; no user, no query."""
    try:
        parts = urlsplit(text(value))
        good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError('expected a URL such as "https://api.stability.ai"') from None
    if not good or "@" in parts.netloc or parts.query or parts.fragment or " " in value.strip():
        raise ValueError('expected a URL such as "https://api.stability.ai", without user, query or fragment')
    return text(value).rstrip("/")


def rate_limit(value: Any) -> RateLimit | None:
    """Requests in a time ("75/10s"), or "off" (None)."""
    if value == OFF:
        return None
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6}[smh])", value) if isinstance(value, str) else None
    if parts is None or int(parts[1]) == 0:
        raise ValueError('expected requests in a time such as "75/10s", or "off"')
    return RateLimit(int(parts[1]), duration(parts[2]))


def credits_figure(value: Any) -> Decimal:
    """A level of credits."""
    try:
        number = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 <= number < MOST_CREDITS:
        raise ValueError("expected a number of credits, 0 or more")
    return number.quantize(Decimal("0.000001"))


def hours_figure(value: Any) -> Decimal:
    """A level of runway, in hours."""
    return Decimal(int(duration(value).total_seconds())) / 3600


def credits_ladder(value: Any) -> tuple[Rung, ...]:
    """`{ warning = 1000, critical = 200, clear = { warning = 1500 } }`, or "off"."""
    return _ladder(value, credits_figure, CREDITS_BAND)


def runway_ladder(value: Any) -> tuple[Rung, ...]:
    """`{ warning = "7d", critical = "2d" }`, or "off"; the rungs are in hours."""
    return _ladder(value, hours_figure, RUNWAY_BAND)


def _ladder(value: Any, figure: Any, band: Decimal) -> tuple[Rung, ...]:
    if value == OFF:
        return ()
    if not isinstance(value, Mapping):
        raise ValueError('expected levels such as { warning = …, critical = … }, or "off"')
    levels = {key: level for key, level in value.items() if key != "clear"}
    clears = value.get("clear", {})
    if not isinstance(clears, Mapping):
        raise ValueError("clear: expected levels such as { warning = … }")
    _require_levels(levels, clears)
    rungs = [_rung(word, levels[word], clears.get(word), figure, band) for word in levels]
    rungs.sort(key=lambda rung: -rung.severity)
    for worse, milder in pairwise(rungs):
        if worse.below >= milder.below:
            raise ValueError(f"{worse.severity.label}: must be lower than {milder.severity.label}")
    return tuple(rungs)


def _require_levels(levels: Mapping[str, Any], clears: Mapping[str, Any]) -> None:
    words = [one.label for one in Severity]
    for word in levels:
        if word not in words:
            raise ValueError(f"{word}: is not a level; expected warning, critical (or info), clear")
    if not levels:
        raise ValueError('has no level; expected { warning = …, critical = … }, or "off"')
    for word in clears:
        if word not in levels:
            raise ValueError(f"clear.{word}: there is no level of that name to clear")


def _rung(word: str, level: Any, clear: Any, figure: Any, band: Decimal) -> Rung:
    try:
        below = figure(level)
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from None
    try:
        cleared = below * band if clear is None else figure(clear)
    except ValueError as error:
        raise ValueError(f"clear.{word}: {error}") from None
    if cleared < below:
        raise ValueError(f"clear.{word}: must not be under the level itself")
    return Rung(Severity.of(word), below, cleared)

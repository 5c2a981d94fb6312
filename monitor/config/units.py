"""Values as people write them, turned into what the rooms use.

Every function takes what TOML or an environment variable holds and raises `ValueError` that says what was expected; no
message repeats a value, for it may be secret.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from monitor import amounts, durations
from monitor.model import Generation, RateLimit, Severity

OLDEST: Final = 100 * 365 * 86400
NAME: Final = re.compile(r"(?=.{1,64}$)[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*")
OFF: Final = "off"
FOREVER: Final = "forever"
MOST_CHECKS: Final = 1000
MOST_COSTLY: Final = Decimal(10) ** 6
CHEAPEST: Final = Decimal("1e-12")
LAST_PORT: Final = 65_535
HOST: Final = re.compile(r"[a-z0-9]+(?:[-._][a-z0-9]+)*")


def age(value: Any) -> timedelta | None:
    """How old something may get: a length of time up to a hundred years, "forever" or "off" (None)."""
    if isinstance(value, str) and value in {FOREVER, OFF}:
        return None
    seconds = durations.seconds(value)
    if not 0 < seconds <= OLDEST:
        raise ValueError('expected more than nothing and at most a hundred years, or "forever"')
    return timedelta(seconds=seconds)


def duration_or_off(value: Any) -> timedelta | None:
    """A duration, or "off" (None)."""
    return None if value == OFF else durations.parse(value)


def text(value: Any) -> str:
    """Any text that is not empty and stands on one line."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    stripped = value.strip()
    if not stripped:
        raise ValueError("is empty")
    if not stripped.isprintable():
        raise ValueError("holds a line break or another character that cannot be printed")
    return stripped


def names(value: Any) -> tuple[str, ...]:
    """A list of names; in an environment variable also separated by commas."""
    listed = [part.strip() for part in text(value).split(",")] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
        raise ValueError('expected a list of names such as ["ops", "mail"]')
    return tuple(dict.fromkeys(listed))


def checks(value: Any) -> int:
    """A number of checks."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value)):
        raise ValueError("expected a whole number from 1 to 1000")
    if not 1 <= int(value) <= MOST_CHECKS:
        raise ValueError("expected a whole number from 1 to 1000")
    return int(value)


def choice(*allowed: str) -> Callable[[Any], str]:
    """A function that takes one of these words."""

    def choose(value: Any) -> str:
        if value not in allowed:
            raise ValueError("expected " + " or ".join(f'"{one}"' for one in allowed))
        return str(value)

    return choose


def generation(value: Any) -> Generation:
    """A generation of the vendor's API."""
    return Generation(choice(*Generation)(value))


def severity(value: Any) -> Severity:
    """A severity by its word."""
    return Severity.of(choice(*(one.label for one in Severity))(value))


def zone(value: Any) -> ZoneInfo:
    """A time zone of the IANA database."""
    name = text(value)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), 1)
        hint = f"did you mean {near[0]}?" if near else 'expected a name such as "Europe/Berlin" or "UTC"'
        raise ValueError(f"is not a time zone; {hint}") from None


def credits_figure(value: Any) -> Decimal:
    """A level of credits."""
    try:
        number = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not amounts.is_plausible(number) or number < 0:
        raise ValueError("expected a number of credits, 0 or more")
    return amounts.rounded(number)


def price(value: Any) -> Decimal:
    """What one credit costs."""
    try:
        number = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 <= number < MOST_COSTLY:
        raise ValueError("expected a price such as 0.01, 0 or more")
    if number != number.quantize(CHEAPEST):
        raise ValueError("has more than twelve decimal places")
    return number.normalize()


def hours_figure(value: Any) -> Decimal:
    """A level of runway, in hours."""
    return Decimal(int(durations.parse(value).total_seconds())) / 3600


def levels(value: Any) -> Mapping[str, Any] | None:
    """The levels of a rule, still unread, or "off" (None)."""
    if value == OFF:
        return None
    if not isinstance(value, Mapping):
        raise ValueError('expected levels such as { warning = …, critical = … }, or "off"')
    return value


def rate_limit(value: Any) -> RateLimit | None:
    """Requests in a time ("75/10s"), or "off" (None)."""
    if value == OFF:
        return None
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6}[hms])", value) if isinstance(value, str) else None
    if parts is None or int(parts[1]) == 0:
        raise ValueError('expected requests in a time such as "75/10s", or "off"')
    return RateLimit(int(parts[1]), durations.parse(parts[2]))


# --- addresses --------------------------------------------------------------------------------------------------------


def base_url(value: Any) -> str:
    """Where a vendor is: http or https, a host, perhaps a port and a path."""
    parts = _split(text(value))
    if parts is None or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "https://api.stability.ai", without user, query or fragment')
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")


def is_open_http(url: str) -> bool:
    """Whether what is sent to a URL travels unencrypted, and leaves this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        stays = ipaddress.ip_address(host).is_loopback
    except ValueError:
        stays = host == "localhost"
    return parts.scheme == "http" and not stays


def proxy(value: Any) -> str:
    """A proxy: http or https, perhaps a user and a password."""
    parts = _split(text(value))
    if parts is None or parts.scheme not in {"http", "https"} or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "http://proxy.example.org:3128"')
    return text(value)


def listen(value: Any) -> tuple[str, int] | None:
    """Host and port to listen on, a port alone on this machine only, or "off" (None)."""
    if value == OFF:
        return None
    written = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]+", written):
        written = f"127.0.0.1:{written}"
    parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", written)
    if parts is None or not 0 < int(parts[3]) <= LAST_PORT or (parts[1] and not _is_ipv6(parts[1])):
        raise ValueError('expected a host and a port such as "127.0.0.1:9464" or "[::1]:9464", a port alone, or "off"')
    return (parts[1] or parts[2]).lower(), int(parts[3])


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def hosts(value: Any) -> tuple[str, ...]:
    """Names under which a server is asked for."""
    found = tuple(one.lower() for one in names(value))
    if not all(HOST.fullmatch(one) for one in found):
        raise ValueError('expected names of hosts without port such as ["monitor.example.org"]')
    return found


def database_url(value: Any) -> str:
    """SQLite by its file or PostgreSQL by its host; refuses what cannot be told apart from the password."""
    url = text(value)
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and re.fullmatch(r"/(?!:memory:|file:).*[^/]", rest):
        return url
    if not separator or scheme not in {"postgresql", "postgresql+psycopg", "postgres"}:
        raise ValueError('expected "sqlite:////path/to/file.db" or "postgresql://user@host/name"')
    parts = _split(url, host=False)
    if parts is None or "@" in parts.path + parts.query or parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError(
            'expected "postgresql://user@host/name"; in a password, %40 is @, %3A is :, %2F is /, %3F is ?, %23 is #'
        )
    return url


def _split(url: str, *, host: bool = True) -> SplitResult | None:
    """The parts of a URL; None when it has no host, a wrong port or a space."""
    try:
        parts = urlsplit(url)
        sound = (parts.hostname or not host) and parts.port != 0 and " " not in url
    except ValueError:
        return None
    return parts if sound else None

"""Values of settings as people write them, turned into what the rooms use.

Every function takes what TOML or an environment variable holds and raises `ValueError` that says what was expected; no
message repeats a value, for it may be secret.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from monitor import amounts, durations
from monitor.model import Generation, RateLimit, Severity

NAME: Final = re.compile(r"(?=.{1,64}$)[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*")
OFF: Final = "off"
FOREVER: Final = "forever"

# --- text -------------------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """Return text that is not empty and stands on one line."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    stripped = value.strip()
    if not stripped:
        raise ValueError("is empty")
    if not stripped.isprintable():
        raise ValueError("holds a line break or another character that cannot be printed")
    return stripped


def names(value: Any) -> tuple[str, ...]:
    """Return the names of a list; in an environment variable they are also separated by commas."""
    listed = [part.strip() for part in text(value).split(",")] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise ValueError('expected a list of names such as ["ops", "mail"]')
    return _shared(tuple(dict.fromkeys(listed)))


@lru_cache(maxsize=1024)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of equal tuples: thousands of organizations name the same few channels."""
    return names


def yes_or_no(value: Any) -> bool:
    """Return true or false; in an environment variable they are words."""
    words = {"true": True, "false": False}
    answer = words.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(answer, bool):
        raise ValueError("expected true or false")
    return answer


def choice(*allowed: str) -> Callable[[Any], str]:
    """Return a function that takes one of these words."""

    def choose(value: Any) -> str:
        if value not in allowed:
            raise ValueError("expected " + " or ".join(f'"{word}"' for word in allowed))
        return str(value)

    return choose


def generation(value: Any) -> Generation:
    """Return a generation of the vendor's API."""
    return Generation(choice(*Generation)(value))


def severity(value: Any) -> Severity:
    """Return a severity by its word."""
    return Severity.of(choice(*(severity.label for severity in Severity))(value))


# --- figures ----------------------------------------------------------------------------------------------------------

MOST_CHECKS: Final = 1000
MOST_COSTLY: Final = Decimal(10) ** 6
CHEAPEST: Final = Decimal("1e-12")


class Share(Decimal):
    """A level as a share of the last top-up: 0.2 is "20%"."""


def checks(value: Any) -> int:
    """Return a number of checks."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value)):
        raise ValueError("expected a whole number from 1 to 1000")
    if not 1 <= int(value) <= MOST_CHECKS:
        raise ValueError("expected a whole number from 1 to 1000")
    return int(value)


def credits_level(value: Any) -> Decimal:
    """Return a level of credits, six decimal places."""
    number = _decimal(value)
    if number is None or not amounts.is_plausible(number) or number < 0:
        raise ValueError("expected a number of credits, 0 or more")
    return amounts.rounded(number)


def price(value: Any) -> Decimal:
    """Return what one credit costs, twelve decimal places at most."""
    number = _decimal(value)
    if number is None or not number.is_finite() or not 0 <= number < MOST_COSTLY:
        raise ValueError("expected a price such as 0.01, 0 or more")
    if number != number.quantize(CHEAPEST):
        raise ValueError("has more than twelve decimal places")
    return number.normalize()


def _decimal(value: Any) -> Decimal | None:
    try:
        return Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        return None


def level(value: Any) -> Decimal:
    """Return a level of credits, or a `Share` of the last top-up such as "20%"."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return credits_level(value)
    try:
        percent = Decimal(value.strip().removesuffix("%").strip())
    except InvalidOperation:
        percent = Decimal(-1)
    if not percent.is_finite() or not 0 < percent <= 100:  # noqa: PLR2004 -- percent
        raise ValueError('expected a share of the last top-up from above "0%" to "100%"')
    return Share(percent / 100)


def levels(value: Any) -> Mapping[str, Any] | None:
    """Return the levels of a rule, still unread, or None for "off"."""
    if value == OFF:
        return None
    if not isinstance(value, Mapping):
        raise ValueError('expected levels such as { warning = …, critical = … }, or "off"')
    return value


LEVELS: Final = frozenset(("info", "warning", "critical", "clear"))


def is_by_unit(value: Any) -> bool:
    """Return whether levels are written for each unit: a table of tables, none of which is a level's name."""
    if not isinstance(value, Mapping) or not value or LEVELS & set(value):
        return False
    return all(isinstance(inner, Mapping) or inner == OFF for inner in value.values())


def variables(value: Any) -> Mapping[str, str]:
    """Return what fills `{name}` in a description: words by name."""
    if not isinstance(value, Mapping) or not all(isinstance(inner, str) for inner in value.values()):
        raise ValueError('expected names and texts such as { team = "t-1" }')
    return dict(value)


def spend(value: Any) -> Mapping[str, Any] | None:
    """Return the parts of `"500/1h"` or `{ credits = 500, window = "1h" }`, still unread; None for "off"."""
    if value == OFF:
        return None
    if isinstance(value, Mapping):
        return value
    parts = re.fullmatch(r"\s*([0-9.]+)\s*/\s*(\w+)\s*", value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected credits in a time such as "500/1h", { credits = 500, window = "1h" }, or "off"')
    return {"credits": parts[1], "window": parts[2]}


def rate_limit(value: Any) -> RateLimit | None:
    """Return requests in a time ("75/10s"), or None for "off"."""
    if value == OFF:
        return None
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6}[hms])", value) if isinstance(value, str) else None
    if parts is None or int(parts[1]) == 0:
        raise ValueError('expected requests in a time such as "75/10s", or "off"')
    return RateLimit(int(parts[1]), durations.parse(parts[2]))


# --- lengths of time --------------------------------------------------------------------------------------------------

OLDEST: Final = 100 * 365 * 86400  # seconds


def age(value: Any) -> timedelta | None:
    """Return how old something may get, at most a hundred years; None for "forever" or "off"."""
    if isinstance(value, str) and value in {FOREVER, OFF}:
        return None
    seconds = durations.seconds(value)
    if not 0 < seconds <= OLDEST:
        raise ValueError('expected more than nothing and at most a hundred years, or "forever"')
    return timedelta(seconds=seconds)


def duration_or_off(value: Any) -> timedelta | None:
    """Return a duration, or None for "off"."""
    return None if value == OFF else durations.parse(value)


def hours(value: Any) -> Decimal:
    """Return a level of runway, in hours."""
    return Decimal(int(durations.parse(value).total_seconds())) / 3600


def reminders(value: Any) -> Mapping[str, Any]:
    """Return gaps by severity; one gap, list of gaps or "off" (none) stands for all severities."""
    if isinstance(value, Mapping):
        return value
    return dict.fromkeys(("info", "warning", "critical"), value)


def gaps(value: Any) -> tuple[timedelta, ...]:
    """Return growing gaps between reminders, the last of which repeats; none for "off"."""
    if value == OFF:
        return ()
    listed = value if isinstance(value, list | tuple) else [value]
    parsed = tuple(durations.parse(gap) for gap in listed)
    if not parsed or any(later < earlier for earlier, later in pairwise(parsed)):
        raise ValueError('expected a gap such as "4h", or growing ones such as ["4h", "8h", "1d"]')
    if parsed[0] < timedelta(minutes=1):
        raise ValueError("expected gaps of a minute or more")
    return parsed


# --- times of the day -------------------------------------------------------------------------------------------------

HOUR: Final = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GENERAL_ZONE: Final = ZoneInfo.no_cache("UTC")  # stands for the zone of all settings until the loader knows it


def zone(value: Any) -> ZoneInfo:
    """Return a time zone of the IANA database."""
    name = text(value)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), 1)
        hint = f"did you mean {near[0]}?" if near else 'expected a name such as "Europe/Berlin" or "UTC"'
        raise ValueError(f"is not a time zone; {hint}") from None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end` of a day in a time zone (over midnight when `end` is earlier), below critical waits."""

    start: time
    end: time
    timezone: ZoneInfo = GENERAL_ZONE

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}{_zone_behind(self.timezone)}"


@dataclass(frozen=True, slots=True)
class DigestTime:
    """When a channel's digest is due: daily, or weekly on `weekday` (Monday is 0)."""

    at: time
    timezone: ZoneInfo = GENERAL_ZONE
    weekday: int | None = None

    def __str__(self) -> str:
        day = "daily" if self.weekday is None else f"weekly {WEEKDAYS[self.weekday]}"
        return f"{day} {self.at:%H:%M}{_zone_behind(self.timezone)}"


def quiet_hours(value: Any) -> QuietHours | None:
    """Return the hours of `"22:00-07:00"`, perhaps with a time zone of their own behind it; None for "off"."""
    if value == OFF:
        return None
    parts = re.fullmatch(rf"{HOUR}\s*-\s*{HOUR}(?:\s+(\S+))?", value.strip()) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected hours such as "22:00-07:00" or "22:00-07:00 Europe/Berlin", or "off"')
    start, end = time(int(parts[1]), int(parts[2])), time(int(parts[3]), int(parts[4]))
    if start == end:
        raise ValueError("begins and ends at the same time")
    return QuietHours(start, end, zone(parts[5]) if parts[5] else GENERAL_ZONE)


def digest(value: Any) -> DigestTime | None:
    """Return the time of `"daily 08:00"` or `"weekly mon 08:00"`, perhaps with a time zone; None for "off"."""
    if value == OFF:
        return None
    days = "|".join(WEEKDAYS)
    pattern = rf"(?:daily|weekly\s+({days})\w*)\s+{HOUR}(?:\s+(\S+))?"
    parts = re.fullmatch(pattern, value.strip(), re.IGNORECASE) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('expected "daily 08:00" or "weekly mon 08:00", perhaps with a time zone behind it, or "off"')
    weekday = WEEKDAYS.index(parts[1].lower()) if parts[1] else None
    own_zone = zone(parts[4]) if parts[4] else GENERAL_ZONE
    return DigestTime(time(int(parts[2]), int(parts[3])), own_zone, weekday)


def in_zone(hours: QuietHours | DigestTime | None, timezone: ZoneInfo) -> Any:
    """Return the same in the zone of all settings, unless it has one of its own."""
    return replace(hours, timezone=timezone) if hours and hours.timezone is GENERAL_ZONE else hours


def _zone_behind(timezone: ZoneInfo) -> str:
    return "" if timezone is GENERAL_ZONE else f" {timezone.key}"


# --- addresses --------------------------------------------------------------------------------------------------------

LAST_PORT: Final = 65_535
_URL_SIGNS: Final = "%:/?#[]@!$&'()*+,;=~"  # what a URL may hold besides letters and digits
HOST: Final = re.compile(r"[a-z0-9]+(?:[-._][a-z0-9]+)*")


def base_url(value: Any) -> str:
    """Return where a vendor is: http or https, a host, perhaps a port and a path."""
    parts = _split(text(value))
    if parts is None or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "https://api.stability.ai", without user, query or fragment')
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")


def is_open_http(url: str) -> bool:
    """Return whether what is sent to a URL travels unencrypted, and leaves this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and not is_here(parts.hostname or "")
    except ValueError:  # it is no URL, which is a mistake of its own
        return False


def is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def proxy(value: Any) -> str:
    """Return the URL of a proxy: http or https, perhaps a user and a password."""
    parts = _split(text(value))
    if parts is None or parts.scheme not in {"http", "https"} or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError('expected a URL such as "http://proxy.example.org:3128"')
    return text(value)


def top_up_url(value: Any) -> str | None:
    """Return the page on which credits are bought; None for "off"."""
    if value == OFF:
        return None
    url = text(value)
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or "@" in parts.netloc:
        raise ValueError('expected the URL of a page such as "https://vendor.example.com/billing", or "off"')
    return quote(url, safe=_URL_SIGNS)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(value: Any) -> Address | None:
    """Return host and port to listen on, for a port alone those of this machine only; None for "off"."""
    if value == OFF:
        return None
    written = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]+", written):
        written = f"127.0.0.1:{written}"
    parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", written)
    if parts is None or not 0 < int(parts[3]) <= LAST_PORT or (parts[1] and not _is_ipv6(parts[1])):
        raise ValueError('expected a host and a port such as "127.0.0.1:9464" or "[::1]:9464", a port alone, or "off"')
    return Address((parts[1] or parts[2]).lower(), int(parts[3]))


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def hosts(value: Any) -> tuple[str, ...]:
    """Return names under which a server is asked for."""
    lowered = tuple(name.lower() for name in names(value))
    if not all(HOST.fullmatch(name) for name in lowered):
        raise ValueError('expected names of hosts without port such as ["monitor.example.org"]')
    return lowered


PLAIN_PATH: Final = r"[A-Za-z0-9/._~-]*"


def public_url(value: Any) -> str:
    """Return the URL under which people reach the page, without a slash at its end."""
    url = text(value)
    parts = _split(url)
    is_page = parts is not None and parts.scheme in {"http", "https"} and not {"@"} & set(parts.netloc)
    if (
        parts is None
        or not is_page
        or parts.query
        or parts.fragment
        or not re.fullmatch(r"[A-Za-z0-9/._~-]*", parts.path)
    ):
        raise ValueError('expected the URL of the page such as "https://monitor.example.org/credits"')
    return url.rstrip("/")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(value: Any) -> tuple[Network, ...]:
    """Return networks in CIDR notation; an address alone is one of one."""
    try:
        return tuple(ipaddress.ip_network(written, strict=True) for written in names(value))
    except ValueError:
        raise ValueError('expected addresses or networks such as ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]') from None


def header(value: Any) -> str:
    """Return the name of an HTTP header."""
    name = text(value)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", name):
        raise ValueError('expected the name of a header such as "Remote-User"')
    return name


def database_url(value: Any) -> str:
    """Return the URL of SQLite by its file or PostgreSQL by its host; its parts can be told apart from the password."""
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


def has_password(url: str | None) -> bool:
    """Return whether a password stands in a URL."""
    parts = urlsplit(url or "")
    return ":" in parts.netloc.rpartition("@")[0] or "password" in unquote(parts.query).lower()


def _split(url: str, *, host: bool = True) -> SplitResult | None:
    """Return the parts of a URL; None when it has no host, a wrong port or a space."""
    try:
        parts = urlsplit(url)
        sound = (parts.hostname or not host) and parts.port != 0 and " " not in url
    except ValueError:
        return None
    return parts if sound else None

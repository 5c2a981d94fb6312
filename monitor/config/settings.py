"""The settings as the rooms use them: frozen, checked against each other, secrets still unread."""

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from monitor.config.secrets import exposure
from monitor.config.sources import CREDENTIALS, unreadable
from monitor.errors import ConfigError, Mistake
from monitor.model import Generation, RateLimit, Rules, Severity

USUAL_KEY: Final = re.compile(r"sk-[A-Za-z0-9]{48}")
LARGEST_SECRET: Final = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret comes from: a value at hand, a file that is read only when somebody needs it, or nowhere."""

    key: str  # of the setting, for messages
    place: str | None  # where it was given, or should have been
    line: int | None
    variable: str  # that would give it, too
    value: str | None = field(default=None, repr=False)
    path: Path | None = None
    proven: bool = False  # looked at before: what is odd about it was said

    @property
    def is_given(self) -> bool:
        """Whether there is anything to read."""
        return self.value is not None or self.path is not None

    def read(self) -> str:
        """The secret; `ConfigError` when there is none, or its file cannot be read."""
        if self.value is not None:
            return self.value
        if self.path is None:
            setting = self.key.rpartition(".")[2]
            hint = f"set {setting}_file, or give it as the environment variable or credential {self.variable}"
            raise self.wrong(f"is missing; {hint}")
        found = self._from_file(self.path).strip()
        if not found:
            raise self.wrong(f"{self.path}: is empty")
        if not found.isprintable():
            raise self.wrong(f"{self.path}: is not one line of text")
        return found

    def wrong(self, problem: str) -> ConfigError:
        """A mistake about this setting, with its place."""
        return ConfigError([Mistake(self.key, problem, self.place, self.line)])

    def _from_file(self, path: Path) -> str:
        try:
            with path.open("rb") as source:
                problem = exposure(path, os.fstat(source.fileno()).st_mode)
                if problem and not (self.place or "").startswith(f"${CREDENTIALS}"):
                    log.warning("%s: %s %s", self.key, path, problem)
                return source.read(LARGEST_SECRET).decode("utf-8-sig")
        except OSError as error:
            raise self.wrong(f"{path}: {unreadable(error)}") from None
        except UnicodeDecodeError:
            raise self.wrong(f"{path}: is not one line of text") from None


@dataclass(frozen=True, slots=True)
class Database:
    """`url` may hold a password; `shown_url` never does."""

    url: str = field(repr=False)
    migrate: str

    @property
    def shown_url(self) -> str:
        """The URL without its password; what follows `?` goes too when it may hold one."""
        parts = urlsplit(self.url)
        has_password_option = "password" in parts.query.lower()
        if "@" not in parts.netloc and not has_password_option:
            return self.url
        login, at, host = parts.netloc.rpartition("@")
        user = f"{login.partition(':')[0]}:***" if ":" in login else login
        query = "***" if has_password_option else parts.query
        return f"{parts.scheme}://{user}{at}{host}{parts.path}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class Poll:
    every: timedelta
    deadline: timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """How old balances may get as they were taken, by the hour and by the day; None is for ever."""

    raw: timedelta | None
    hourly: timedelta | None
    daily: timedelta | None


@dataclass(frozen=True, slots=True)
class Web:
    """Where the daemon answers HTTP, and under which names besides addresses it may be asked."""

    host: str
    port: int
    hosts: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it; a name other than localhost may mean any address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Account:
    """One API key."""

    name: str
    generation: Generation
    base_url: str
    rate_limit: RateLimit | None
    organizations_all: bool
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization that the file lists; `notify` None means every channel."""

    name: str
    account: str
    id: str | None
    notify: tuple[str, ...] | None
    rules: Rules
    paused: bool = False


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end` of a day in a time zone (over midnight when `end` is earlier), below critical waits."""

    start: time
    end: time
    timezone: ZoneInfo


@dataclass(frozen=True, slots=True)
class DigestTime:
    """When a channel's digest is due: daily, or weekly on `weekday` (Monday is 0)."""

    at: time
    timezone: ZoneInfo
    weekday: int | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go; `fallback` names the channel that stands in when delivery has failed for `fallback_after`."""

    name: str
    min_severity: Severity
    quiet_hours: QuietHours | None = None
    fallback: str | None = None
    fallback_after: timedelta = timedelta(minutes=15)
    digest: DigestTime | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it is in force, for people; secrets are shown as `***`."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configured.  Secrets are read by its methods, by those commands that need them."""

    file: Path | None
    database: Database
    poll: Poll
    retention: Retention
    timezone: ZoneInfo
    price_per_credit: Decimal  # in whatever currency the user thinks
    accounts: Mapping[str, Account]
    organizations: Mapping[str, Organization]
    channels: Mapping[str, Channel]
    rules: Rules
    warnings: tuple[str, ...]
    keys: Mapping[str, Secret] = field(repr=False)
    urls: Mapping[str, Secret] = field(repr=False)
    heartbeat: Secret = field(repr=False)
    web: Web | None
    token: Secret = field(repr=False)

    def api_key(self, account: str) -> str:
        """The key of an account, read now; `ConfigError` when it cannot be had."""
        secret = self.keys[account]
        key = secret.read()
        if not key.isascii() or " " in key:
            raise secret.wrong("is not a key: expected letters and digits without spaces")
        if not secret.proven and not USUAL_KEY.fullmatch(key):
            log.warning("%s: does not look like a usual key (sk- and 48 letters or digits); trying it", secret.key)
        return key

    def channel_url(self, channel: str) -> str:
        """The Apprise URL of a channel, read now; `ConfigError` when it cannot be had."""
        return self.urls[channel].read()

    def heartbeat_url(self) -> str | None:
        """The URL that hears of every poll, read now; None when there is none, `ConfigError` when it cannot be had."""
        if not self.heartbeat.is_given:
            return None
        url = self.heartbeat.read()
        try:
            parts = urlsplit(url)
            sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and " " not in url
        except ValueError:
            sound = False
        if not sound:
            raise self.heartbeat.wrong('is not a URL; expected one such as "https://hc-ping.com/…"')
        return url

    def web_token(self) -> str | None:
        """What a reader of figures has to show, read now; None when there is none, `ConfigError` as above."""
        if not self.token.is_given:
            return None
        token = self.token.read()
        if not token.isascii() or " " in token:
            raise self.token.wrong("is not a token: expected letters, digits and signs without spaces")
        return token

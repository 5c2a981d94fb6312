"""The settings as the rooms use them: frozen, checked against each other, secrets still unread."""

import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from monitor.errors import ConfigError, Mistake
from monitor.model import Generation, RateLimit, Rules, Severity

USUAL_KEY: Final = re.compile(r"sk-[A-Za-z0-9]{48}")
READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
LARGEST_SECRET: Final = 64 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret comes from: a value at hand, or a file that is read only when somebody needs it."""

    key: str  # of the setting, for messages
    source: str
    value: str | None = field(default=None, repr=False)
    path: Path | None = None
    file: str | None = None  # of the setting, for messages
    line: int | None = None

    def read(self) -> str:
        """The secret; `ConfigError` when its file cannot be read or holds none."""
        found = self.value if self.path is None else self._from_file(self.path)
        if not (found or "").strip():
            raise ConfigError([self._mistake(f"{self.path or self.source}: is empty")])
        return (found or "").strip()

    def _from_file(self, path: Path) -> str:
        try:
            with path.open("rb") as source:
                if (
                    os.fstat(source.fileno()).st_mode & READABLE_BY_OTHERS
                    and "CREDENTIALS_DIRECTORY" not in self.source
                ):
                    log.warning("%s: %s can be read by others; chmod 600 it", self.key, path)
                return source.read(LARGEST_SECRET).decode()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise ConfigError([self._mistake(f"{path}: cannot be read: {reason}")]) from None
        except UnicodeDecodeError:
            raise ConfigError([self._mistake(f"{path}: is not text")]) from None

    def _mistake(self, problem: str) -> Mistake:
        return Mistake(self.key, problem, self.file, self.line)


@dataclass(frozen=True, slots=True)
class Database:
    """`url` may hold a password; `shown_url` never does."""

    url: str = field(repr=False)
    migrate: str

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return without_password(self.url)


@dataclass(frozen=True, slots=True)
class Poll:
    every: timedelta
    deadline: timedelta


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


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    min_severity: Severity


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it is in force, for people; secrets are shown as `***`."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configured.  Secrets are read by `api_key` and `channel_url`, by those commands that need them."""

    file: Path | None
    database: Database
    poll: Poll
    timezone: ZoneInfo
    accounts: Mapping[str, Account]
    organizations: Mapping[str, Organization]
    channels: Mapping[str, Channel]
    rules: Rules
    warnings: tuple[str, ...]
    keys: Mapping[str, Secret | None] = field(repr=False)
    urls: Mapping[str, Secret | None] = field(repr=False)

    def api_key(self, account: str) -> str:
        """The key of an account, read now; `ConfigError` when there is none."""
        secret = self.keys[account]
        if secret is None:
            raise self._missing(f"accounts.{account}.api_key", "api_key_file")
        key = secret.read()
        if not key.isprintable() or " " in key:
            raise ConfigError([Mistake(secret.key, "is not one line of text without spaces", secret.file, secret.line)])
        if not USUAL_KEY.fullmatch(key):
            log.info("%s: does not look like a usual key (sk- and 48 letters or digits)", secret.key)
        return key

    def channel_url(self, channel: str) -> str:
        """The Apprise URL of a channel, read now; `ConfigError` when there is none."""
        secret = self.urls[channel]
        if secret is None:
            raise self._missing(f"channels.{channel}.url", "url_file")
        return secret.read()

    def _missing(self, key: str, setting: str) -> ConfigError:
        variable = "CREDIT_MONITOR_" + re.sub(r"[-.]", "_", key.replace(".", "__", 2)).upper()
        problem = f"there is none; set {setting}, or give it as the credential or environment variable {variable}"
        return ConfigError([Mistake(key, problem, str(self.file) if self.file else None)])


def without_password(url: str) -> str:
    """A database URL as it may be shown."""
    try:
        parts = urlsplit(url)
        if parts.password is None and "password" not in parts.query.lower():
            return url
        host = parts.netloc.rpartition("@")[2]
        user = f"{parts.username}:***@" if parts.username else ""
        query = re.sub(r"(?i)((?:ssl)?password=)[^&]*", r"\1***", parts.query)
        return urlunsplit((parts.scheme, user + host, parts.path, query, ""))
    except ValueError:
        return "***"

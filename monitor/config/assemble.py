"""Puts the layers together, checks settings against each other, and names every mistake with its place."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ValidationError

from monitor.config import layers as sources
from monitor.config.effective import effective
from monitor.config.layers import Layer, Origin
from monitor.config.schema import (
    AccountTable,
    FileSettings,
    OrganizationTable,
    RulesTable,
    known_settings,
    settings_from,
)
from monitor.config.settings import Account, Channel, Database, Effective, Organization, Poll, Secret, Settings
from monitor.config.units import NAME, credits_ladder, runway_ladder
from monitor.errors import ConfigError, Mistake
from monitor.model import Rules

DEFAULT_CREDITS: Final = credits_ladder({"warning": 1000, "critical": 200})
DEFAULT_RUNWAY: Final = runway_ladder({"warning": "7d", "critical": "2d"})
SHORTEST_STALE: Final = timedelta(minutes=30)
SCHEMES: Final = ("sqlite:///", "postgresql://", "postgresql+psycopg://", "postgres://")
Key = tuple[str, ...]


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings in force; `ConfigError` with every mistake.  `path` is what `--config` says, or None."""
    return _assembly(path, environ).settings()


def effective_settings(path: Path | None, environ: Mapping[str, str]) -> list[Effective]:
    """Every setting in force, with where it comes from and without secrets; `ConfigError` with every mistake."""
    return _assembly(path, environ).effective()


def _assembly(path: Path | None, environ: Mapping[str, str]) -> "_Assembly":
    file = sources.find_file(path, environ)
    lower = [sources.file_layer(file)] if file else []
    if environ.get("STABILITY_API_KEY") and not (lower and lower[0].values.get("accounts")):
        lower.append(_key_alone(environ["STABILITY_API_KEY"]))
    lower.insert(0, sources.credentials_layer(environ, lower))
    lower.insert(0, sources.environment_layer(environ, lower))
    return _Assembly(file, lower, environ)


def _key_alone(key: str) -> Layer:
    """The working configuration that is nothing but a key."""
    layer = Layer(0)
    layer.put(("accounts", "default", "api_key"), key, "environment STABILITY_API_KEY")
    layer.put(("accounts", "default", "organizations"), "all", "environment STABILITY_API_KEY")
    return layer


@dataclass(slots=True)
class _Assembly:
    """One load: the layers, and the mistakes and warnings found on the way."""

    file: Path | None
    layers: Sequence[Layer]
    environ: Mapping[str, str]
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def effective(self) -> list[Effective]:
        """Every setting in force with its source; only who shows them pays for them."""
        return list(effective(self._validated(), self.settings(), self.source))

    def settings(self) -> Settings:
        tables = self._validated()
        self._check_names(tables)
        poll = Poll(tables.poll.every, tables.poll.deadline)
        rules = self._rules(("rules",), tables.rules, _defaults(poll.every), poll.every)
        settings = Settings(
            file=self.file,
            database=Database(self._database_url(tables), tables.database.migrate),
            poll=poll,
            timezone=tables.timezone,
            accounts=MappingProxyType({n: self._account(n, t) for n, t in tables.accounts.items()}),
            organizations=MappingProxyType(self._organizations(tables, rules, poll.every)),
            channels=MappingProxyType({n: Channel(n, t.min_severity) for n, t in tables.channels.items()}),
            rules=rules,
            warnings=(),
            keys={n: self._secret(("accounts", n), "api_key", t) for n, t in tables.accounts.items()},
            urls={n: self._secret(("channels", n), "url", t) for n, t in tables.channels.items()},
        )
        self._check_organizations(settings)
        if self.mistakes:
            raise ConfigError(self.mistakes)
        return replace(settings, warnings=tuple(self.warnings))

    # --- places -------------------------------------------------------------------------------------------------------

    def origin(self, key: Key) -> Origin | None:
        """Where a setting was given, the strongest first."""
        return next((found for layer in self.layers if (found := layer.origin(key))), None)

    def source(self, key: Key) -> str:
        """Where a setting was given, in words."""
        origin = self.origin(key)
        return origin.source if origin else "default"

    def wrong(self, key: Key, problem: str) -> None:
        """Keep a mistake with its place; what a variable said wrong is named by the variable."""
        origin = self.origin(key) or next((o for n in range(len(key), 0, -1) if (o := self.origin(key[:n]))), None)
        if origin and origin.file is None and origin.rank:
            problem = f"{problem} (from {origin.source})"
        file, line = (origin.file, origin.line) if origin else (None, None)
        self.mistakes.append(Mistake(".".join(key), problem, file, line))

    # --- shape --------------------------------------------------------------------------------------------------------

    def _validated(self) -> FileSettings:
        try:
            return settings_from([layer.values for layer in self.layers])
        except ValidationError as error:
            for one in error.errors(include_url=False, include_context=False, include_input=False):
                key = tuple(str(part) for part in one["loc"])
                self.wrong(key, _problem(one["type"], one["msg"], key))
            raise ConfigError(self.mistakes) from None

    def _check_names(self, tables: FileSettings) -> None:
        for table in sources.BY_NAME:
            seen: dict[str, str] = {}
            for name in getattr(tables, table):
                if not NAME.fullmatch(name):
                    self.wrong((table, name), "is not a name: letters, digits, - _ . (64 at most) are expected")
                other = seen.setdefault(sources.variable_part(name), name)
                if other != name:
                    self.wrong((table, name), f"differs from {other} only in case or in - _ ., which is too little")

    # --- parts --------------------------------------------------------------------------------------------------------

    def _account(self, name: str, table: AccountTable) -> Account:
        ca_file = self._path(("accounts", name, "ca_file"), table.ca_file) if table.ca_file else None
        return Account(
            name, table.generation, table.base_url, table.rate_limit, table.organizations == "all", table.proxy, ca_file
        )

    def _organizations(self, tables: FileSettings, rules: Rules, every: timedelta) -> dict[str, Organization]:
        return {
            name: Organization(
                name,
                self._account_of(name, table, tables.accounts),
                table.id,
                self._channels_of(name, table, tables.channels),
                self._rules(("organizations", name, "rules"), table.rules, rules, every),
            )
            for name, table in tables.organizations.items()
        }

    def _account_of(self, name: str, table: OrganizationTable, accounts: Mapping[str, object]) -> str:
        if table.account is None:
            if len(accounts) != 1:
                self.wrong(("organizations", name), f"account: is missing; expected {_one_of(accounts)}")
            return next(iter(accounts), "")
        if table.account not in accounts:
            self.wrong(("organizations", name, "account"), _unknown("account", table.account, accounts))
        return table.account

    def _channels_of(
        self, name: str, table: OrganizationTable, channels: Mapping[str, object]
    ) -> tuple[str, ...] | None:
        for channel in table.notify or ():
            if channel not in channels:
                self.wrong(("organizations", name, "notify"), _unknown("channel", channel, channels))
        return table.notify

    def _rules(self, key: Key, table: RulesTable, base: Rules, every: timedelta) -> Rules:
        """The rules of one table over others: whatever it names is replaced whole."""
        named = {name: getattr(table, name) for name in table.model_fields_set}
        if (stale := named.get("stale_after")) is not None and stale < 2 * every:
            self.wrong((*key, "stale_after"), "must be at least twice poll.every, or one late poll would alarm")
        return replace(base, **named) if named else base

    def _database_url(self, tables: FileSettings) -> str:
        url = tables.database.url
        if url is None:
            return f"sqlite:///{self._state_directory() / 'credit-monitor.db'}"
        scheme, separator, rest = url.partition(":///")
        if scheme == "sqlite" and separator and rest and not rest.startswith("/"):
            return f"sqlite:///{self._path(('database', 'url'), rest)}"
        if not url.startswith(SCHEMES) or (separator and not rest):
            self.wrong(("database", "url"), "expected sqlite:////path/to/file.db or postgresql://user@host/name")
        return url

    def _state_directory(self) -> Path:
        if directory := self.environ.get("STATE_DIRECTORY"):
            return Path(directory.split(":")[0])
        if state := self.environ.get("XDG_STATE_HOME"):
            return Path(state) / "credit-monitor"
        if home := self.environ.get("HOME"):
            return Path(home) / ".local/state/credit-monitor"
        self.wrong(("database", "url"), "is missing, and there is no $STATE_DIRECTORY, $XDG_STATE_HOME or $HOME")
        return Path("/nonexistent")

    def _path(self, key: Key, written: str) -> Path:
        """A path as written; a relative one in the file starts at the file's folder."""
        origin = self.origin(key)
        path = Path(written).expanduser() if written.startswith("~/") else Path(written)
        return Path(origin.file).absolute().parent / path if origin and origin.file else path.absolute()

    def _secret(self, key: Key, setting: str, table: BaseModel) -> Secret | None:
        """The strongest of the two ways to give a secret, still unread."""
        ways = [(self.origin((*key, name)), name) for name in (setting, f"{setting}_file") if getattr(table, name)]
        if not ways:
            return None
        ranks = [origin.rank if origin else 0 for origin, _ in ways]
        if len(ways) > 1 and ranks[0] == ranks[1]:
            self.wrong((*key, setting), f"is given twice, here and as {setting}_file; remove one")
        origin, name = ways[ranks.index(max(ranks))]
        source, file, line = (origin.source, origin.file, origin.line) if origin else ("", None, None)
        dotted = ".".join((*key, name))
        if name == setting:
            if file:
                self.warnings.append(
                    f"{file}:{line}: {dotted}: a secret in this file; {setting}_file keeps it out of it"
                )
            return Secret(dotted, source, value=getattr(table, name), file=file, line=line)
        return Secret(dotted, source, path=self._path((*key, name), getattr(table, name)), file=file, line=line)

    # --- settings against each other ----------------------------------------------------------------------------------

    def _check_organizations(self, settings: Settings) -> None:
        seen: dict[tuple[str, str], str] = {}
        for name, one in settings.organizations.items():
            account = settings.accounts.get(one.account)
            if account is None:
                continue
            which = (account.base_url, one.id) if one.id else (f"the default of {one.account}", "")
            if (other := seen.setdefault(which, name)) != name:
                self.wrong(("organizations", name), f"is the same organization as {other}; remove one")
        used = {one.account for one in settings.organizations.values()}
        for name, account in settings.accounts.items():
            if not account.organizations_all and name not in used:
                self.warnings.append(
                    f'accounts.{name}: watches nothing; set organizations = "all", or list some with account = "{name}"'
                )


def _defaults(every: timedelta) -> Rules:
    """The rules where the file names none."""
    return Rules(DEFAULT_CREDITS, DEFAULT_RUNWAY, max(SHORTEST_STALE, 3 * every), 1)


# --- words ------------------------------------------------------------------------------------------------------------


def _problem(kind: str, message: str, key: Key) -> str:
    """Pydantic's complaint in our words; values never appear in it."""
    if kind == "extra_forbidden":
        return f"unknown setting; {_nearest(key)}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "expected a table"
    return message.removeprefix("Value error, ")


def _nearest(key: Key) -> str:
    """The nearest known name, else all of them."""
    known = _known(key[:-1])
    near = difflib.get_close_matches(key[-1], known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"expected {_one_of(known)}"


def _known(place: Key) -> list[str]:
    """The names that a table may hold."""
    if not place:
        return list(FileSettings.model_fields)
    if place[-1] == "rules":
        return list(RulesTable.model_fields)
    return list(known_settings()[place[0]].model_fields) if place[0] in known_settings() else []


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"there is no {what} {name}; " + (f"did you mean {near[0]}?" if near else f"expected {_one_of(known)}")


def _one_of(known: Iterable[str]) -> str:
    names = sorted(known)
    return ("one of " if len(names) > 1 else "") + ", ".join(names) if names else "one to be configured first"

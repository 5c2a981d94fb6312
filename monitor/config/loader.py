"""Puts the layers together and checks settings against each other; every mistake is found before one is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from monitor.config import cautions, sources
from monitor.config.problems import Mistakes, hint
from monitor.config.retention import retention, retention_mistakes
from monitor.config.rules import default_rules, mistakes_in, rules_over
from monitor.config.schema import (
    AccountTable,
    ChannelTable,
    FileSettings,
    OrganizationTable,
    RulesTable,
)
from monitor.config.settings import (
    Account,
    Channel,
    Database,
    DigestTime,
    Effective,
    Organization,
    Poll,
    QuietHours,
    Secret,
    Settings,
    Web,
)
from monitor.config.show import effective
from monitor.config.sources import BY_NAME, Key, Layer
from monitor.config.units import NAME, is_open_http
from monitor.errors import Mistake
from monitor.model import Rules


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings in force; `ConfigError` with every mistake.  `path` is what `--config` says, or None."""
    return _begin(path, environ).settings()


def load_sound(path: Path | None, environ: Mapping[str, str]) -> tuple[Settings, tuple[Mistake, ...]]:
    """What can be made out of a configuration that has mistakes, and those; `ConfigError` when it is not even TOML.

    For looking only: what has a mistake has its default instead, so nobody is to be asked or told by it.
    """
    assembly = _begin(path, environ)
    return assembly.what_is_sound(), tuple(assembly.mistakes.in_order())


def effective_settings(path: Path | None, environ: Mapping[str, str]) -> list[Effective]:
    """Every setting in force, with where it comes from and without secrets; `ConfigError` with every mistake."""
    assembly = _begin(path, environ)
    settings = assembly.settings()
    return list(effective(assembly.tables, settings, assembly.mistakes.origin))


def _begin(path: Path | None, environ: Mapping[str, str]) -> "_Assembly":
    """Read every layer, and check the shape of each setting."""
    file = sources.find_file(path, environ)
    layers = [sources.file_layer(file)] if file else []
    layers.insert(0, sources.credentials_layer(environ, layers))
    layers.insert(0, sources.environment_layer(environ, layers))
    if (key := environ.get(sources.KEY_VARIABLE)) and _is_without_account(layers):
        layers.append(sources.key_alone(key))
    mistakes = Mistakes(layers)
    return _Assembly(file, environ, mistakes, _tables(sources.merged(layers), mistakes))


def _is_without_account(layers: list[Layer]) -> bool:
    """Whether no file names an account, and variables none but `default`, which they may refine."""
    named = [(layer.file, layer.values.get("accounts") or {}) for layer in layers]
    return not any(accounts if file else set(accounts) - {"default"} for file, accounts in named)


def _tables(values: dict[str, Any], mistakes: Mistakes) -> FileSettings:
    """The values as typed tables; what is wrong is kept as a mistake and left out, so that the rest is checked too."""
    while True:
        try:
            return FileSettings.model_validate(values)
        except ValidationError as error:
            for key in mistakes.add_shapes(error):
                _leave_out(values, key)


def _leave_out(values: dict[str, Any], key: Key) -> None:
    """Remove one value; a table by name becomes an empty one, because others may refer to it."""
    here = values
    for number, part in enumerate(key[:-1], start=1):
        # Something is missing in it, or it is written as a whole: then it goes as a whole, once.
        inner = here.get(part, {})
        if not isinstance(inner, dict) or key[number] not in inner:
            key = key[:number]
            break
        here = inner
    if len(key) == len(("accounts", "NAME")) and key[0] in BY_NAME:
        here[key[-1]] = {}
    else:
        here.pop(key[-1], None)


@dataclass(slots=True)
class _Assembly:
    """One load: typed tables that become settings, and the mistakes found on the way."""

    file: Path | None
    environ: Mapping[str, str] = field(repr=False)
    mistakes: Mistakes
    tables: FileSettings = field(repr=False)

    def settings(self) -> Settings:
        """The settings; `ConfigError` with every mistake."""
        found = self.what_is_sound()
        self.mistakes.raise_if_any()
        return found

    def what_is_sound(self) -> Settings:
        """The settings without whatever is wrong; `mistakes` has that."""
        tables = self.tables
        self._check_names()
        rules = self._rules(("rules",), tables.rules, default_rules(tables.poll.every))
        accounts = {name: self._account(name, table) for name, table in tables.accounts.items()}
        organizations = {name: self._organization(name, table, rules) for name, table in tables.organizations.items()}
        keys = {name: self._secret(("accounts", name), "api_key", one) for name, one in tables.accounts.items()}
        urls = {name: self._secret(("channels", name), "url", one) for name, one in tables.channels.items()}
        heartbeat, token = self._secret((), "heartbeat_url", tables), self._secret(("web",), "token", tables.web)
        self._check_doubles(accounts, organizations)
        self._check_retention(rules, organizations)
        return Settings(
            file=self.file,
            database=Database(self._database_url(), tables.database.migrate),
            poll=Poll(tables.poll.every, tables.poll.deadline),
            retention=retention(tables.retention),
            timezone=tables.timezone,
            price_per_credit=tables.price_per_credit,
            accounts=MappingProxyType(accounts),
            organizations=MappingProxyType(organizations),
            channels=MappingProxyType({name: self._channel(name, one) for name, one in tables.channels.items()}),
            rules=rules,
            warnings=(
                *cautions.open_secrets([*keys.values(), *urls.values(), heartbeat, token]),
                *cautions.open_file(self.file, tables, self.mistakes.origin),
                *cautions.idle_accounts(accounts, organizations),
                *cautions.slow_checks(tables.poll),
            ),
            keys=keys,
            urls=urls,
            heartbeat=heartbeat,
            web=self._web(token),
            token=token,
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    def _account(self, name: str, table: AccountTable) -> Account:
        if is_open_http(table.base_url) and not table.allow_http:
            problem = "would send the key unencrypted; expected https:// (or allow_http = true, in a network you trust)"
            self.mistakes.add(("accounts", name, "base_url"), problem)
        return Account(
            name,
            table.generation,
            table.base_url,
            table.rate_limit,
            table.organizations == "all",
            table.proxy,
            self._path(("accounts", name, "ca_file"), table.ca_file) if table.ca_file else None,
        )

    def _web(self, token: Secret) -> Web | None:
        if self.tables.web.listen is None:
            return None
        web = Web(*self.tables.web.listen, self.tables.web.hosts)
        if not web.is_loopback and not token.is_given and self.mistakes.is_sound(("web", "token")):
            problem = "can be reached from other machines and needs web.token_file; or listen on 127.0.0.1"
            self.mistakes.add(("web", "listen"), problem)
        return web

    def _organization(self, name: str, table: OrganizationTable, base: Rules) -> Organization:
        place = ("organizations", name)
        for number, channel in enumerate(table.notify or (), start=1):
            if channel not in self.tables.channels:
                self._wrong_name((*place, "notify", str(number)), channel, "channels")
        rules = self._rules((*place, "rules"), table.rules, base)
        account = self._account_of(place, table.account)
        return Organization(name, account, table.id, table.notify, rules, paused=table.paused)

    def _channel(self, name: str, table: ChannelTable) -> Channel:
        zone, place = self.tables.timezone, ("channels", name, "fallback")
        if table.fallback == name:
            self.mistakes.add(place, "is the channel itself; expected another one")
        elif table.fallback is not None and table.fallback not in self.tables.channels:
            self._wrong_name(place, table.fallback, "channels")
        quiet, digest = table.quiet_hours, table.digest
        return Channel(
            name,
            table.min_severity,
            QuietHours(quiet.start, quiet.end, quiet.zone or zone) if quiet else None,
            table.fallback,
            table.fallback_after,
            DigestTime(digest.at, digest.zone or zone, digest.weekday) if digest else None,
        )

    def _account_of(self, place: Key, account: str | None) -> str:
        accounts = self.tables.accounts
        if account is None and len(accounts) == 1:
            return next(iter(accounts))
        if account is None or account not in accounts:
            self._wrong_name((*place, "account"), account, "accounts")
        return account or ""

    def _wrong_name(self, key: Key, name: str | None, table: str) -> None:
        """A name that is missing, or that is none of a table's."""
        known = sorted(getattr(self.tables, table))
        if not known and self.mistakes.is_table_wrong:
            return  # it follows from that: [account.studio] for [accounts.studio]
        what = "is missing" if name is None else f"names no {table[:-1]} that is configured"
        where = hint(name or "", known) if known else f"there is none: add [{table}.NAME]"
        self.mistakes.add(key, f"{what}; {where}")

    def _rules(self, place: Key, table: RulesTable, base: Rules) -> Rules:
        """The rules of one table over others; whatever it names is replaced whole."""
        every: timedelta | None = self.tables.poll.every if self.mistakes.is_sound(("poll",)) else None
        for key, problem in mistakes_in(table, every):
            self.mistakes.add((*place, *key), problem)
        return rules_over(base, table)

    def _database_url(self) -> str:
        url = self.tables.database.url
        if url is None:
            return f"sqlite:///{quote(str(self._state_directory() / 'credit-monitor.db'))}"
        scheme, _, path = url.partition(":///")
        return f"sqlite:///{self._path(('database', 'url'), path)}" if scheme == "sqlite" else url

    def _state_directory(self) -> Path:
        if directory := self.environ.get("STATE_DIRECTORY"):
            return Path(directory.split(":")[0]).absolute()
        if base := sources.base_directory(self.environ, "XDG_STATE_HOME", ".local/state"):
            return base / "credit-monitor"
        problem = "is missing, and without $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME there is no place for a default"
        self.mistakes.add(("database", "url"), problem)
        return Path("/nonexistent")

    def _path(self, key: Key, written: str) -> Path:
        """A path as written; a relative one in the file begins at the file's folder."""
        home = self.environ.get("HOME")
        path = Path(home, written[2:]) if home and written.startswith("~/") else Path(written)
        origin = self.mistakes.origin(key)
        return (origin.folder or Path.cwd()) / path if origin else path

    def _secret(self, place: Key, setting: str, table: BaseModel) -> Secret:
        """The strongest of the two ways to give a secret, still unread."""
        given, in_file = (*place, setting), (*place, f"{setting}_file")
        ways = [(one.rank, key) for key in (given, in_file) if (one := self.mistakes.origin(key))]
        rank, key = max(ways, default=(0, given))
        if [one for one, _ in ways].count(rank) > 1:
            self.mistakes.add(given, f"is given twice, here and as {setting}_file; remove one")
        where, line = self.mistakes.place(key)
        written = getattr(table, key[-1])
        return Secret(
            key=".".join(key),
            place=where,
            line=line,
            variable=sources.variable(given),
            value=written if key == given else None,
            path=self._path(key, written) if key == in_file and written else None,
        )

    # --- settings against each other ----------------------------------------------------------------------------------

    def _check_names(self) -> None:
        for table in BY_NAME:
            seen: dict[str, str] = {}
            for name in getattr(self.tables, table):
                if not NAME.fullmatch(name):
                    expected = "letters and digits with single - _ . between them, 64 at most"
                    self.mistakes.add((table, name), f"is not a name; expected {expected}")
                other = seen.setdefault(sources.variable_part(name), name)
                if other != name:
                    problem = f"differs from {other} only in case or in - _ . and a variable could not tell them apart"
                    self.mistakes.add((table, name), problem)

    def _check_doubles(self, accounts: Mapping[str, Account], organizations: Mapping[str, Organization]) -> None:
        seen: dict[tuple[str, str | None], str] = {}
        for name, one in organizations.items():
            place = ("organizations", name)
            if one.account not in accounts or not self.mistakes.is_sound(place):
                continue
            vendor = accounts[one.account].base_url if one.id else one.account
            if (other := seen.setdefault((vendor, one.id), name)) != name:
                self.mistakes.add(place, f"is the same organization as {other}; remove one")

    def _check_retention(self, rules: Rules, organizations: Mapping[str, Organization]) -> None:
        every = [rules, *(one.rules for one in organizations.values())]
        digests = [one.digest for one in self.tables.channels.values() if one.digest]
        for name, problem in retention_mistakes(self.tables.retention, every, digests):
            self.mistakes.add(("retention", name), problem)

"""File, credentials and environment become settings; every mistake is found before one is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from monitor.config import checks, exposure, sources
from monitor.config.fields import in_zone
from monitor.config.problems import Mistakes
from monitor.config.rules import (
    STABILITYS_OWN,
    account_rules,
    default_rules,
    not_too_young,
    rules_in_force,
    rules_over,
)
from monitor.config.schema import (
    BY_NAME,
    NO_RULES,
    UNKNOWN_VENDOR,
    Account,
    AccountRules,
    Channel,
    FileSettings,
    Key,
    Organization,
    Settings,
)
from monitor.config.secrets import Secret
from monitor.config.service import credentials_hint
from monitor.config.show import Effective, effective
from monitor.config.vendors import STABILITY_VENDOR, Vendors
from monitor.errors import Mistake
from monitor.model import STABILITY, Rules, Vendor
from monitor.text.redaction import remember


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings in force; raise `ConfigError` with every mistake.  `path` is `--config`, or None."""
    loader = _read(path, environ)
    settings = loader.settings()
    loader.mistakes.raise_if_any()
    return settings


def load_sound(path: Path | None, environ: Mapping[str, str]) -> tuple[Settings, tuple[Mistake, ...]]:
    """Return what can be made of a configuration that has mistakes, and those; raise `ConfigError` when it is no TOML.

    For looking only: what has a mistake has its default instead, so nobody is to be asked or told by it.
    """
    loader = _read(path, environ)
    return loader.settings(), tuple(loader.mistakes.in_order())


def effective_settings(path: Path | None, environ: Mapping[str, str]) -> list[Effective]:
    """Return every setting in force with its source, without secrets; raise `ConfigError` with every mistake."""
    loader = _read(path, environ)
    settings = loader.settings()
    loader.mistakes.raise_if_any()
    return list(effective(loader.written, settings, loader.mistakes.origin))


def _read(path: Path | None, environ: Mapping[str, str]) -> "_Loader":
    """Read every layer, and check the shape of each setting."""
    file = sources.find_file(path, environ)
    mistakes = Mistakes(sources.read_layers(file, environ))
    _take_named_keys(mistakes.layers, environ)
    for layer in mistakes.layers:
        for key in layer.quoted:
            mistakes.add(key, sources.QUOTED)
    return _Loader(file, environ, mistakes, _validate(sources.merged(mistakes.layers), mistakes))


def _take_named_keys(layers: Sequence[sources.Layer], environ: Mapping[str, str]) -> None:
    """Give each account that is nothing but a vendor's name the key in that vendor's own variable.

    Where that is not set and the vendor has another kind of key (NAME-key), the variable of that one is taken.
    """
    named = next((layer for layer in layers if layer.rank == 0), None)
    if named is None or sources.PROVIDERS_VARIABLE not in environ:
        return
    tables = sources.merged(layers).get("providers")
    vendors = Vendors(tables if isinstance(tables, Mapping) else {})
    for account in list(named.values["accounts"]):
        kinds = [name for name in (account, f"{account}-key") if name in vendors]
        for name in kinds:
            variable = vendors[name].env
            if variable and environ.get(variable, "").strip():
                named.put(("accounts", account, "provider"), name, f"environment {sources.PROVIDERS_VARIABLE}")
                named.put_text(("accounts", account, "api_key"), environ[variable], f"environment {variable}")
                break


def _validate(values: dict[str, Any], mistakes: Mistakes) -> FileSettings:
    """Return the values with their types; what is wrong becomes a mistake and is left out, to check the rest too."""
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
class _Loader:
    """One load: settings as written, what is derived of them, and the mistakes seen on the way."""

    file: Path | None
    environ: Mapping[str, str] = field(repr=False)
    mistakes: Mistakes
    written: FileSettings = field(repr=False)
    vendors: Vendors = field(init=False)

    def __post_init__(self) -> None:
        self.vendors = Vendors(self.written.providers)

    def settings(self) -> Settings:
        """Return the settings without whatever is wrong; `mistakes` has that."""
        checks.check_written(self.written, self.vendors, self.mistakes)
        settings = self._derived()
        checks.check_in_force(self.written, settings, self.mistakes)
        for url in (settings.database.url, *(account.proxy for account in settings.accounts.values())):
            if url:  # its password is at hand, so nobody has to read it before it is redacted
                remember(url)
        warnings = exposure.cautions(self.written, settings, self.mistakes)
        return settings.model_copy(update={"warnings": warnings})

    def _derived(self) -> Settings:
        """Return the settings with everything that follows from others."""
        written = self.written
        rules = rules_over(default_rules(written.poll.every), written.written_rules)
        accounts = {name: self._account(name, each, rules) for name, each in written.accounts.items()}
        # One that names no account is a mistake: it has the general rules.
        anybody = Account(vendor=STABILITY_VENDOR, rules=AccountRules(rules, rules), every=written.poll.every)
        organizations = {
            name: self._organization(name, each, accounts, anybody) for name, each in written.organizations.items()
        }
        derived = {
            "file": self.file,
            "database": replace(written.database, url=self._database_url()),
            "web": written.web if written.web and written.web.listen else None,
            "rules": rules,
            "accounts": MappingProxyType(accounts),
            "organizations": MappingProxyType(organizations),
            "channels": MappingProxyType({name: self._channel(name, each) for name, each in written.channels.items()}),
            "keys": {name: self._secret("accounts", name, "api_key") for name in written.accounts},
            "urls": {name: self._secret("channels", name, "url") for name in written.channels},
            "heartbeat": self._secret("heartbeat_url"),
            "token": self._secret("web", "token"),
            "vendors": self.vendors,
            "warnings": (),
        }
        return Settings.model_construct().model_copy(update=dict(written) | derived)

    def _account(self, name: str, account: Account, rules_of_all: Rules) -> Account:
        """Return an account with what it leaves to its vendor."""
        place, vendor = ("accounts", name), self._vendor(account)
        every = account.written_every or max(self.written.poll.every, vendor.every_min or timedelta(0))
        rules = account_rules(self._general_rules(vendor, every, rules_of_all), account.written_rules)
        given = {key for key in ("rate_limit", "top_up_url") if self.mistakes.origin((*place, key))}
        return replace(
            account,
            name=name,
            vendor=vendor,
            ca_file=account.ca_file and str(self._path((*place, "ca_file"), account.ca_file)),
            base_url=account.base_url or vendor.base_url,
            every=every,
            rules=AccountRules(
                not_too_young(rules.plain, every),
                not_too_young(rules.mixed, every),
                {unit: not_too_young(of_unit, every) for unit, of_unit in rules.by_unit.items()},
            ),
            rate_limit=account.rate_limit if "rate_limit" in given else vendor.rate_limit,
            top_up_url=account.top_up_url if "top_up_url" in given else vendor.top_up_url,
            organizations=account.organizations or (None if self.vendors.is_programmed(account.provider) else "all"),
        )

    def _general_rules(self, vendor: Vendor, every: timedelta, rules_of_all: Rules) -> Rules:
        """Return what holds for an account without rules of its own; figures in Stability's credits are its alone."""
        if vendor.name == STABILITY:
            is_usual = every == self.written.poll.every  # nearly always: then it is shared
            return rules_of_all if is_usual else rules_over(default_rules(every), self.written.written_rules)
        return rules_over(default_rules(every, vendor=vendor), self.written.written_rules, without=STABILITYS_OWN)

    def _vendor(self, account: Account) -> Vendor:
        try:
            return self.vendors.facts(account.provider)
        except KeyError:
            return UNKNOWN_VENDOR  # `checks` keeps the mistake

    def _organization(
        self, name: str, organization: Organization, accounts: Mapping[str, Account], anybody: Account
    ) -> Organization:
        """Return an organization with its account; its rules are made here where its vendor has one unit."""
        account = organization.account or (next(iter(accounts)) if len(accounts) == 1 else "")
        holder = accounts.get(account, anybody)
        rules = rules_in_force(holder, holder.vendor.unit or "", organization.written_rules)
        kept = NO_RULES if holder.vendor.unit else organization.written_rules
        return replace(organization, name=name, account=account, rules=rules, written_rules=kept)

    def _channel(self, name: str, channel: Channel) -> Channel:
        zone = self.written.timezone
        quiet_hours, digest = in_zone(channel.quiet_hours, zone), in_zone(channel.digest, zone)
        return replace(channel, name=name, quiet_hours=quiet_hours, digest=digest)

    def _secret(self, *key: str) -> Secret:
        """Return the stronger of the two ways to give a secret, still unread."""
        in_file = (*key[:-1], f"{key[-1]}_file")
        ways = [(origin.rank, way) for way in (key, in_file) if (origin := self.mistakes.origin(way))]
        rank, way = max(ways, default=(0, key))
        if [other for other, _ in ways].count(rank) > 1:
            self.mistakes.add(key, f"is given twice, here and as {key[-1]}_file; remove one")
        place, line = self.mistakes.place(way)
        value = self.written.value(way)
        return Secret(
            key=".".join(way),
            place=place,
            line=line,
            variable=sources.variable(key),
            elsewhere=self._vendors_variable(key) or credentials_hint(self.file, self.environ),
            value=value if way == key else None,
            path=self._path(way, value) if way == in_file and value else None,
        )

    def _vendors_variable(self, key: Key) -> str | None:
        """Return what to set where an account is nothing but a vendor's name; None elsewhere."""
        origin = self.mistakes.origin((*key[:2], "provider")) if key[0] == "accounts" else None
        if origin is None or origin.place != f"environment {sources.PROVIDERS_VARIABLE}":
            return None
        kinds = (name for name in (key[1], f"{key[1]}-key") if name in self.vendors)
        return "set " + " or ".join(self.vendors[name].env or "" for name in kinds)

    def _database_url(self) -> str:
        url = self.written.database.url
        if not url:
            folder = self._state_directory()
            return f"sqlite:///{quote(str(folder / 'credit-monitor.db'))}" if folder else checks.NOWHERE
        scheme, _, path = url.partition(":///")
        return f"sqlite:///{self._path(('database', 'url'), path)}" if scheme == "sqlite" else url

    def _state_directory(self) -> Path | None:
        if directory := self.environ.get("STATE_DIRECTORY"):
            return Path(directory.split(":")[0]).absolute()
        base = sources.base_directory(self.environ, "XDG_STATE_HOME", ".local/state")
        return base / "credit-monitor" if base else None

    def _path(self, key: Key, written: str) -> Path:
        """Return a path as written; a relative one in the file begins at the file's folder."""
        home = self.environ.get("HOME")
        path = Path(home, written[2:]) if home and written.startswith("~/") else Path(written)
        origin = self.mistakes.origin(key)
        return (origin.folder or Path.cwd()) / path if origin else path

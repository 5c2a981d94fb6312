"""Every setting: its key, its type, its default.  A new setting is one line here.

`FileSettings` is what stands in the file; `Settings` is the same tree, checked and completed by the loader.  Tables are
slotted dataclasses, as there may be 50,000 organizations; rules are models, which know what was named in them.
"""

import ipaddress
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor import durations
from monitor.config import fields
from monitor.config.fields import Address, DigestTime, Network, QuietHours
from monitor.config.secrets import Secret
from monitor.model import REMINDERS, STABILITY, Generation, RateLimit, Rules, Severity, Vendor
from monitor.providers.description import KEYS as PROVIDER_KEYS

if TYPE_CHECKING:
    from monitor.config.vendors import Vendors
    from monitor.providers.description import Description

UNKNOWN_VENDOR: Final = Vendor(name="")  # of an account whose provider is a mistake
USUAL_KEY: Final = re.compile(r"sk-[A-Za-z0-9]{48}")

log = logging.getLogger(__name__)

# --- what a setting can be --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """How `config show` has a setting that is not set (None: not at all), and whether its value stays hidden."""

    unset: str | None = fields.OFF
    hidden: bool = False


def _refuse(_: object) -> None:
    raise PydanticCustomError("extra_forbidden", "unknown setting")


Derived = PlainValidator(_refuse)  # marks what the loader puts in, and no file
Split = object()  # marks what is written as a part of another setting
NO_KEYS: Final = (Derived, Split)

Value = TypeVar("Value")
Optional = Annotated[Value | None, Shown(unset=None)]  # shown when it is set
Duration = Annotated[timedelta, BeforeValidator(durations.parse)]
Age = Annotated[timedelta | None, BeforeValidator(fields.age), Shown(fields.FOREVER)]
Text = Annotated[str, BeforeValidator(fields.text)]
YesNo = Annotated[bool, BeforeValidator(fields.yes_or_no)]
Names = Annotated[tuple[str, ...], BeforeValidator(fields.names)]
Credits = Annotated[Decimal, BeforeValidator(fields.credits_level)]
Level = Annotated[Decimal, PlainValidator(fields.level)]  # a share of the last top-up stays one
Hours = Annotated[Decimal, BeforeValidator(fields.hours)]
Gaps = Annotated[tuple[timedelta, ...], PlainValidator(fields.gaps)]

# --- rules as written -------------------------------------------------------------------------------------------------

STRICT: Final = ConfigDict(  # messages never show a value, for it may be a secret
    extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
)


class RuleModel(BaseModel):
    """A part of `rules`; `rules.rules_over` makes `model.Rules` of them."""

    model_config = STRICT


class Levels(RuleModel, Generic[Value]):
    info: Value | None = None
    warning: Value | None = None
    critical: Value | None = None


class Ladder(Levels[Value], Generic[Value]):
    clear: Levels[Value] = Levels[Value]()


class Spend(RuleModel):
    credits: Credits
    window: Duration
    clear: Credits | None = None


class Remind(RuleModel):
    info: Gaps = ()
    warning: Gaps = REMINDERS[Severity.WARNING]
    critical: Gaps = REMINDERS[Severity.CRITICAL]


Credit = Annotated[Ladder[Level] | None, BeforeValidator(fields.levels)]


class RulesTable(RuleModel):
    credits: Credit = None
    runway: Annotated[Ladder[Hours] | None, BeforeValidator(fields.levels)] = None
    stale_after: Annotated[timedelta | None, BeforeValidator(fields.duration_or_off)] = None
    confirm_checks: Annotated[int, BeforeValidator(fields.checks)] = 1
    spend: Annotated[Spend | None, BeforeValidator(fields.spend)] = None
    remind_every: Annotated[Remind, BeforeValidator(fields.reminders)] = Remind()


BY_UNIT: Final = "credits by unit"  # where the levels of each unit are put, for pydantic alone


class AccountRulesTable(RulesTable):
    """The rules of an account; `credits` may have levels for each unit: `{ USD = { … }, CNY = "off" }`."""

    credits_by_unit: Annotated[Mapping[str, Credit], Split] = Field(default_factory=dict, validation_alias=BY_UNIT)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and fields.is_by_unit(value.get("credits")):
            rest = {name: inner for name, inner in value.items() if name != "credits"}
            return rest | {BY_UNIT: value["credits"]}
        return value


NO_RULES: Final = RulesTable()  # both are shared, as there may be thousands of organizations
NO_ACCOUNT_RULES: Final = AccountRulesTable()
ALL_OFF: Final = Rules()
WrittenRules = Annotated[RulesTable, Field(validation_alias="rules")]
RulesInForce = Annotated[Rules, Derived, Field(validation_alias="rules in force")]

# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountRules:
    """The rules of an account's organizations that have none of their own.

    `plain` are those where the account watches one unit alone, `mixed` those where it watches several: what is written
    for the account without a unit holds in the first case only.  `by_unit`: those that are written for a unit, which
    holds in both (its name in lower case).
    """

    plain: Rules = ALL_OFF
    mixed: Rules = ALL_OFF
    by_unit: Mapping[str, Rules] = field(default_factory=dict)

    def of(self, unit: str, *, mixed: bool) -> Rules:
        """Return those of a unit."""
        return self.by_unit.get(unit.lower()) or (self.mixed if mixed else self.plain)


NO_ACCOUNT_RULES_IN_FORCE: Final = AccountRules()


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file."""

    __pydantic_config__: ClassVar = STRICT


# What may stand in a database's URL and is no secret; a new option of the driver might hold one.
_OPEN_OPTIONS: Final = frozenset(
    {"application_name", "channel_binding", "connect_timeout", "dbname", "gssencmode", "host", "hostaddr", "options"}
    | {"passfile", "port", "require_auth", "service", "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation"}
    | {"sslrootcert", "target_session_attrs", "user"}
)


def _shown_option(option: str) -> str:
    name = option.partition("=")[0]
    return option if unquote(name).lower() in _OPEN_OPTIONS or not option else f"{name}=***"


@dataclass(frozen=True, slots=True)
class Database(Table):
    """Where the database is; `url` may hold a password, `shown_url` never does."""

    url: Annotated[str, BeforeValidator(fields.database_url)] = field(default="", repr=False)  # "": in the state folder
    migrate: Annotated[str, BeforeValidator(fields.choice("auto", "manual"))] = "auto"

    @property
    def shown_url(self) -> str:
        """The URL without its password; what follows `?` goes too when it may hold one."""
        scheme, _, rest = self.url.partition("://")
        login, at, place = rest.rpartition("@")  # a driver takes a password with "/" or "?" in it, too
        user = f"{login.partition(':')[0]}:***" if ":" in login else login
        place, mark, query = place.partition("?")
        options = "&".join(_shown_option(option) for option in query.split("&"))
        return f"{scheme}://{user}{at}{place}{mark}{options}"


@dataclass(frozen=True, slots=True)
class Poll(Table):
    every: Duration = timedelta(minutes=5)
    deadline: Duration = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Retention(Table):
    """How old balances may get as they were taken, by the hour and by the day; None is for ever."""

    raw: Age = timedelta(days=400)
    hourly: Age = timedelta(days=5 * 365)
    daily: Age = None


@dataclass(frozen=True, slots=True)
class Web(Table):
    """Where the daemon answers HTTP, and under which names besides addresses it may be asked."""

    listen: Annotated[Address | None, PlainValidator(fields.listen)] = None
    token: Optional[Text] = field(default=None, repr=False)
    token_file: Text | None = None
    hosts: Annotated[tuple[str, ...], BeforeValidator(fields.hosts)] = ()
    public_url: Annotated[Annotated[str, BeforeValidator(fields.public_url)] | None, Shown(unset=None)] = None
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(fields.networks)] = ()
    user_header: Annotated[Annotated[str, BeforeValidator(fields.header)] | None, Shown(unset=None)] = None

    @property
    def prefix(self) -> str:
        """The path of `public_url`, without a slash at its end: what every link begins with."""
        return urlsplit(self.public_url).path if self.public_url else ""

    @property
    def names(self) -> frozenset[str]:
        """The names of hosts under which it may be asked."""
        public = urlsplit(self.public_url).hostname if self.public_url else None
        return frozenset({"localhost", self.host, *self.hosts, *([public] if public else [])})

    @property
    def knows_users(self) -> bool:
        """Whether a proxy says who asks, so that no token is needed."""
        return bool(self.trusted_proxies and self.user_header)

    @property
    def host(self) -> str:
        """The host to listen on; empty when that is off."""
        return self.listen.host if self.listen else ""

    @property
    def port(self) -> int:
        """The port to listen on; 0 when that is off."""
        return self.listen.port if self.listen else 0

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it; a name other than localhost may mean any address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return str(self.listen or fields.OFF)


@dataclass(frozen=True, slots=True)
class Account(Table):
    """One API key; `ca_file` begins at the root once the loader knows where the file is.

    What the file leaves out is the vendor's, once the loader has found that.
    """

    provider: Text = STABILITY
    api_key: Text | None = field(default=None, repr=False)
    api_key_file: Text | None = None
    vars: Annotated[Mapping[str, str], BeforeValidator(fields.variables)] = field(default_factory=dict)
    generation: Annotated[Generation, BeforeValidator(fields.generation)] = Generation.V1
    base_url: Annotated[str, BeforeValidator(fields.base_url)] = ""
    allow_http: YesNo = False
    rate_limit: Annotated[RateLimit | None, BeforeValidator(fields.rate_limit)] = None
    written_every: Annotated[Duration | None, Field(validation_alias="every"), Shown(unset=None)] = None
    organizations: Annotated[
        Annotated[str, BeforeValidator(fields.choice("all", "listed"))] | None, Shown("only those listed")
    ] = None
    proxy: Annotated[Annotated[str, BeforeValidator(fields.proxy)] | None, Shown(unset=None, hidden=True)] = field(
        default=None, repr=False
    )
    ca_file: Optional[Text] = None
    top_up_url: Annotated[str | None, BeforeValidator(fields.top_up_url)] = None
    price_per_credit: Optional[Annotated[Decimal, BeforeValidator(fields.price)]] = None
    auto_top_up: Optional[Credits] = None
    written_rules: Annotated[AccountRulesTable, Field(validation_alias="rules")] = NO_ACCOUNT_RULES
    rules: Annotated[AccountRules, Derived, Field(validation_alias="rules in force")] = field(
        default_factory=lambda: NO_ACCOUNT_RULES_IN_FORCE
    )
    every: Annotated[timedelta, Derived, Field(validation_alias="every in force")] = timedelta(minutes=5)
    name: Annotated[str, Derived] = ""
    vendor: Annotated[Vendor, Derived] = field(default_factory=lambda: UNKNOWN_VENDOR)

    @property
    def shown_every(self) -> timedelta:
        """How often it is polled."""
        return self.every

    @property
    def realm(self) -> str:
        """Within what a vendor's id means one organization: Stability's base URL, as ever; elsewhere also the provider.

        A vendor whose organizations have ids of their own knows them whichever key asks; what one key's answer holds
        belongs to the account.
        """
        if self.provider == STABILITY:
            return self.base_url
        return f"{self.provider}:{self.base_url if self.vendor.asks_each else self.name}"

    @property
    def organizations_all(self) -> bool:
        """Whether every organization that the key sees is watched."""
        return self.organizations == "all"


@dataclass(frozen=True, slots=True)
class Organization(Table):
    """An organization that the file lists; `notify` None means every channel."""

    account: Text = ""  # "": the only one there is
    id: Annotated[Text | None, Shown("the key's default")] = None
    notify: Annotated[Names | None, Shown("every channel")] = None
    paused: YesNo = False
    auto_top_up: Optional[Credits] = None
    written_rules: WrittenRules = NO_RULES  # none are left when `rules` is made of them, for they are large
    rules: RulesInForce = field(default_factory=lambda: ALL_OFF)
    name: Annotated[str, Derived] = ""


@dataclass(frozen=True, slots=True)
class Channel(Table):
    """Where messages go; `fallback` names the channel that stands in when delivery has failed for `fallback_after`."""

    url: Text | None = field(default=None, repr=False)
    url_file: Text | None = None
    min_severity: Annotated[Severity, BeforeValidator(fields.severity)] = Severity.WARNING
    quiet_hours: Annotated[QuietHours | None, PlainValidator(fields.quiet_hours), Shown(unset=None)] = None
    allow_insecure: YesNo = False
    fallback: Optional[Text] = None
    fallback_after: Duration = timedelta(minutes=15)
    digest: Annotated[DigestTime | None, PlainValidator(fields.digest), Shown(unset=None)] = None
    top_ups: YesNo = False
    name: Annotated[str, Derived] = ""


class FileSettings(BaseSettings):
    """Everything that can be configured, from layers that are merged already."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True, validate_default=False
    )

    timezone: Annotated[ZoneInfo, BeforeValidator(fields.zone)] = ZoneInfo("UTC")
    price_per_credit: Annotated[Decimal, BeforeValidator(fields.price)] = Decimal("0.01")  # in any currency
    written_heartbeat_url: Annotated[Optional[Text], Field(validation_alias="heartbeat_url", repr=False)] = None
    heartbeat_url_file: Text | None = None
    database: Database = Database()
    poll: Poll = Poll()
    retention: Retention = Retention()
    web: Web | None = Web()
    written_rules: WrittenRules = NO_RULES
    accounts: Mapping[str, Account] = Field(default_factory=dict)
    organizations: Mapping[str, Organization] = Field(default_factory=dict)
    channels: Mapping[str, Channel] = Field(default_factory=dict)
    providers: Mapping[str, Any] = Field(default_factory=dict)  # as written: `descriptions` reads them

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return only what `sources` reads: it knows names with dashes, credentials, and the line of each setting."""
        return (init_settings,)

    def value(self, key: "Key") -> Any:
        """Return the value of a setting; None when there is none."""
        here: Any = self
        for part in key:
            here = here[part] if isinstance(here, Mapping) else getattr(here, entries(type(here))[part].attribute)
        return here


class Settings(FileSettings):
    """Everything configured, in force.  Secrets are read by its methods, by those commands that need them."""

    model_config = SettingsConfigDict(defer_build=True)  # the loader makes it of parts that are valid

    file: Path | None
    rules: Rules
    vendors: "Vendors"  # by name: those described, and those built in
    warnings: tuple[str, ...]
    keys: Mapping[str, Secret] = Field(repr=False)
    urls: Mapping[str, Secret] = Field(repr=False)
    heartbeat: Secret = Field(repr=False)
    token: Secret = Field(repr=False)

    def api_key(self, account: str) -> str:
        """Return the key of an account, read now; raise `ConfigError` when it cannot be had."""
        secret = self.keys[account]
        key = secret.read()
        if not key.isascii() or " " in key:
            raise secret.wrong("is not a key: expected letters and digits without spaces")
        is_usual = self.description(account) or USUAL_KEY.fullmatch(key)
        if not secret.proven and not is_usual:
            log.warning("%s: does not look like a usual key (sk- and 48 letters or digits); trying it", secret.key)
        return key

    def secret(self, key: "Key") -> Secret:
        """Return the secret of a key such as `accounts.NAME.api_key`, unread."""
        table, name = key[0], key[-2:-1]
        named = {"accounts": self.keys, "channels": self.urls}
        return named[table][name[0]] if table in named else self.token if table == "web" else self.heartbeat

    def channel_url(self, channel: str) -> str:
        """Return the Apprise URL of a channel, read now; raise `ConfigError` when it cannot be had."""
        return self.urls[channel].read()

    @property
    def top_up_urls(self) -> dict[str, str]:
        """The page on which credits are bought, by account; without those that have none."""
        return {name: account.top_up_url for name, account in self.accounts.items() if account.top_up_url}

    def description(self, account: str) -> "Description | None":
        """Return what describes an account's vendor; None for Stability, which is programmed, and for a mistake."""
        provider = self.accounts[account].provider
        is_described = provider in self.vendors and not self.vendors.is_programmed(provider)
        return self.vendors[provider] if is_described else None

    @property
    def shortest_every(self) -> timedelta:
        """The time between polls of the account that is asked most often."""
        return min((account.every for account in self.accounts.values()), default=self.poll.every)

    @property
    def with_keys(self) -> list[str]:
        """The accounts whose vendor wants a key, and those that have one: a command may do with or without."""
        return [name for name, account in self.accounts.items() if account.vendor.needs_key or self.keys[name].is_given]

    def price(self, account: str, provider: str) -> Decimal | None:
        """Return what one of an account's units costs, in any currency; the general price is Stability's alone."""
        configured = self.accounts.get(account)
        own = configured.price_per_credit if configured else None
        return self.price_per_credit if own is None and provider == STABILITY else own

    @property
    def rate_limits(self) -> Mapping[str, RateLimit | None]:
        """The rate limit of each account."""
        return {name: account.rate_limit for name, account in self.accounts.items()}

    def fallbacks(self, channel: str) -> Iterator[str]:
        """Yield the channels that may stand in for one, in order; a cycle ends where it began.

        One that there is not is a mistake, and ends it.
        """
        seen = {channel}
        name = self.channels[channel].fallback
        while name and name in self.channels and name not in seen:
            yield name
            seen.add(name)
            name = self.channels[name].fallback

    def heartbeat_url(self) -> str | None:
        """Return the URL that is called after every poll, read now, or None; raise `ConfigError` as above."""
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
        """Return what a reader of figures has to show, read now, or None; raise `ConfigError` as above."""
        if not self.token.is_given:
            return None
        token = self.token.read()
        if not token.isascii() or " " in token:
            raise self.token.wrong("is not a token: expected letters, digits and signs without spaces")
        return token


# --- the keys of the tree ---------------------------------------------------------------------------------------------

Key = tuple[str, ...]
AnyTable = type[BaseModel | Table]
ANY: Final = "*"  # stands for a name of one's own


class Entry(NamedTuple):
    """One key of a table: the attribute it becomes, how it is shown, and the table it holds, perhaps many by name."""

    attribute: str
    shown: Shown
    table: AnyTable | None
    by_name: bool


_ENTRIES: Final[dict[AnyTable, Mapping[str, Entry]]] = {}


def entries(table: AnyTable) -> Mapping[str, Entry]:
    """Return what a table may hold, by key, in order."""
    if table not in _ENTRIES:
        _ENTRIES[table] = _entries_of(table)
    return _ENTRIES[table]


def _entries_of(table: AnyTable) -> Mapping[str, Entry]:
    if issubclass(table, BaseModel):
        infos = dict(table.model_fields)
    else:
        hints = get_type_hints(table, include_extras=True)
        infos = {each.name: FieldInfo.from_annotation(hints[each.name]) for each in fields_of(table)}
    written = ((name, info) for name, info in infos.items() if not any(mark in NO_KEYS for mark in info.metadata))
    return {str(info.validation_alias or name): _entry(name, info) for name, info in written}


def _entry(name: str, info: FieldInfo) -> Entry:
    shown = next((mark for mark in info.metadata if isinstance(mark, Shown)), Shown())
    return Entry(name, shown, *_table_in(info.annotation))


def _table_in(hint: Any) -> tuple[AnyTable | None, bool]:
    """Return the table that a type is, or None; and whether it holds many by name."""
    if get_origin(hint) is Mapping:
        return _table_in(get_args(hint)[1])[0], True
    if isinstance(hint, type):
        return (hint if issubclass(hint, Table | RuleModel) else None), False
    return next((inner for arg in get_args(hint) if (inner := _table_in(arg))[0]), (None, False))


def _tables_below(place: Key, table: AnyTable) -> dict[Key, AnyTable]:
    tables = {place: table}
    for key, entry in entries(table).items():
        if entry.table:
            tables |= _tables_below((*place, key, ANY) if entry.by_name else (*place, key), entry.table)
    return tables


TABLES: Final = _tables_below((), FileSettings)
BY_NAME: Final = tuple(key for key, entry in entries(FileSettings).items() if entry.by_name)
SECRETS: Final = {  # the first and the last part of the keys that may also be given as KEY_file
    ((*place, key)[0], key)
    for place, table in TABLES.items()
    for key in entries(table)
    if f"{key}_file" in entries(table)
}


def place_of(key: Key) -> Key:
    """Return a key with `ANY` for the names that people choose."""
    return (key[0], ANY, *key[2:]) if len(key) > 1 and key[0] in BY_NAME else key


def names_in(table: Key) -> list[str]:
    """Return the keys that a table may hold, by its own key; none when it is no table of ours."""
    return list(entries(TABLES[place])) if (place := place_of(table)) in TABLES else []


def known_settings() -> list[Key]:
    """Return the key of every setting; a table is one only where rules may be given whole."""
    return [
        *(
            (*place, key)
            for place, table in TABLES.items()
            for key, entry in entries(table).items()
            if (entry.table is None or place[-1:] == ("rules",)) and not entry.by_name
        ),
        *(("providers", ANY, key) for key in PROVIDER_KEYS),
    ]

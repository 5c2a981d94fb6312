"""The file as pydantic sees it: every setting, its type and its default.  A new setting begins here.

Refuses whatever is not named; what settings mean to each other is `assemble`'s business.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor import durations
from monitor.config import fields, units
from monitor.model import REMINDERS, Generation, RateLimit, Severity

Duration = Annotated[timedelta, BeforeValidator(durations.parse)]
Text = Annotated[str, BeforeValidator(units.text)]
Credits = Annotated[Decimal, BeforeValidator(units.credits_figure)]
Level = Annotated[Decimal, PlainValidator(fields.level)]  # a share of the last top-up stays one
Gaps = Annotated[tuple[timedelta, ...], PlainValidator(fields.gaps)]
Age = Annotated[timedelta | None, BeforeValidator(units.age)]  # None: it is kept for ever
Hours = Annotated[Decimal, BeforeValidator(units.hours_figure)]
Figure = TypeVar("Figure")


class Table(BaseModel):
    """A table of the file; its messages never show a value, for it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class Levels(Table, Generic[Figure]):
    info: Figure | None = None
    warning: Figure | None = None
    critical: Figure | None = None


class Ladder(Levels[Figure], Generic[Figure]):
    clear: Levels[Figure] = Levels[Figure]()


class Spend(Table):
    credits: Credits
    window: Duration
    clear: Credits | None = None


class Remind(Table):
    info: Gaps = ()
    warning: Gaps = REMINDERS[Severity.WARNING]
    critical: Gaps = REMINDERS[Severity.CRITICAL]


class DatabaseTable(Table):
    url: Annotated[str, BeforeValidator(units.database_url)] | None = None
    migrate: Annotated[str, BeforeValidator(units.choice("auto", "manual"))] = "auto"


class PollTable(Table):
    every: Duration = timedelta(minutes=5)
    deadline: Duration = timedelta(seconds=15)


class RetentionTable(Table):
    raw: Age = timedelta(days=400)
    hourly: Age = timedelta(days=5 * 365)
    daily: Age = None


class RulesTable(Table):
    credits: Annotated[Ladder[Level] | None, BeforeValidator(units.levels)] = None
    runway: Annotated[Ladder[Hours] | None, BeforeValidator(units.levels)] = None
    stale_after: Annotated[timedelta | None, BeforeValidator(units.duration_or_off)] = None
    confirm_checks: Annotated[int, BeforeValidator(units.checks)] = 1
    spend: Annotated[Spend | None, BeforeValidator(fields.spend)] = None
    remind_every: Annotated[Remind, BeforeValidator(fields.reminders)] = Remind()


class AccountTable(Table):
    api_key: Text | None = None
    api_key_file: Text | None = None
    generation: Annotated[Generation, BeforeValidator(units.generation)] = Generation.V1
    base_url: Annotated[str, BeforeValidator(units.base_url)] = "https://api.stability.ai"
    allow_http: Annotated[bool, BeforeValidator(fields.yes_or_no)] = False
    rate_limit: Annotated[RateLimit | None, BeforeValidator(units.rate_limit)] = RateLimit(75, timedelta(seconds=10))
    organizations: Annotated[str, BeforeValidator(units.choice("all"))] | None = None
    proxy: Annotated[str, BeforeValidator(units.proxy)] | None = None
    ca_file: Text | None = None


class OrganizationTable(Table):
    account: Text | None = None
    id: Text | None = None
    notify: Annotated[tuple[str, ...], BeforeValidator(units.names)] | None = None
    paused: Annotated[bool, BeforeValidator(fields.yes_or_no)] = False
    rules: RulesTable = RulesTable()


class ChannelTable(Table):
    url: Text | None = None
    url_file: Text | None = None
    min_severity: Annotated[Severity, BeforeValidator(units.severity)] = Severity.WARNING
    quiet_hours: Annotated[fields.Quiet | None, PlainValidator(fields.quiet_hours)] = None
    fallback: Text | None = None
    fallback_after: Duration = timedelta(minutes=15)
    digest: Annotated[fields.DigestAt | None, PlainValidator(fields.digest)] = None


class WebTable(Table):
    listen: Annotated[tuple[str, int] | None, PlainValidator(units.listen)] = None
    token: Text | None = None
    token_file: Text | None = None
    hosts: Annotated[tuple[str, ...], BeforeValidator(units.hosts)] = ()


class FileSettings(BaseSettings):
    """Everything that can be configured, from layers that are merged already."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True, validate_default=False
    )

    timezone: Annotated[ZoneInfo, BeforeValidator(units.zone)] = ZoneInfo("UTC")
    price_per_credit: Annotated[Decimal, BeforeValidator(units.price)] = Decimal("0.01")
    heartbeat_url: Text | None = None
    heartbeat_url_file: Text | None = None
    database: DatabaseTable = DatabaseTable()
    poll: PollTable = PollTable()
    retention: RetentionTable = RetentionTable()
    web: WebTable = WebTable()
    rules: RulesTable = RulesTable()
    accounts: dict[str, AccountTable] = Field(default_factory=dict)
    organizations: dict[str, OrganizationTable] = Field(default_factory=dict)
    channels: dict[str, ChannelTable] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `layers` found: it knows names with dashes, credentials, and the line of each setting."""
        return (init_settings,)


ANY: Final = "*"  # stands for a name of one's own

TABLES: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): FileSettings,
    ("database",): DatabaseTable,
    ("poll",): PollTable,
    ("retention",): RetentionTable,
    ("web",): WebTable,
    ("rules",): RulesTable,
    ("accounts", ANY): AccountTable,
    ("organizations", ANY): OrganizationTable,
    ("organizations", ANY, "rules"): RulesTable,
    ("channels", ANY): ChannelTable,
}
for _rules in (("rules",), ("organizations", ANY, "rules")):
    for _rule in ("credits", "runway"):
        TABLES[*_rules, _rule] = Ladder
        TABLES[*_rules, _rule, "clear"] = Levels
    TABLES[*_rules, "spend"] = Spend
    TABLES[*_rules, "remind_every"] = Remind


def place_of(key: tuple[str, ...]) -> tuple[str, ...]:
    """A key with `ANY` for the names that people choose."""
    named = ("accounts", "organizations", "channels")
    return (key[0], ANY, *key[2:]) if len(key) > 1 and key[0] in named else key


def names_in(table: tuple[str, ...]) -> list[str]:
    """The names that a table may hold, by its key; none when it is no table of ours."""
    found = TABLES.get(place_of(table))
    return list(found.model_fields) if found else []


def known_settings() -> list[tuple[str, ...]]:
    """The key of every setting, without those of whole tables."""
    keys = [(*table, name) for table, model in TABLES.items() for name in model.model_fields]
    tables = {place[:length] for place in TABLES for length in range(1, len(place) + 1)}
    return [key for key in keys if key not in tables or TABLES.get(key) in {Ladder, Spend, Remind}]

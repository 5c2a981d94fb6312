"""The file as pydantic sees it: every setting, its type and its default.  A new setting begins here.

Refuses whatever is not named; what settings mean to each other is `assemble`'s business.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.config import units
from monitor.model import Generation, RateLimit, Rung, Severity

Duration = Annotated[timedelta, BeforeValidator(units.duration)]
Text = Annotated[str, BeforeValidator(units.text)]
Ladder = tuple[Rung, ...]


class Table(BaseModel):
    """A table of the file; its messages never show a value, for it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class DatabaseTable(Table):
    url: Text | None = None
    migrate: Annotated[str, BeforeValidator(units.choice("auto", "manual"))] = "auto"


class PollTable(Table):
    every: Duration = timedelta(minutes=5)
    deadline: Duration = timedelta(seconds=15)


class RulesTable(Table):
    credits: Annotated[Ladder, BeforeValidator(units.credits_ladder)] | None = None
    runway: Annotated[Ladder, BeforeValidator(units.runway_ladder)] | None = None
    stale_after: Annotated[timedelta | None, BeforeValidator(units.duration_or_off)] = None
    confirm_checks: Annotated[int, BeforeValidator(units.whole)] | None = None


class AccountTable(Table):
    api_key: Text | None = None
    api_key_file: Text | None = None
    generation: Annotated[Generation, BeforeValidator(units.generation)] = Generation.V1
    base_url: Annotated[str, BeforeValidator(units.base_url)] = "https://api.stability.ai"
    rate_limit: Annotated[RateLimit | None, BeforeValidator(units.rate_limit)] = RateLimit(75, timedelta(seconds=10))
    organizations: Annotated[str, BeforeValidator(units.choice("all"))] | None = None
    proxy: Text | None = None
    ca_file: Text | None = None


class OrganizationTable(Table):
    account: Text | None = None
    id: Text | None = None
    notify: Annotated[tuple[str, ...], BeforeValidator(units.names)] | None = None
    rules: RulesTable = RulesTable()


class ChannelTable(Table):
    url: Text | None = None
    url_file: Text | None = None
    min_severity: Annotated[Severity, BeforeValidator(units.severity)] = Severity.WARNING


class FileSettings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        validate_default=False,
    )

    database: DatabaseTable = DatabaseTable()
    poll: PollTable = PollTable()
    rules: RulesTable = RulesTable()
    timezone: Annotated[ZoneInfo, BeforeValidator(units.zone)] = ZoneInfo("UTC")
    accounts: dict[str, AccountTable] = Field(default_factory=dict)
    organizations: dict[str, OrganizationTable] = Field(default_factory=dict)
    channels: dict[str, ChannelTable] = Field(default_factory=dict)


def settings_from(layers: Sequence[Mapping[str, Any]]) -> FileSettings:
    """Layers of plain values, the highest first, merged and validated; `ValidationError` lists every mistake."""

    class Layered(FileSettings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, init_kwargs=dict(layer)) for layer in layers)

    return Layered()


def known_settings() -> dict[str, type[BaseModel]]:
    """The tables and what each holds; accounts, organizations and channels are tables by name."""
    return {
        "database": DatabaseTable,
        "poll": PollTable,
        "rules": RulesTable,
        "accounts": AccountTable,
        "organizations": OrganizationTable,
        "channels": ChannelTable,
    }

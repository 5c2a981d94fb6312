"""Begins every look at the same time, and puts the findings into one order.

Refuses to stop at a configuration with mistakes: what they do not touch is looked at all the same.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

from monitor import config
from monitor.config import Settings
from monitor.doctor import database, files, machine, secrets, service, telling, vendor
from monitor.doctor.findings import Finding, apart, look, ok, problem, warning
from monitor.errors import ConfigError, Mistake

Clock = Callable[[], datetime]
MEND = "mend it; docs/configuration.md has every setting"


async def examine(path: Path | None, environ: Mapping[str, str], *, clock: Clock, send: bool) -> list[Finding]:
    """Every finding, in the order of a reader: configuration, secrets, database, vendor, channels, machine."""
    seen = service.as_service(path, environ)
    try:
        settings, mistakes = config.load_sound(path, seen)
    except ConfigError as error:
        found = [*_mistaken(error.mistakes), *await _of_machine(None)]
    else:
        sound = _sound(settings, {mistake.key for mistake in mistakes})
        found = [
            *_configuration(settings, mistakes),
            *_nobody_to_ask(settings),
            *await _of_settings(sound, mistakes, clock=clock, send=send),
        ]
    return [*service.said(environ, seen), *found]


def _configuration(settings: Settings, mistakes: tuple[Mistake, ...]) -> list[Finding]:
    found = [*_mistaken(mistakes), *map(_caution, settings.warnings)]
    return found or [ok("configuration", f"{settings.file or 'environment'}: valid")]


def _caution(said: str) -> Finding:
    """A warning of the configuration's, whose mend stands behind its last semicolon."""
    what, _, mend = said.rpartition("; ")
    return warning("configuration", what, mend)


def _mistaken(mistakes: Collection[Mistake]) -> list[Finding]:
    return [problem("configuration", str(mistake), MEND) for mistake in mistakes]


def _nobody_to_ask(settings: Settings) -> list[Finding]:
    if settings.accounts:
        return []
    return [problem("accounts", "there is none: nothing is watched", "add [accounts.NAME], or set STABILITY_API_KEY")]


def _sound(settings: Settings, wrong: Collection[str]) -> Settings:
    """The settings without accounts, organizations and channels that a mistake touches: no default stands in for it."""

    def untouched(table: str, names: Mapping[str, object]) -> set[str]:
        return {name for name in names if not any(f"{key}.".startswith(f"{table}.{name}.") for key in wrong)}

    accounts = untouched("accounts", settings.accounts)
    listed = untouched("organizations", settings.organizations)
    channels = untouched("channels", settings.channels)
    organizations = {
        name: organization
        for name, organization in settings.organizations.items()
        if name in listed and organization.account in accounts
    }
    return settings.model_copy(
        update={
            "accounts": {name: account for name, account in settings.accounts.items() if name in accounts},
            "organizations": organizations,
            "channels": {name: channel for name, channel in settings.channels.items() if name in channels},
        }
    )


async def _of_settings(settings: Settings, mistakes: tuple[Mistake, ...], *, clock: Clock, send: bool) -> list[Finding]:
    known = not any(mistake.key.startswith("database") for mistake in mistakes)
    looks = [
        look("secrets", apart(lambda: list(secrets.look_at_secrets(settings)))),
        *((look("database", database.look_at_database(settings)), files.look(settings)) if known else ()),
        vendor.look_at_vendor(settings, clock=clock),
        telling.look_at_channels(settings, clock=clock, send=send, complete=not mistakes),
        _of_machine(settings),
    ]
    return [finding for found in await asyncio.gather(*looks) for finding in found]


async def _of_machine(settings: Settings | None) -> list[Finding]:
    looks = (
        look("time zones", apart(lambda: list(machine.look_at_time_zones(settings)))),
        look("bytecode", apart(lambda: list(machine.look_at_bytecode()))),
        look("systemd", service.look_at_systemd()),
    )
    return [finding for found in await asyncio.gather(*looks) for finding in found]

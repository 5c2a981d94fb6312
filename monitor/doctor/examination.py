"""Begin every look at the same time, and return the findings in one order.

Mistakes in the configuration end nothing: what they do not touch is looked at all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

from monitor import config
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.config.service import service_environ
from monitor.doctor import channels, database, machine, secrets, service, vendor
from monitor.doctor.findings import Finding, State, look, ok, problem, warning
from monitor.errors import ConfigError, Mistake

Clock = Callable[[], datetime]
MISTAKE_TODO = "mend it; docs/configuration.md has every setting"


async def examine(path: Path | None, environ: Mapping[str, str], *, clock: Clock, send: bool) -> list[Finding]:
    """Return every finding, in this order: configuration, secrets, database, vendor, channels, machine.

    `environ` is that of the caller; where it lacks what systemd gives the service, that is added.
    """
    used = service_environ(path, environ)
    try:
        settings, mistakes = config.load_sound(path, used)
    except ConfigError as error:
        findings = [*_mistake_findings(error.mistakes), *await _look_at_machine(None)]
    else:
        sound = _sound(settings, {mistake.key for mistake in mistakes})
        findings = [
            *_configuration_findings(settings, mistakes),
            *_account_findings(settings),
            *await _look_at_settings(sound, mistakes, clock=clock, send=send),
        ]
    return sorted([*service.look_at_environ(environ, used), *findings], key=_is_later)


def _is_later(finding: Finding) -> bool:
    """Return False for what makes all the rest worthless: nobody polls."""
    return (finding.what, finding.state) != ("daemon", State.PROBLEM)


def _configuration_findings(settings: Settings, mistakes: tuple[Mistake, ...]) -> list[Finding]:
    findings = [*_mistake_findings(mistakes), *map(_warning_finding, settings.warnings)]
    return findings or [ok("configuration", f"{settings.file or 'environment'}: valid")]


def _warning_finding(text: str) -> Finding:
    """Return a warning of the configuration; what to do stands behind its last semicolon."""
    state, _, todo = text.rpartition("; ")
    return warning("configuration", state, todo)


def _mistake_findings(mistakes: Collection[Mistake]) -> list[Finding]:
    return [problem("configuration", str(mistake), MISTAKE_TODO) for mistake in mistakes]


def _account_findings(settings: Settings) -> list[Finding]:
    if settings.accounts:
        return []
    return [problem("accounts", "there is none: nothing is watched", "add [accounts.NAME], or set STABILITY_API_KEY")]


def _sound(settings: Settings, wrong: Collection[str]) -> Settings:
    """Return the settings without accounts, organizations and channels that a mistake touches."""

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


async def _look_at_settings(
    settings: Settings, mistakes: tuple[Mistake, ...], *, clock: Clock, send: bool
) -> list[Finding]:
    has_database = not any(mistake.key.startswith("database") for mistake in mistakes)
    looks = [
        look("secrets", in_thread(lambda: list(secrets.look_at_secrets(settings)))),
        *(_look_at_database(settings, clock) if has_database else ()),
        vendor.look_at_vendor(settings, clock=clock),
        channels.look_at_channels(settings, clock=clock, send=send, complete=not mistakes),
        _look_at_machine(settings),
    ]
    return [finding for findings in await asyncio.gather(*looks) for finding in findings]


def _look_at_database(settings: Settings, clock: Clock) -> tuple[Awaitable[list[Finding]], ...]:
    files = in_thread(lambda: list(database.look_at_files(settings)))
    disk = in_thread(lambda: list(machine.look_at_disk(settings)))
    return (
        look("database", database.look_at_database(settings, clock)),
        look("database files", files),
        look("disk", disk),
    )


async def _look_at_machine(settings: Settings | None) -> list[Finding]:
    looks = (
        look("time zones", in_thread(lambda: list(machine.look_at_time_zones(settings)))),
        look("bytecode", in_thread(lambda: list(machine.look_at_bytecode()))),
        look("systemd", service.look_at_systemd()),
    )
    return [finding for findings in await asyncio.gather(*looks) for finding in findings]

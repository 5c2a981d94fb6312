"""Which rules judge an organization, and which channels hear of a subject: the configuration, asked."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from monitor.channels import is_on_call
from monitor.config import Settings
from monitor.config.rules import rules_in_force
from monitor.config.schema import NO_RULES
from monitor.model import STABILITY, STABILITY_UNIT, Rules, Severity, Subject


class Judged(Protocol):
    """An organization, as much of it as its rules depend on."""

    @property
    def name(self) -> str: ...

    @property
    def account(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def mixed(self) -> bool: ...


def rules_of(settings: Settings, organization: Judged) -> Rules:
    """Return the rules of an organization: its own before its account's, those before its vendor's, then the general.

    One whose account is gone has the general ones, which hold no level for another vendor's unit.
    """
    configured = settings.organizations.get(organization.name)
    account = settings.accounts.get(configured.account if configured else organization.account)
    if account is None:
        is_stability = organization.unit == STABILITY_UNIT
        return settings.rules if is_stability else replace(settings.rules, credits=(), spend=None)
    if configured is None:
        return account.rules.of(organization.unit, mixed=organization.mixed)
    if configured.written_rules is NO_RULES and account.vendor.unit:
        return configured.rules
    return rules_in_force(account, organization.unit, configured.written_rules, mixed=organization.mixed)


@dataclass(frozen=True, slots=True)
class Named:
    """An organization that is known by its name alone."""

    name: str
    account: str
    unit: str
    mixed: bool = False


def named(settings: Settings, name: str) -> Named:
    """Return what the configuration says of an organization: the one it lists, else one that an account would watch."""
    configured = settings.organizations.get(name)
    account = settings.accounts.get(configured.account if configured else name.partition("/")[0])
    if account is None or account.provider == STABILITY:
        return Named(name, configured.account if configured else "", STABILITY_UNIT)
    return Named(name, account.name, account.vendor.unit or name.rpartition("/")[2])


def account_rules_of(settings: Settings, account: str) -> Rules:
    """Return the rules that judge an account itself: whether its key is taken, whether it answers."""
    configured = settings.accounts.get(account)
    return configured.rules.plain if configured else settings.rules


def channels_of(settings: Settings, subject: Subject, name: str) -> tuple[str, ...]:
    """Return the channels of a subject, whatever their severity: an account's are those of its organizations."""
    if subject is Subject.ORGANIZATION:
        return _organization_channels(settings, name)
    account = settings.accounts.get(name)
    if account is None or account.organizations_all:
        return tuple(settings.channels)
    own = (organization for organization in settings.organizations.values() if organization.account == name)
    heard = {channel for organization in own for channel in _organization_channels(settings, organization.name)}
    return tuple(channel for channel in settings.channels if channel in heard)


def _organization_channels(settings: Settings, name: str) -> tuple[str, ...]:
    configured = settings.organizations.get(name)
    if configured is None or configured.notify is None:
        return tuple(settings.channels)
    return configured.notify


def is_paused(settings: Settings, subject: Subject, name: str) -> bool:
    """Return whether the file says that nothing is to be said of a subject: only organizations are paused."""
    configured = settings.organizations.get(name) if subject is Subject.ORGANIZATION else None
    return configured is not None and configured.paused


def hearing_top_ups(settings: Settings) -> list[str]:
    """Return the channels that are told of top-ups; nobody is paged for one."""
    wanted = [name for name, channel in settings.channels.items() if channel.top_ups]
    return [name for name in wanted if not is_on_call(settings.channel_url(name))]


def hearing(settings: Settings, channels: Iterable[str], severity: Severity) -> list[str]:
    """Return those of the channels whose minimum severity lets this one through."""
    return [channel for channel in channels if settings.channels[channel].min_severity <= severity]

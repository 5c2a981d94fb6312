"""Which rules judge an organization, and which channels hear of a subject: the configuration, asked."""

from collections.abc import Iterable

from monitor.channels import is_on_call
from monitor.config import Settings
from monitor.model import Rules, Severity, Subject


def rules_of(settings: Settings, organization: str) -> Rules:
    """Return the rules of an organization by its name; those for all when the file does not list it."""
    configured = settings.organizations.get(organization)
    return configured.rules if configured else settings.rules


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

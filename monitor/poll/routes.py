"""Which rules judge an organization, and which channels hear of a subject: the configuration, asked."""

from collections.abc import Iterable

from monitor.config import Settings
from monitor.model import Rules, Severity, Subject


def rules_of(settings: Settings, organization: str) -> Rules:
    """The rules of an organization by its name; those for all when the file does not list it."""
    configured = settings.organizations.get(organization)
    return configured.rules if configured else settings.rules


def channels_of(settings: Settings, subject: Subject, name: str) -> tuple[str, ...]:
    """The channels of a subject, whatever their severity: an account's are those of its organizations."""
    if subject is Subject.ORGANIZATION:
        return _organization_channels(settings, name)
    account = settings.accounts.get(name)
    if account is None or account.organizations_all:
        return tuple(settings.channels)
    own = (o for o in settings.organizations.values() if o.account == name)
    heard = {channel for o in own for channel in _organization_channels(settings, o.name)}
    return tuple(channel for channel in settings.channels if channel in heard)


def _organization_channels(settings: Settings, name: str) -> tuple[str, ...]:
    configured = settings.organizations.get(name)
    if configured is None or configured.notify is None:
        return tuple(settings.channels)
    return configured.notify


def hearing(settings: Settings, channels: Iterable[str], severity: Severity) -> list[str]:
    """Those of the channels whose minimum severity lets this one through."""
    return [channel for channel in channels if settings.channels[channel].min_severity <= severity]

"""Which rules judge an organization, and which channels hear of a subject: the configuration, asked."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from monitor.config import QuietHours, Settings
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


def is_paused(settings: Settings, organization: str) -> bool:
    """Whether the file says that nothing is to be said of an organization."""
    configured = settings.organizations.get(organization)
    return configured is not None and configured.paused


def quiet_until(quiet: QuietHours | None, at: datetime) -> datetime | None:
    """When quiet hours that rule at an instant end; None outside of them."""
    if quiet is None:
        return None
    local = at.astimezone(quiet.timezone)
    # A stretch that began yesterday may still last.
    for day in (local.date() - timedelta(days=1), local.date()):
        last = day if quiet.start < quiet.end else day + timedelta(days=1)
        began = datetime.combine(day, quiet.start, quiet.timezone)
        ends = datetime.combine(last, quiet.end, quiet.timezone)
        if began.astimezone(UTC) <= at < ends.astimezone(UTC):
            return ends.astimezone(UTC)
    return None


def held_back(settings: Settings, channels: Iterable[str], severity: Severity, at: datetime) -> dict[str, datetime]:
    """The channels whose quiet hours hold a message of this severity back, and until when."""
    if severity >= Severity.CRITICAL:
        return {}
    ends = {channel: quiet_until(settings.channels[channel].quiet_hours, at) for channel in channels}
    return {channel: end for channel, end in ends.items() if end is not None}


def hearing(settings: Settings, channels: Iterable[str], severity: Severity) -> list[str]:
    """Those of the channels whose minimum severity lets this one through."""
    return [channel for channel in channels if settings.channels[channel].min_severity <= severity]

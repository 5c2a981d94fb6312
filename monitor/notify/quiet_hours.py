"""Quiet hours: until when they hold a channel's messages back."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from monitor.config import QuietHours, Settings
from monitor.model import Severity


def quiet_until(quiet: QuietHours | None, at: datetime) -> datetime | None:
    """Return when quiet hours that rule at an instant end; None outside of them."""
    if quiet is None:
        return None
    local = at.astimezone(quiet.timezone)
    # Quiet hours that began yesterday may still last.
    for day in (local.date() - timedelta(days=1), local.date()):
        last = day if quiet.start < quiet.end else day + timedelta(days=1)
        began = datetime.combine(day, quiet.start, quiet.timezone)
        ends = datetime.combine(last, quiet.end, quiet.timezone)
        if began.astimezone(UTC) <= at < ends.astimezone(UTC):
            return ends.astimezone(UTC)
    return None


def held_until(settings: Settings, channels: Iterable[str], severity: Severity, at: datetime) -> dict[str, datetime]:
    """Return the channels whose quiet hours hold a message of this severity back, and until when."""
    if severity >= Severity.CRITICAL:
        return {}
    ends = {channel: quiet_until(settings.channels[channel].quiet_hours, at) for channel in channels}
    return {channel: end for channel, end in ends.items() if end is not None}

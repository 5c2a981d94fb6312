"""How the daemon stands, in one sentence: what `systemctl status` shows."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from monitor.message.words import LONGEST_CAUSE, format_duration, harmless
from monitor.model import Severity


def leads_line(
    organizations: int, *, failing: int, troubled: Mapping[Severity, int], next_poll: timedelta | None
) -> str:
    """`12 organizations, 1 critical, next poll in 3 min`.

    `failing` gave no balance when last asked; `troubled` have something open, each counted by the worst of it.
    """
    counts = [f"{troubled[one]} {one.label}" for one in sorted(troubled, reverse=True)]
    if failing:
        counts.append(f"{failing} failing")
    parts = [f"{organizations} organization{'s' * (organizations != 1)}", *(counts or ["all ok"])]
    if next_poll is not None:
        parts.append(f"next poll in {_roughly(next_poll)}" if next_poll > timedelta(0) else "polling")
    return ", ".join(parts)


def stands_by_line(leader: str | None) -> str:
    """Who leads instead."""
    return "standing by: another credit-monitor leads" + (f" on {harmless(leader)}" if leader else "")


def away_line(since: datetime, cause: str) -> str:
    """The database cannot be used."""
    return f"the database is away since {since:%Y-%m-%d %H:%M} UTC ({harmless(cause, longest=LONGEST_CAUSE)})"


def refused_line(problem: str) -> str:
    """The configuration was read again, and is not the one in force."""
    return f"the new configuration is NOT in force ({harmless(problem, longest=LONGEST_CAUSE)})"


def wedged_line(part: str) -> str:
    """Something hangs, and the service manager is to end this process."""
    return f"{part} hangs; waiting for the service manager to restart this process"


def _roughly(duration: timedelta) -> str:
    """To the minute, but for the last one and a half: to ten seconds."""
    seconds = max(duration.total_seconds(), 0)
    step = 10 if seconds < 90 else 60 if seconds < 5400 else 3600  # noqa: PLR2004
    return format_duration(timedelta(seconds=round(seconds / step) * step or step))

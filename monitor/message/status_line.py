"""The daemon's status in one line, as `systemctl status` shows it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from monitor.message.formats import LONGEST_CAUSE, format_duration
from monitor.model import Severity
from monitor.text import harmless


def leads_line(
    organizations: int, *, failing: int, troubled: Mapping[Severity, int], next_poll: timedelta | None
) -> str:
    """Return `12 organizations, 1 critical, next poll in 3 min`.

    `failing`: organizations whose last check failed; `troubled`: those with open incidents, by their worst severity.
    """
    counts = [f"{troubled[severity]} {severity.label}" for severity in sorted(troubled, reverse=True)]
    if failing:
        counts.append(f"{failing} failing")
    well = "all ok" if organizations else "nothing is watched yet"
    parts = [f"{organizations} organization{'s' * (organizations != 1)}", *(counts or [well])]
    if next_poll is not None:
        parts.append(f"next poll in {_rounded(next_poll)}" if next_poll > timedelta(0) else "polling")
    return ", ".join(parts)


def stands_by_line(leader: str | None) -> str:
    """Return the line of a standby."""
    return "standing by: another credit-monitor leads" + (f" on {harmless(leader)}" if leader else "")


def standstill_line(lasting: timedelta | None, *, pid: int | None, host: str | None, is_running: bool) -> str:
    """Return the line for a monitor that does not poll; `lasting` None: it never did."""
    for_how_long = f"for {_in_words(lasting)}" if lasting is not None else None
    if not is_running:
        return f"no daemon: nothing has polled {for_how_long or 'yet'}"
    who = f" (pid {pid}{f' on {harmless(host)}' if host else ''})" if pid else ""
    return f"the daemon{who} has not polled {for_how_long or 'yet'}"


def away_line(since: datetime, cause: str, *, what: str = "") -> str:
    """Return the line for a database that cannot be used, or does not take `what`."""
    trouble = f"{what} cannot be written" if what else "the database is away"
    return f"{trouble} since {since:%Y-%m-%d %H:%M} UTC ({harmless(cause, longest=LONGEST_CAUSE)})"


def refused_line(problem: str) -> str:
    """Return the line for a reload whose configuration was refused."""
    return f"the new configuration is NOT in force ({harmless(problem, longest=LONGEST_CAUSE)})"


def wedged_line(part: str) -> str:
    """Return the line for a part that hangs, so that the service manager restarts this process."""
    return f"{part} hangs; waiting for the service manager to restart this process"


def _in_words(duration: timedelta) -> str:
    """Return the duration in the largest unit of which there are two: `3 days`, `36 hours`, `90 minutes`."""
    seconds = max(int(duration.total_seconds()), 0)
    lengths = {"days": 86400, "hours": 3600, "minutes": 60}
    unit, length = next(((unit, length) for unit, length in lengths.items() if seconds >= 2 * length), ("seconds", 1))
    return f"{seconds // length} {unit}"


def _rounded(duration: timedelta) -> str:
    """Return the duration rounded to the hour, to the minute under 90 minutes, to ten seconds under 90 seconds."""
    seconds = max(duration.total_seconds(), 0)
    step = 10 if seconds < 90 else 60 if seconds < 5400 else 3600  # noqa: PLR2004
    return format_duration(timedelta(seconds=round(seconds / step) * step or step))

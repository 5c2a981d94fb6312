"""What is sent of an incident that comes back: the first end and the first return, then little until it is quiet.

An incident that opens again, or worsens again after easing, within its window is the same one going on.  From its first
return on only a severity worse than any told in it is told at once, what else happened at most once an hour, and its
end when a clear reading lies a whole window after the last return.  The law, for every rule: a source that alternates
at every check causes at most four messages in its first hour and one in each later one, and a state that stays bad is
told within its hour.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from monitor.model import OpenIncident, Reason, Verdict

SHORTEST: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=2)
POLLS: Final = 3  # a window holds so many at least
HOUR: Final = timedelta(hours=1)
IN_FIRST_HOUR: Final = 4  # messages
CLOCK_SLACK: Final = timedelta(minutes=1)  # a clock stepped back further than this has passed no time


def window(every: timedelta) -> timedelta:
    """Return how long an incident has to be quiet until it is over, by the time between two polls."""
    return min(max(SHORTEST, POLLS * every), LONGEST)


def elapsed(since: datetime | None, at: datetime) -> timedelta:
    """Return the time since an instant: without end where there was none, or where the clock was stepped back."""
    if since is None or at < since - CLOCK_SLACK:
        return timedelta.max
    return max(at - since, timedelta(0))


def going_on(incident: OpenIncident | None, at: datetime, quiet: timedelta) -> OpenIncident | None:
    """Return the incident that a bad reading would belong to; None where a new one would open."""
    if incident is None or incident.ended_at is None or elapsed(incident.ended_at, at) <= quiet:
        return incident
    return None


def dampen(verdict: Verdict, incident: OpenIncident, *, at: datetime, quiet: timedelta) -> Verdict:
    """Return the table's verdict as it is to be told, or only kept; `incident` goes on, `quiet` is its window."""
    if incident.is_flapping:
        return _flap(verdict, incident, at=at, quiet=quiet)
    if verdict.reason is Reason.OPENED or _is_back(verdict, incident, at, quiet):
        return _return(verdict, incident, at=at, quiet=quiet)
    if verdict.reason is Reason.EASED and not _has_room(incident, at):
        return replace(verdict, told=False, returned=True)  # it went up and down too often for a message each time
    return verdict


def calm_verdict(incident: OpenIncident, *, at: datetime, quiet: timedelta) -> Verdict | None:
    """Return what a clear reading decides of an incident that was calm already: its end, when that is due."""
    end = Verdict(incident.rule, Reason.RESOLVED, incident.severity, incident.severity)
    verdict = _flap(end, incident, at=at, quiet=quiet)
    return None if verdict.calm and not verdict.told else verdict


def _is_back(verdict: Verdict, incident: OpenIncident, at: datetime, quiet: timedelta) -> bool:
    """Return whether it worsened again after easing, to a severity that was sent already."""
    eased_lately = incident.eased_at is not None and elapsed(incident.eased_at, at) <= quiet
    return verdict.reason is Reason.ESCALATED and eased_lately and not _is_worse(verdict, incident)


def _return(verdict: Verdict, incident: OpenIncident, *, at: datetime, quiet: timedelta) -> Verdict:
    """Return the verdict of an incident that comes back: the first return is sent, later ones wait for the hour."""
    verdict = replace(verdict, returned=True)
    first = incident.returns == 0
    if _is_worse(verdict, incident) or (first and _has_room(incident, at)):
        return replace(verdict, quiet_for=quiet if first else None)
    return _hourly(verdict, replace(incident, returned_at=at), at) or replace(verdict, told=False)


def _flap(verdict: Verdict, incident: OpenIncident, *, at: datetime, quiet: timedelta) -> Verdict:
    match verdict.reason:
        case Reason.OPENED | Reason.ESCALATED:
            return _return(verdict, incident, at=at, quiet=quiet)
        case Reason.RESOLVED:
            return _clear(verdict, incident, at=at, quiet=quiet)
        case Reason.EASED:
            return _hourly(verdict, incident, at) or replace(verdict, told=False)
        case _:
            return _hourly(verdict, incident, at) or verdict


def _clear(verdict: Verdict, incident: OpenIncident, *, at: datetime, quiet: timedelta) -> Verdict:
    """Return the verdict of a clear reading: its end after a whole window, sent unless the last message was one."""
    if elapsed(incident.returned_at, at) >= quiet:
        if _end_was_last(incident):
            return replace(verdict, told=False)
        if _may_end(incident, at):
            return verdict
    calm = replace(verdict, reason=Reason.EASED, told=False, calm=True)
    # Where the last message was the end, and it came back since, that is sent although it is clear again.
    return (_hourly(calm, incident, at) if _end_was_last(incident) else None) or calm


def _hourly(verdict: Verdict, incident: OpenIncident, at: datetime) -> Verdict | None:
    """Return the present state, when something of it was not sent and the last message is an hour old."""
    told_at = incident.told_at
    changes = [instant for instant in (incident.returned_at, incident.eased_at) if instant is not None]
    is_news = any(told_at is None or instant > told_at for instant in changes)
    if is_news and elapsed(told_at, at) >= HOUR and _has_room(incident, at):
        # After a message that it was over, the next one is that it is open again.
        reason = Reason.OPENED if _end_was_last(incident) else Reason.REMINDER
        return replace(verdict, reason=reason, told=True, hourly=True)
    return None


def _end_was_last(incident: OpenIncident) -> bool:
    """Return whether the last message was its end."""
    return incident.end_told_at is not None and incident.end_told_at == incident.told_at


def _may_end(incident: OpenIncident, at: datetime) -> bool:
    """Return whether its end may be sent: a second one within two hours waits until the last message is an hour old."""
    if elapsed(incident.end_told_at, at) < 2 * HOUR and elapsed(incident.told_at, at) < HOUR:
        return False
    return _has_room(incident, at)


def _is_worse(verdict: Verdict, incident: OpenIncident) -> bool:
    return verdict.severity > (incident.worst_told or incident.severity)


def _has_room(incident: OpenIncident, at: datetime) -> bool:
    """Return whether one more message keeps within the four of the first hour."""
    return elapsed(incident.opened_at, at) >= HOUR or incident.tellings < IN_FIRST_HOUR

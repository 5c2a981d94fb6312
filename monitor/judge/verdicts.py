"""From a reading to a verdict: the state table, confirmation, and reminders that are due."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Final

from monitor.judge import flapping
from monitor.judge.readings import Position, Reading, below
from monitor.model import OpenIncident, Reason, Rule, Rules, Rung, Severity, Verdict

Counts = Mapping[str, int]
NOTHING: Final[Counts] = MappingProxyType({})


class Signal(Enum):
    """What a reading means to an incident."""

    WORSE = "a worse rung reached"
    SAME = "same rung, or inside its band"
    BETTER = "worst rung cleared, another still stands"
    CLEARED = "all cleared"
    UNKNOWN = "unknown"


TABLE: Final[Mapping[tuple[bool, Signal], Reason | None]] = {
    # firing, signal; a reminder is sent only when it is due
    (False, Signal.WORSE): Reason.OPENED,
    (False, Signal.CLEARED): None,
    (False, Signal.UNKNOWN): None,
    (True, Signal.WORSE): Reason.ESCALATED,
    (True, Signal.SAME): Reason.REMINDER,
    (True, Signal.BETTER): Reason.EASED,
    (True, Signal.CLEARED): Reason.RESOLVED,
    (True, Signal.UNKNOWN): Reason.REMINDER,
}


def count(rule: Rule, reading: tuple[tuple[Rung, Position], ...], counts: Counts, confirm: int) -> Counts:
    """Add one for each rung that is below, forget those that are not."""
    counted = {key: count for key, count in counts.items() if not key.startswith(f"{rule}.")}
    for rung, position in reading:
        if position is Position.BELOW:
            key = f"{rule}.{rung.severity.label}"
            counted[key] = min(counts.get(key, 0) + 1, confirm)
    return counted or NOTHING


def confirmed(rule: Rule, reading: Reading, counts: Counts, confirm: int) -> frozenset[Severity]:
    reached = below(reading)
    if confirm == 1:
        return reached
    return frozenset(severity for severity in reached if counts.get(f"{rule}.{severity.label}", 0) >= confirm)


def verdict_of(
    rule: Rule,
    reading: Reading,
    incident: OpenIncident | None,
    *,
    reached: frozenset[Severity],
    rules: Rules,
    at: datetime,
) -> Verdict | None:
    """Return what is decided: the table's answer, dampened where the incident flaps.

    `reached` are the rungs that are below and confirmed; `incident` is the rule's last one, which may have ended a
    short while ago, or be calm at present.
    """
    incident = flapping.going_on(incident, at, rules.quiet)
    verdict = by_table(rule, reading, incident, reached=reached)
    if verdict is None:
        is_clear = reading is not None and incident is not None and incident.calm_since is not None
        return flapping.calm_verdict(incident, at=at, quiet=rules.quiet) if is_clear and incident else None
    if incident is not None:
        verdict = flapping.dampen(verdict, incident, at=at, quiet=rules.quiet)
    if verdict.reason is Reason.REMINDER and not verdict.hourly:
        return verdict if incident and reminder_is_due(incident, rules, at) else None
    return verdict


def by_table(
    rule: Rule, reading: Reading, incident: OpenIncident | None, *, reached: frozenset[Severity]
) -> Verdict | None:
    """Return the table's answer; a reminder is sent only when it is due, which the caller decides."""
    before = incident.severity if incident and incident.is_firing else None
    standing = _standing(reading, before, reached)
    reason = TABLE[before is not None, _signal(before, standing, unknown=reading is None)]
    if reason is None:
        return None
    rung = standing or next((rung for rung, _ in reversed(reading or ())), None)
    severity = standing.severity if standing else before
    assert severity is not None  # noqa: S101 -- ok and nothing reached has no reason in the table
    return Verdict(rule, reason, severity, before, rung.below if rung else None, rung.clear if rung else None)


def reminder_is_due(incident: OpenIncident, rules: Rules, at: datetime) -> bool:
    """Return whether the gap that its severity allows has passed since its last message; the gaps grow."""
    gaps = rules.remind.get(incident.severity, ())
    if not gaps:
        return False
    return at - (incident.told_at or incident.opened_at) >= gaps[min(incident.reminders, len(gaps) - 1)]


def _standing(reading: Reading, before: Severity | None, reached: frozenset[Severity]) -> Rung | None:
    """Return the worst rung that is reached, or that was and has not been cleared."""
    for rung, position in reading or ():
        is_uncleared = before is not None and rung.severity <= before and position is not Position.CLEAR
        if is_uncleared or rung.severity in reached:
            return rung
    return None


def _signal(before: Severity | None, standing: Rung | None, *, unknown: bool) -> Signal:
    if unknown:
        return Signal.UNKNOWN
    if standing is None:
        return Signal.CLEARED
    if before is None or standing.severity > before:
        return Signal.WORSE
    return Signal.SAME if standing.severity == before else Signal.BETTER

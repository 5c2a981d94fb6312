"""Decides what opens, changes and ends an incident.  Nothing else does.

Refuses to look anywhere: no clock, no file, no database, no library.  What it needs comes in, what it decided goes out.

The table, row for row (`TABLE` below; *level* is the worst rung that is below, or was and has not reached its clear
level; a reminder, where the table of design.md has one, takes the place of silence):

    state    signal                                         verdict
    ok       a rung reached                                 opened
    ok       nothing reached, or unknown                    -
    firing   a worse rung reached                           escalated
    firing   same rung, or between its level and clear      -
    firing   worst rung cleared, another still stands       eased
    firing   all cleared                                    resolved
    firing   unknown                                        -

Laws: judging the same snapshot twice changes nothing.  Unknown never opens and never closes.  Opened and resolved
alternate.  Inside the band nothing is said.  Judging goes by order of arrival, not by the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from monitor.model import (
    Check,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Reason,
    Rule,
    Rules,
    Rung,
    Severity,
    Snapshot,
    Verdict,
)


class Position(IntEnum):
    """Where a figure stands to one rung."""

    CLEAR = 0
    BAND = 1  # between the level and its clear level
    BELOW = 2


class Signal(Enum):
    """What a reading means to an incident."""

    WORSE = "a worse rung reached"
    SAME = "same rung, or inside its band"
    BETTER = "worst rung cleared, another still stands"
    CLEARED = "all cleared"
    UNKNOWN = "unknown"


TABLE: Final[Mapping[tuple[bool, Signal], Reason | None]] = {
    # firing, signal
    (False, Signal.WORSE): Reason.OPENED,
    (False, Signal.CLEARED): None,
    (False, Signal.UNKNOWN): None,
    (True, Signal.WORSE): Reason.ESCALATED,
    (True, Signal.SAME): None,
    (True, Signal.BETTER): Reason.EASED,
    (True, Signal.CLEARED): Reason.RESOLVED,
    (True, Signal.UNKNOWN): None,
}

Reading = tuple[tuple[Rung, Position], ...] | None  # one position for each rung, worst first; None: unknown
Incidents = Mapping[Rule, OpenIncident]
Counts = Mapping[str, int]

# Rules without a figure are ladders of one rung; its numbers mean nothing.
ALARM: Final = Rung(Severity.CRITICAL, Decimal(1), Decimal(1))
NOTICE: Final = Rung(Severity.WARNING, Decimal(1), Decimal(1))
NOTHING: Final[Counts] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Judgement:
    """The organization's current row after a check, and what is to be said."""

    organization: Organization
    verdicts: tuple[Verdict, ...]


def judge(
    organization: Organization, check: Check, *, incidents: Incidents, rules: Rules, rejected: bool = False
) -> Judgement:
    """Judge one check of an organization against what stood before it.

    `incidents` are the organization's open ones; `rejected` says that its account's key is known to be refused, which
    has its own incident.
    """
    outcome = check.outcome
    if isinstance(outcome, Snapshot) and outcome == organization.snapshot:
        return Judgement(organization, ())
    after = advance(organization, check)
    readings: dict[Rule, Reading] = {Rule.CREDITS: read_credits(outcome, rules), Rule.ACCESS: read_access(outcome)}
    verdicts, counts = _verdicts(readings, incidents, after.confirmations, rules.confirm_checks)
    # Whatever else explains the silence has an incident of its own: one cause, one message.
    explained = rejected or Rule.ACCESS in incidents or any(v.rule is Rule.ACCESS for v in verdicts)
    stale = read_stale(after, rules, check.ended_at, explained=explained)
    said = _verdict(Rule.STALE, stale, incidents.get(Rule.STALE), reached=_below(stale))
    if said:
        verdicts.append(said)
    return Judgement(after if counts == after.confirmations else replace(after, confirmations=counts), tuple(verdicts))


def judge_account(incident: OpenIncident | None, outcome: Snapshot | Failure) -> Verdict | None:
    """Judge what one check says of its account's key: 401 opens at once, any fresh snapshot resolves."""
    if isinstance(outcome, Snapshot):
        reading: Reading = ((ALARM, Position.CLEAR),)
    elif outcome.kind is FailureKind.CREDENTIAL_REJECTED:
        reading = ((ALARM, Position.BELOW),)
    else:
        reading = None
    return _verdict(Rule.CREDENTIAL, reading, incident, reached=_below(reading))


def reconcile(organization: Organization, *, incidents: Incidents, rules: Rules) -> tuple[Verdict, ...]:
    """What changed rules alone end or ease, judged by the last known figures; they never open anything."""
    last = _last_outcome(organization)
    readings: dict[Rule, Reading] = {
        Rule.CREDITS: (read_credits(last, rules) if last else None) if rules.credits else (),
        Rule.STALE: None if rules.stale_after else (),
    }
    verdicts = []
    for rule, reading in readings.items():
        if (incident := incidents.get(rule)) and (said := _verdict(rule, reading, incident, reached=frozenset())):
            verdicts.append(replace(said, reconfigured=True))
    return tuple(verdicts)


def end(incidents: Incidents) -> tuple[Verdict, ...]:
    """What the removal of a subject from the configuration ends: everything."""
    return tuple(
        Verdict(rule, Reason.RESOLVED, incident.severity, incident.severity, reconfigured=True)
        for rule, incident in incidents.items()
    )


def level(organization: Organization, incidents: Incidents, rules: Rules) -> Severity | None:
    """The worst current level of an organization, confirmed or not; None when nothing is below."""
    last = _last_outcome(organization)
    below = _below(read_credits(last, rules)) if last else frozenset()
    return max((*below, *(incident.severity for incident in incidents.values())), default=None)


# --- the current row --------------------------------------------------------------------------------------------------


def advance(organization: Organization, check: Check) -> Organization:
    """The current row after a check: the last recorded is the current one, whatever its clock says."""
    outcome = check.outcome
    if isinstance(outcome, Failure):
        return replace(
            organization,
            checked_at=check.ended_at,
            failure=outcome,
            failing_since=organization.failing_since or check.ended_at,
        )
    last = organization.snapshot
    rise = outcome.credits - last.credits if last else Decimal(0)
    return Organization(
        id=organization.id,
        name=organization.name,
        vendor_id=organization.vendor_id,
        account=organization.account,
        title=organization.title,
        snapshot=outcome,
        previous=last,
        used=organization.used - min(rise, Decimal(0)),
        topped_up=organization.topped_up + max(rise, Decimal(0)),
        top_up=Snapshot(outcome.taken_at, rise) if rise > 0 else organization.top_up,
        checked_at=check.ended_at,
        confirmations=organization.confirmations,
    )


def _last_outcome(organization: Organization) -> Snapshot | Failure | None:
    """What the credits rule last knew: a vendor that answers *no credits* has said so without a snapshot."""
    if organization.failure and organization.failure.kind is FailureKind.NO_CREDITS:
        return organization.failure
    return organization.snapshot


# --- readings: what a check says about each rule ----------------------------------------------------------------------


def read_credits(outcome: Snapshot | Failure, rules: Rules) -> Reading:
    """The balance against its ladder; an answer of *no credits* is below every level."""
    if isinstance(outcome, Snapshot):
        return read_ladder(rules.credits, outcome.credits)
    if outcome.kind is FailureKind.NO_CREDITS:
        return tuple((rung, Position.BELOW) for rung in rules.credits)
    return None


def read_ladder(ladder: tuple[Rung, ...], figure: Decimal) -> Reading:
    """Where a figure stands to each rung."""
    return tuple((rung, _position(rung, figure)) for rung in ladder)


def _position(rung: Rung, figure: Decimal) -> Position:
    if figure < rung.below:
        return Position.BELOW
    return Position.BAND if figure < rung.clear else Position.CLEAR


def read_access(outcome: Snapshot | Failure) -> Reading:
    """Whether the key may see the organization."""
    if isinstance(outcome, Snapshot):
        return ((ALARM, Position.CLEAR),)
    return ((ALARM, Position.BELOW),) if outcome.kind is FailureKind.ACCESS_DENIED else None


def read_stale(organization: Organization, rules: Rules, at: datetime, *, explained: bool) -> Reading:
    """Whether the last snapshot is too old; unknown while the silence has another explanation."""
    if organization.failure is None:
        return ((NOTICE, Position.CLEAR),)
    spent = organization.failure.kind is FailureKind.NO_CREDITS and rules.credits
    since = organization.snapshot.taken_at if organization.snapshot else organization.failing_since
    if explained or spent or rules.stale_after is None or since is None:
        return None
    # Only a fresh snapshot clears: a clock stepped back does not make an old one young.
    return ((NOTICE, Position.BELOW),) if at - since > rules.stale_after else None


# --- verdicts ---------------------------------------------------------------------------------------------------------


def _verdicts(
    readings: Mapping[Rule, Reading], incidents: Incidents, counts: Counts, confirm: int
) -> tuple[list[Verdict], Counts]:
    """One verdict at most for each rule, and the confirmations counted on."""
    verdicts = []
    for rule, reading in readings.items():
        incident = incidents.get(rule)
        if confirm > 1 and reading is not None:
            counts = _count(rule, reading, counts, confirm)
        said = _verdict(rule, reading, incident, reached=_confirmed(rule, reading, counts, confirm))
        if said:
            verdicts.append(said)
    return verdicts, counts


def _count(rule: Rule, reading: tuple[tuple[Rung, Position], ...], counts: Counts, confirm: int) -> Counts:
    """Add one for each rung that is below, forget those that are not."""
    counted = {key: count for key, count in counts.items() if not key.startswith(f"{rule}.")}
    for rung, position in reading:
        if position is Position.BELOW:
            key = f"{rule}.{rung.severity.label}"
            counted[key] = min(counts.get(key, 0) + 1, confirm)
    return counted or NOTHING


def _below(reading: Reading) -> frozenset[Severity]:
    return frozenset(rung.severity for rung, position in reading or () if position is Position.BELOW)


def _confirmed(rule: Rule, reading: Reading, counts: Counts, confirm: int) -> frozenset[Severity]:
    below = _below(reading)
    if confirm == 1:
        return below
    return frozenset(s for s in below if counts.get(f"{rule}.{s.label}", 0) >= confirm)


def _verdict(
    rule: Rule, reading: Reading, incident: OpenIncident | None, *, reached: frozenset[Severity]
) -> Verdict | None:
    """The table's answer; `reached` are the rungs that are below and confirmed."""
    before = incident.severity if incident else None
    standing = _standing(reading, before, reached)
    reason = TABLE[before is not None, _signal(before, standing, unknown=reading is None)]
    if reason is None:
        return None
    now = standing.severity if standing else None
    rung = standing or next((rung for rung, _ in reversed(reading or ())), None)
    severity = now if now is not None else before
    assert severity is not None  # noqa: S101 -- ok and nothing reached has no reason in the table
    return Verdict(rule, reason, severity, before, rung.below if rung else None, rung.clear if rung else None)


def _standing(reading: Reading, before: Severity | None, reached: frozenset[Severity]) -> Rung | None:
    """The worst rung that is reached, or that was and has not been cleared."""
    for rung, position in reading or ():
        held = before is not None and rung.severity <= before and position is not Position.CLEAR
        if held or rung.severity in reached:
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

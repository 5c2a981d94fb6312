"""Decide what opens, changes and ends an incident.  Nothing else does.

Pure: no clock, no file, no database, no library.  What it needs comes in, what it decided goes out.

The table, row for row (`verdicts.TABLE`; *level* is the worst rung that is below, or was and has not reached its clear
level):

    state    signal                                         verdict
    ok       a rung reached                                 opened
    ok       nothing reached, or unknown                    -
    firing   a worse rung reached                           escalated
    firing   same rung, or between its level and clear      reminder if due
    firing   worst rung cleared, another still stands       eased
    firing   all cleared                                    resolved
    firing   unknown                                        reminder if due

Laws: judging the same snapshot twice changes nothing.  Unknown never opens and never closes.  Opened and resolved
alternate.  Two reminders are never closer than allowed.  Inside the band nothing else is said.  Judging goes by order
of arrival, not by the clock.  `flapping` decides what is sent of an incident that comes back again and again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from monitor.forecast import Runway, Unknown
from monitor.judge.current import advance, apply, is_firing, last_outcome
from monitor.judge.flapping import window as flapping_window
from monitor.judge.outage import Extent, Incidents, Outage, Tally, extent, judge_outage, may_begin, never_listed
from monitor.judge.readings import (
    NOTICE,
    Position,
    Reading,
    below,
    is_overdue,
    read_access,
    read_credential,
    read_credits,
    read_runway,
    read_spend,
    read_stale,
)
from monitor.judge.verdicts import TABLE, Counts, Signal, by_table, confirmed, count, verdict_of
from monitor.model import (
    Check,
    Organization,
    Reason,
    Rejections,
    Rule,
    Rules,
    Severity,
    Snapshot,
    Verdict,
)

__all__ = [
    "TABLE",
    "Extent",
    "Incidents",
    "Judgement",
    "Outage",
    "Signal",
    "Tally",
    "advance",
    "apply",
    "end",
    "extent",
    "flapping_window",
    "is_firing",
    "is_overdue",
    "judge",
    "judge_account",
    "judge_age",
    "judge_outage",
    "level",
    "may_begin",
    "never_listed",
    "reconcile",
]


NO_REJECTION: Final = Rejections()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The organization's current row after a check, and what was decided."""

    organization: Organization
    verdicts: tuple[Verdict, ...]


def judge(
    organization: Organization,
    check: Check,
    *,
    incidents: Incidents,
    rules: Rules,
    explained: bool = False,
    runway: Runway | Unknown | None = None,
    spent: Decimal | None = None,
) -> Judgement:
    """Judge one check of an organization against what stood before it.

    `incidents` are the organization's open ones.  `explained`: its account has an incident which explains why there is
    no balance: a rejected key, an outage.  `runway` and `spent` are those after this check, None while unknown.
    """
    outcome = check.outcome
    if isinstance(outcome, Snapshot) and outcome == organization.snapshot:
        return Judgement(organization, ())
    after = advance(organization, check)
    readings: dict[Rule, Reading] = {
        Rule.CREDITS: read_credits(outcome, rules, top_up=_top_up(after)),
        Rule.RUNWAY: read_runway(outcome, rules, runway),
        Rule.SPEND: read_spend(outcome, rules.spend, spent),
        Rule.ACCESS: None if check.by_another else read_access(outcome),
    }
    verdicts, counts = _verdicts(readings, incidents, after.confirmations, rules, check.ended_at)
    # What explains that there is no balance has an incident of its own: one cause, one message.
    explained |= is_firing(incidents, Rule.ACCESS) or any(verdict.rule is Rule.ACCESS for verdict in verdicts)
    stale = {Rule.STALE: read_stale(after, rules, check, explained=explained)}
    stale_verdicts, counts = _verdicts(stale, incidents, counts, rules, check.ended_at)
    if counts != after.confirmations:
        after = replace(after, confirmations=counts)
    return Judgement(after, (*verdicts, *stale_verdicts))


def judge_age(incidents: Incidents, *, at: datetime, rules: Rules, explained: bool) -> tuple[Verdict, ...]:
    """Judge an organization that nobody asked for within `stale_after`: its age alone opens *stale*."""
    if rules.stale_after is None or explained or is_firing(incidents, Rule.ACCESS):
        return ()
    reading, reached = ((NOTICE, Position.BELOW),), frozenset({NOTICE.severity})
    verdict = verdict_of(Rule.STALE, reading, incidents.get(Rule.STALE), reached=reached, rules=rules, at=at)
    return (verdict,) if verdict else ()


def judge_account(
    incidents: Incidents, check: Check, *, rejections: Rejections = NO_REJECTION, rules: Rules
) -> tuple[tuple[Verdict, ...], Rejections]:
    """Judge what one check says of its account's key: 401 opens, any fresh snapshot of a poll without a 401 resolves.

    `rejections` are the polls of the account whose key was refused, up to this check; those up to and with it are
    returned with the verdicts.  As many in a row as `confirm_checks` says have to be refused.
    """
    poll_at = check.poll_at or check.ended_at
    reading = read_credential(check.outcome)
    if below(reading) and poll_at != rejections.poll_at:
        rejections = Rejections(rejections.polls + 1, poll_at)
    elif reading is not None and not below(reading):
        if poll_at == rejections.poll_at:
            return (), rejections  # the vendor both refused the key and took it, in one poll
        rejections = NO_REJECTION
    reached = below(reading) if rejections.polls >= rules.confirm_checks else frozenset()
    incident = incidents.get(Rule.CREDENTIAL)
    verdict = verdict_of(Rule.CREDENTIAL, reading, incident, reached=reached, rules=rules, at=check.ended_at)
    return ((verdict,) if verdict else ()), rejections


def reconcile(
    organization: Organization,
    *,
    incidents: Incidents,
    rules: Rules,
    runway: Runway | Unknown | None = None,
    spent: Decimal | None = None,
) -> tuple[Verdict, ...]:
    """Return what changed rules alone end or ease, by the last known figures; they never open anything."""
    readings = _last_readings(organization, rules, runway=runway, spent=spent)
    verdicts: list[Verdict] = []
    for rule, incident in incidents.items():
        reading = readings.get(rule)
        if reading == () and not incident.is_firing:
            verdicts += end({rule: incident})  # it flaps, and is calm at present
        verdict = by_table(rule, reading, incident, reached=frozenset()) if incident.is_firing else None
        if verdict and verdict.reason is not Reason.REMINDER:
            verdicts.append(replace(verdict, reconfigured=True))
    return tuple(verdicts)


def _last_readings(
    organization: Organization, rules: Rules, *, runway: Runway | Unknown | None, spent: Decimal | None
) -> dict[Rule, Reading]:
    """Return the readings of the last known figures; an empty one for a rule that is switched off."""
    outcome = last_outcome(organization)
    readings: dict[Rule, Reading] = {
        Rule.CREDITS: () if not rules.credits else None,
        Rule.RUNWAY: () if not rules.runway else None,
        Rule.SPEND: () if not rules.spend else None,
        Rule.STALE: () if not rules.stale_after else None,
    }
    # While checks fail, the last snapshot is not the last that was known: *no credits* may have come after it.
    if outcome is not None and (organization.failure is None or outcome is organization.failure):
        readings[Rule.CREDITS] = read_credits(outcome, rules, top_up=_top_up(organization))
        readings[Rule.RUNWAY] = read_runway(outcome, rules, runway) if rules.runway else ()
        readings[Rule.SPEND] = read_spend(outcome, rules.spend, spent)
    return readings


def end(incidents: Incidents) -> tuple[Verdict, ...]:
    """Return what the removal of a subject from the configuration ends: everything that is open."""
    return tuple(
        Verdict(rule, Reason.RESOLVED, incident.severity, incident.severity, reconfigured=True)
        for rule, incident in incidents.items()
        if incident.ended_at is None
    )


def level(organization: Organization, incidents: Incidents, rules: Rules) -> Severity | None:
    """Return the worst current level of an organization, confirmed or not; None when nothing is below."""
    outcome = last_outcome(organization)
    reached = below(read_credits(outcome, rules, top_up=_top_up(organization))) if outcome else frozenset()
    firing = (incident.severity for incident in incidents.values() if incident.is_firing)
    return max((*reached, *firing), default=None)


def _top_up(organization: Organization) -> Decimal | None:
    return organization.top_up.credits if organization.top_up else None


def _verdicts(
    readings: Mapping[Rule, Reading], incidents: Incidents, counts: Counts, rules: Rules, at: datetime
) -> tuple[list[Verdict], Counts]:
    """Return at most one verdict for each rule, and the confirmations as counted on."""
    verdicts = []
    confirm = rules.confirm_checks
    for rule, reading in readings.items():
        incident = incidents.get(rule) if incidents else None
        if (incident is None or incident.ended_at) and not counts and not below(reading):
            continue  # it was ok and is: nearly every check of a replay ends here
        if confirm > 1 and reading is not None:
            counts = count(rule, reading, counts, confirm)
        reached = confirmed(rule, reading, counts, confirm)
        verdict = verdict_of(rule, reading, incident, reached=reached, rules=rules, at=at)
        if verdict:
            verdicts.append(verdict)
    return verdicts, counts

"""Decide whether one organization gives no balance, or a whole account, or everything: one outage is one incident.

The counts come in as values: what an outage is, is decided here alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final

from monitor.judge.current import advance, is_firing
from monitor.judge.readings import NOTICE, Position, Reading, is_overdue
from monitor.judge.verdicts import verdict_of
from monitor.model import Check, Failure, OpenIncident, Organization, Rule, Rules, Verdict

ENOUGH: Final = 2  # silent organizations of an account: a single one is *stale*
OUT: Final[Reading] = ((NOTICE, Position.BELOW),)
IN: Final[Reading] = ((NOTICE, Position.CLEAR),)

Incidents = Mapping[Rule, OpenIncident]


class Extent(Enum):
    """How far an outage reaches."""

    NONE = "no outage, or not known"
    ACCOUNT = "every organization of the account"
    EVERYTHING = "every organization of every account"


@dataclass(frozen=True, slots=True)
class Tally:
    """How the organizations of one account fared at their last check.

    Those whose answer explains their silence (a rejected key, denied access, no credits) are counted nowhere.
    """

    silent: int = 0  # no answer
    answered: int = 0
    not_asked: int = 0  # since checks began

    @property
    def total(self) -> int:
        """All that are counted."""
        return self.silent + self.answered + self.not_asked


@dataclass(frozen=True, slots=True)
class Outage:
    """What one check decides of outages: of everything, and of its account."""

    everything: tuple[Verdict, ...]
    account: tuple[Verdict, ...]


def may_begin(
    organization: Organization, check: Check, *, incidents: Incidents, of_account: Incidents, rules: Rules
) -> bool:
    """Return whether a check of this organization could begin an outage: it is overdue, and nothing explains that.

    `incidents` are the organization's own, `of_account` its account's.
    """
    if is_firing(of_account, Rule.CREDENTIAL) or is_firing(incidents, Rule.STALE) or is_firing(incidents, Rule.ACCESS):
        return False
    return is_overdue(advance(organization, check), rules, check)


def never_listed(
    check: Check, *, known: int, first_failed_at: datetime | None, of_account: Incidents, rules: Rules
) -> bool:
    """Return whether an account's list could not be had for so long that nothing of it is watched at all.

    `known` counts its watched organizations; `first_failed_at` is when its list could not be had for the first time.
    """
    if known or rules.stale_after is None or first_failed_at is None or is_firing(of_account, Rule.CREDENTIAL):
        return False
    return check.age_since(first_failed_at) > rules.stale_after


def extent(account: Tally, others: Iterable[Tally]) -> Extent:
    """Return how far an outage reaches, by the tallies of the account that was checked and of every other one."""
    counted = [tally for tally in (account, *others) if tally.total]
    if len(counted) > 1 and all(tally.silent == tally.total for tally in counted):
        return Extent.EVERYTHING
    return Extent.ACCOUNT if account.silent >= ENOUGH and not account.answered else Extent.NONE


def judge_outage(check: Check, reach: Extent, *, everything: Incidents, account: Incidents, rules: Rules) -> Outage:
    """Judge outages by one check: `reach` opens, any fresh snapshot resolves.

    While everything is out, no account has an outage of its own.
    """
    whole = _judge(check, everything, is_out=reach is Extent.EVERYTHING, rules=rules)
    stands = is_firing(everything, Rule.OUTAGE) or any(verdict.rule is Rule.OUTAGE for verdict in whole)
    is_out = reach is Extent.ACCOUNT and not stands
    return Outage(whole, _judge(check, account, is_out=is_out, rules=rules))


def _judge(check: Check, incidents: Incidents, *, is_out: bool, rules: Rules) -> tuple[Verdict, ...]:
    reading = IN if not isinstance(check.outcome, Failure) else OUT if is_out else None
    incident = incidents.get(Rule.OUTAGE)
    reached = frozenset({NOTICE.severity}) if is_out else frozenset()
    rules = replace(rules, confirm_checks=1)  # an outage is confirmed by how long and how many
    verdict = verdict_of(Rule.OUTAGE, reading, incident, reached=reached, rules=rules, at=check.ended_at)
    return (verdict,) if verdict else ()

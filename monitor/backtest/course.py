"""One organization on its way through a history, in memory."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Self

from monitor.forecast import Runway
from monitor.judge import advance, apply, is_firing, judge, judge_account
from monitor.model import (
    STABILITY_UNIT,
    Check,
    Failure,
    OpenIncident,
    Organization,
    Reason,
    Rejections,
    Rule,
    Rules,
    Severity,
    Snapshot,
    Verdict,
)
from monitor.notify.facts import Outlook
from monitor.poll.forecast_cache import Estimates
from monitor.poll.settle import outlook_of


@dataclass(frozen=True, slots=True)
class ReplayedMessage:
    """A message that would have been sent; `runway` in hours is None when unknown, infinite when nothing is used."""

    at: datetime
    organization: str
    rule: Rule
    reason: Reason
    severity: Severity
    credits: Decimal | None  # the last known balance
    runway: float | None
    unit: str = STABILITY_UNIT


@dataclass(slots=True)
class Course:
    """What stands between two checks of one organization: whoever keeps it can cut a history anywhere."""

    rules: Rules
    organization: Organization
    estimates: Estimates
    incidents: dict[Rule, OpenIncident] = field(default_factory=dict)
    key: dict[Rule, OpenIncident] = field(default_factory=dict)  # incidents of its account, as far as its checks tell
    rejections: Rejections = field(default_factory=Rejections)
    judged: int = 0  # checks

    @classmethod
    def begin(cls, name: str, rules: Rules, *, unit: str = STABILITY_UNIT) -> Self:
        """Return the course of an organization before its first check."""
        return cls(rules, Organization(0, name, name, "", unit=unit), Estimates.empty(rules))

    def foresee(self, check: Check) -> None:
        """Take a check from before the beginning: it feeds the forecast and is not judged."""
        self._outlook(check)
        self.organization = advance(self.organization, check)

    def settle(self, check: Check) -> list[ReplayedMessage]:
        """Judge one check as the daemon does; return the messages that would have been sent."""
        self.judged += 1
        outlook = self._outlook(check)
        judged = judge(
            self.organization,
            check,
            incidents=self.incidents,
            rules=self.rules,
            explained=self._is_explained(check),
            runway=outlook.runway,
            spent=outlook.spent,
        )
        self.organization = judged.organization
        for verdict in judged.verdicts:
            _, self.incidents = apply(self.incidents, verdict, at=check.ended_at, topped_up=self.organization.topped_up)
        return [self._message(verdict, check, outlook) for verdict in judged.verdicts if verdict.told]

    def _outlook(self, check: Check) -> Outlook:
        if isinstance(check.outcome, Snapshot):
            if check.outcome == self.organization.snapshot:
                return Outlook()
            self.estimates.add(check.outcome)
        return outlook_of(self.estimates)

    def _is_explained(self, check: Check) -> bool:
        """Return whether a rejected key explains a missing balance: the account's incident, which is not replayed."""
        if self.key or isinstance(check.outcome, Failure):
            verdicts, self.rejections = judge_account(self.key, check, rejections=self.rejections, rules=self.rules)
            for verdict in verdicts:
                _, self.key = apply(self.key, verdict, at=check.ended_at)
        return is_firing(self.key, Rule.CREDENTIAL)

    def _message(self, verdict: Verdict, check: Check, outlook: Outlook) -> ReplayedMessage:
        name, snapshot = self.organization.name, self.organization.snapshot
        balance = snapshot.credits if snapshot else None
        runway = outlook.runway.likely if isinstance(outlook.runway, Runway) else None
        what = (verdict.rule, verdict.reason, verdict.severity)
        return ReplayedMessage(check.ended_at, name, *what, balance, runway, self.organization.unit)

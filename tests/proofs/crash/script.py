"""The scripted balances, and what they demand: the sequence of notifications that `judge` alone makes of them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from monitor.judge import apply, judge
from monitor.model import Check, Failure, OpenIncident, Organization, Reason, Rule, Rules, Severity, Snapshot
from tests.proofs.undamped import undamped

FULL = 8000
A_BALANCE = timedelta(hours=3)  # of the month, between one balance and the next
DAWN = datetime(2026, 1, 1, tzinfo=UTC)
MILDEST_FIRST = sorted(Severity)


@dataclass
class Scripted:
    """An organization whose balance falls, jumps and is topped up; `answers` are those the vendor gave so far."""

    name: str
    id: str
    random: Random
    answers: list[Decimal | Failure] = field(default_factory=list)
    least: float = 1100  # at the beginning

    def __post_init__(self) -> None:
        self.answers.append(self._rounded(self.random.uniform(self.least, FULL)))

    @property
    def now(self) -> Decimal:
        return next(answer for answer in reversed(self.answers) if isinstance(answer, Decimal))

    def advance(self) -> None:
        """The next balance; never the same twice running, so that each can be told from the one before."""
        before = self.now
        while self.now == before:
            if self.random.random() < 0.3 or before < 40:
                after = float(before) + self.random.choice((300, 900, 3000, FULL)) * self.random.uniform(0.2, 1)
                self.answers.append(self._rounded(min(after, 1.5 * FULL)))
            else:
                self.answers.append(self._rounded(float(before) * self.random.uniform(0.15, 0.95)))

    def _rounded(self, credits: float) -> Decimal:
        return round(Decimal(credits), self.random.choice((0, 2, 6)))


@dataclass(frozen=True)
class Demand:
    """One notification that the script demands, and the channels that are to hear it."""

    organization: str
    reason: Reason
    severity: Severity
    credits: Decimal
    channels: frozenset[str] = field(compare=False)


@undamped()
def demanded(scripted: Scripted, rules: Rules, hearing: Mapping[str, Severity]) -> list[Demand]:
    """What `judge` makes of the vendor's answers; `hearing` has the organization's channels' minimum severities."""
    organization = Organization(1, scripted.name, scripted.id, "studio")
    rules = replace(rules, quiet=timedelta(0))
    incidents: dict[Rule, OpenIncident] = {}
    told: defaultdict[Rule, dict[str, Severity]] = defaultdict(dict)
    demands = []
    for number, answer in enumerate(scripted.answers):
        at = DAWN + number * timedelta(seconds=1)  # so close that no reminder comes due
        check = Check(1, 1, at, answer if isinstance(answer, Failure) else Snapshot(at, answer))
        judged = judge(organization, check, incidents=incidents, rules=rules)
        organization = judged.organization
        last = organization.snapshot.credits if organization.snapshot else Decimal(0)
        for verdict in judged.verdicts:
            _, incidents = apply(incidents, verdict, at=at, topped_up=organization.topped_up)
            channels = _audience(verdict.reason, verdict.severity, told[verdict.rule], hearing)
            demands.append(Demand(scripted.name, verdict.reason, verdict.severity, last, channels))
            if verdict.reason is Reason.RESOLVED:
                del told[verdict.rule]
    return demands


def _audience(
    reason: Reason, severity: Severity, told: dict[str, Severity], hearing: Mapping[str, Severity]
) -> frozenset[str]:
    """Worse goes to whom it concerns, better to those who were told; keeps what each was told."""
    if reason in {Reason.OPENED, Reason.ESCALATED}:
        concerned = frozenset(channel for channel, least in hearing.items() if least <= severity)
        told.update({channel: max(severity, told.get(channel, severity)) for channel in concerned})
        return concerned
    if reason is Reason.EASED:
        return frozenset(channel for channel, worst in told.items() if worst > severity)
    return frozenset(told)

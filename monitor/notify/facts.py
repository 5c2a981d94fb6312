"""What an incident is about, with the figures that its notifications are judged by, as they stand at one instant."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from monitor.model import (
    SMALLEST,
    Facts,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Outcome,
    Rule,
    Rules,
    Runway,
    Subject,
    Unknown,
    Verdict,
)
from monitor.store import snapshots
from monitor.store.writer import Transaction

DAY: Final = timedelta(days=1)
WITH_FIGURE: Final = (Rule.CREDITS, Rule.RUNWAY, Rule.SPEND)
EVERYTHING: Final = 0  # the monitor's own id as a subject
EVERY_ACCOUNT: Final = "every account"


@dataclass(frozen=True, slots=True)
class Outlook:
    """An organization's use, estimated; None where no rule asks for it."""

    runway: Runway | Unknown | None = None
    spent: Decimal | None = None


class Case(Protocol):
    """One subject at one instant: everything that is needed to write an incident of it and to tell of that."""

    @property
    def subject(self) -> Subject: ...

    @property
    def id(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def at(self) -> datetime: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def credits(self) -> Decimal | None:
        """The last known balance; None for what has none."""

    @property
    def topped_up(self) -> Decimal:
        """What was topped up in all, ever."""

    def facts(self, verdict: Verdict, incident: OpenIncident) -> Facts:
        """Return the figures of a notification of this verdict."""


@dataclass(frozen=True, slots=True)
class OrganizationCase:
    """An organization after the check that is judged."""

    tx: Transaction
    organization: Organization
    at: datetime
    rules: Rules
    outlook: Outlook

    @property
    def subject(self) -> Subject:
        return Subject.ORGANIZATION

    @property
    def id(self) -> int:
        return self.organization.id

    @property
    def name(self) -> str:
        return self.organization.name

    @property
    def credits(self) -> Decimal | None:
        return self.organization.snapshot.credits if self.organization.snapshot else None

    @property
    def topped_up(self) -> Decimal:
        return self.organization.topped_up

    def facts(self, verdict: Verdict, incident: OpenIncident) -> Facts:
        organization = self.organization
        last, failure = organization.snapshot, organization.failure
        level, clear = _level(verdict)
        return Facts(
            name=organization.name,
            account=organization.account,
            at=self.at,
            vendor_id=organization.vendor_id,
            unit=organization.unit,
            title=organization.title,
            snapshot=last,
            previous=organization.previous,
            day_ago=snapshots.snapshot_before(self.tx, organization.id, last.taken_at - DAY) if last else None,
            top_up=organization.top_up,
            topped_up=organization.topped_up - incident.topped_up_before,
            level=level,
            clear=clear,
            runway=self.outlook.runway,
            spent=self.outlook.spent,
            window=self.rules.spend.window if self.rules.spend else None,
            opened_at=incident.opened_at,
            previous_severity=verdict.previous,
            cause=failure.message if failure else None,
            stale_after=self.rules.stale_after,
            no_credits=failure is not None and failure.kind is FailureKind.NO_CREDITS,
            reconfigured=verdict.reconfigured,
            returns=incident.returns,
            calm=verdict.calm,
            quiet_for=verdict.quiet_for,
        )


@dataclass(frozen=True, slots=True)
class AccountCase:
    """An account, or (`MONITOR`) all of them, after the check that is judged."""

    id: int
    name: str
    at: datetime
    rules: Rules
    outcome: Outcome | None = None
    organizations: int | None = None  # that an outage concerns
    subject: Subject = Subject.ACCOUNT
    credits: Decimal | None = None
    topped_up: Decimal = Decimal(0)

    def facts(self, verdict: Verdict, incident: OpenIncident) -> Facts:
        return Facts(
            name=self.name,
            account=self.name,
            at=self.at,
            opened_at=incident.opened_at,
            previous_severity=verdict.previous,
            cause=self.outcome.message if isinstance(self.outcome, Failure) else None,
            stale_after=self.rules.stale_after,
            organizations=self.organizations,
            reconfigured=verdict.reconfigured,
            returns=incident.returns,
            calm=verdict.calm,
            quiet_for=verdict.quiet_for,
        )


def everything(
    at: datetime, rules: Rules, *, outcome: Outcome | None = None, organizations: int | None = None
) -> AccountCase:
    """Return the case of every account at once: the monitor's own."""
    return AccountCase(EVERYTHING, EVERY_ACCOUNT, at, rules, outcome, organizations, Subject.MONITOR)


def _level(verdict: Verdict) -> tuple[Decimal | None, Decimal | None]:
    """Return level and clear level for people: a limit from above is kept turned round inside."""
    if verdict.rule not in WITH_FIGURE or verdict.level is None or verdict.clear is None:
        return None, None
    if verdict.rule is Rule.CREDITS and verdict.level == SMALLEST:
        return None, None  # nobody set a level: nothing is left
    return abs(verdict.level), abs(verdict.clear)

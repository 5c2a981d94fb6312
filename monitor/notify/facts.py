"""The figures that a notification is judged by, read when it is decided."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from monitor.model import (
    Facts,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Rule,
    Rules,
    Runway,
    Snapshot,
    Unknown,
    Verdict,
)
from monitor.store import snapshots
from monitor.store.writer import Transaction

DAY: Final = timedelta(days=1)
FIGURED: Final = (Rule.CREDITS, Rule.RUNWAY, Rule.SPEND)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is folded of an organization's use; None where nobody asked."""

    runway: Runway | Unknown | None = None
    spent: Decimal | None = None


def account_facts(
    name: str,
    verdict: Verdict,
    incident: OpenIncident,
    *,
    at: datetime,
    outcome: Snapshot | Failure | None = None,
    organizations: int | None = None,
    rules: Rules | None = None,
) -> Facts:
    """The figures of an account's or the monitor's incident."""
    return Facts(
        name=name,
        account=name,
        at=at,
        opened_at=incident.opened_at,
        previous_severity=verdict.previous,
        cause=outcome.message if isinstance(outcome, Failure) else None,
        stale_after=rules.stale_after if rules else None,
        organizations=organizations,
        reconfigured=verdict.reconfigured,
    )


def organization_facts(
    tx: Transaction,
    organization: Organization,
    verdict: Verdict,
    incident: OpenIncident,
    *,
    at: datetime,
    rules: Rules,
    outlook: Outlook,
) -> Facts:
    """The figures of an organization's incident, as they stand now."""
    snapshot = organization.snapshot
    day_ago = snapshots.snapshot_before(tx, organization.id, snapshot.taken_at - DAY) if snapshot else None
    level, clear = _level(verdict)
    return Facts(
        name=organization.name,
        account=organization.account,
        at=at,
        vendor_id=organization.vendor_id,
        title=organization.title,
        snapshot=snapshot,
        previous=organization.previous,
        day_ago=day_ago,
        top_up=organization.top_up,
        level=level,
        clear=clear,
        topped_up=organization.topped_up - incident.topped_up_before,
        opened_at=incident.opened_at,
        previous_severity=verdict.previous,
        cause=organization.failure.message if organization.failure else None,
        runway=outlook.runway,
        spent=outlook.spent,
        window=rules.spend.window if rules.spend else None,
        stale_after=rules.stale_after,
        no_credits=organization.failure is not None and organization.failure.kind is FailureKind.NO_CREDITS,
        reconfigured=verdict.reconfigured,
    )


def _level(verdict: Verdict) -> tuple[Decimal | None, Decimal | None]:
    """The level and clear level for people: a limit from above is kept turned round inside."""
    if verdict.rule not in FIGURED or verdict.level is None or verdict.clear is None:
        return None, None
    return abs(verdict.level), abs(verdict.clear)

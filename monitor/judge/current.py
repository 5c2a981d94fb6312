"""What stands after a check and after a verdict: an organization's current row, an open incident."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from monitor.model import Check, Failure, FailureKind, OpenIncident, Organization, Reason, Snapshot, Verdict


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


def last_outcome(organization: Organization) -> Snapshot | Failure | None:
    """What the credits rule last knew: a vendor that answers *no credits* has said so without a snapshot."""
    if organization.failure and organization.failure.kind is FailureKind.NO_CREDITS:
        return organization.failure
    return organization.snapshot


def begun(verdict: Verdict, *, id: int, at: datetime, topped_up: Decimal) -> OpenIncident:
    """The incident that a verdict opened; `topped_up` is the organization's own."""
    return OpenIncident(id, verdict.rule, verdict.severity, at, topped_up)


def carried(verdict: Verdict, incident: OpenIncident, *, at: datetime) -> OpenIncident:
    """An open incident after a verdict; one that ended stays as it was."""
    if verdict.reason is Reason.RESOLVED:
        return incident
    reminders = incident.reminders + 1 if verdict.reason is Reason.REMINDER else 0
    return replace(incident, severity=verdict.severity, told_at=at, reminders=reminders)

"""What stands after a check and after a verdict: an organization's current row, its open incidents."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from monitor.model import Check, Failure, FailureKind, OpenIncident, Organization, Reason, Rule, Snapshot, Verdict


def advance(organization: Organization, check: Check) -> Organization:
    """Return the current row after a check: the last recorded is the current one, whatever its clock says."""
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
    """Return what the credits rule last knew: a vendor that answers *no credits* has said so without a snapshot."""
    if organization.failure and organization.failure.kind is FailureKind.NO_CREDITS:
        return organization.failure
    return organization.snapshot


def apply(
    incidents: Mapping[Rule, OpenIncident], verdict: Verdict, *, at: datetime, topped_up: Decimal = Decimal(0)
) -> tuple[OpenIncident, dict[Rule, OpenIncident]]:
    """Return the verdict's incident, and the open incidents of its subject after it.

    An incident that it opened has the id 0 until it is stored; one that it resolved is returned as it stood.
    `topped_up` is what the organization had topped up, in all, at that instant.
    """
    before = incidents.get(verdict.rule)
    if before is None:
        incident = OpenIncident(0, verdict.rule, verdict.severity, at, topped_up)
    elif verdict.reason is Reason.RESOLVED:
        return before, {rule: incident for rule, incident in incidents.items() if rule is not verdict.rule}
    else:
        reminders = before.reminders + 1 if verdict.reason is Reason.REMINDER else 0
        incident = replace(before, severity=verdict.severity, told_at=at, reminders=reminders)
    return incident, {**incidents, verdict.rule: incident}

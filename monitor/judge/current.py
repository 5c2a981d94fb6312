"""What stands after a check and after a verdict: an organization's current row, its open incidents."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from monitor.model import (
    Check,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Outcome,
    Reason,
    Rule,
    Snapshot,
    Unlimited,
    Verdict,
)


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
    if isinstance(outcome, Unlimited):
        return replace(
            organization,
            checked_at=check.ended_at,
            failure=None,
            failing_since=None,
            unlimited=True,
            resets_at=check.resets_at,
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
        provider=organization.provider,
        unit=organization.unit,
        mixed=organization.mixed,
        resets_at=check.resets_at,
    )


def last_outcome(organization: Organization) -> Outcome | None:
    """Return what the credits rule last knew: *no credits* and *no limit* count without a snapshot."""
    if organization.failure and organization.failure.kind is FailureKind.NO_CREDITS:
        return organization.failure
    return Unlimited() if organization.unlimited else organization.snapshot


def is_firing(incidents: Mapping[Rule, OpenIncident], rule: Rule) -> bool:
    """Return whether a rule's present reading is bad."""
    incident = incidents.get(rule)
    return incident is not None and incident.is_firing


def apply(
    incidents: Mapping[Rule, OpenIncident], verdict: Verdict, *, at: datetime, topped_up: Decimal = Decimal(0)
) -> tuple[OpenIncident, dict[Rule, OpenIncident]]:
    """Return the verdict's incident, and the incidents of its subject after it.

    An incident that it opened has the id 0 until it is stored.  One that ended stays among them, because it may come
    back; one that the configuration ended does not.  `topped_up` is what the organization had topped up, in all, then.
    """
    before = incidents.get(verdict.rule)
    is_over = before is not None and before.ended_at is not None
    if before is None or (is_over and not verdict.returned):
        incident = OpenIncident(
            0, verdict.rule, verdict.severity, at, topped_up, told_at=at, worst_told=verdict.severity, tellings=1
        )
    else:
        incident = _count_message(_change(before, verdict, at), verdict, at)
    after = {**incidents, verdict.rule: incident}
    if verdict.reconfigured and verdict.reason is Reason.RESOLVED:
        del after[verdict.rule]
    return incident, after


def _change(incident: OpenIncident, verdict: Verdict, at: datetime) -> OpenIncident:
    """Return an incident as a verdict leaves it, whether or not it is sent."""
    if verdict.reason is Reason.RESOLVED:
        return replace(incident, ended_at=at, calm_since=None)
    return replace(
        incident,
        severity=incident.severity if verdict.calm else verdict.severity,
        ended_at=None,
        calm_since=(incident.calm_since or at) if verdict.calm else None,
        eased_at=at if verdict.reason is Reason.EASED and not verdict.calm else incident.eased_at,
        returns=incident.returns + verdict.returned,
        returned_at=at if verdict.returned else incident.returned_at,
    )


def _count_message(incident: OpenIncident, verdict: Verdict, at: datetime) -> OpenIncident:
    """Return an incident after its message, where the verdict is sent."""
    if not verdict.told:
        return incident
    is_reminder = verdict.reason is Reason.REMINDER
    ended = at if verdict.reason is Reason.RESOLVED else incident.end_told_at
    return replace(
        incident,
        told_at=at,
        worst_told=max(incident.worst_told or incident.severity, verdict.severity),
        reminders=incident.reminders + 1 if is_reminder else 0,
        tellings=incident.tellings + (not is_reminder),
        end_told_at=None if verdict.quiet_for else ended,  # the first return takes the first end back
    )

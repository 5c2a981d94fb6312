"""Record, judge and enqueue, in the one transaction that the caller opened.

Refuses to fetch and to send.  Judges by the order in which checks arrived, on the rows as they stand in this
transaction, so that another process that settled in between is seen.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from monitor import store
from monitor.config import Settings
from monitor.judge import judge, judge_account
from monitor.model import (
    Check,
    Facts,
    Failure,
    FailureKind,
    Notification,
    OpenIncident,
    Organization,
    Reason,
    Rule,
    Subject,
    Verdict,
)
from monitor.poll.routes import channels_of, hearing, rules_of
from monitor.store import Transaction

DAY: Final = timedelta(days=1)


@dataclass(slots=True)
class Standing:
    """What stands while a batch is settled: current rows and open incidents, by id."""

    organizations: dict[int, Organization]
    incidents: dict[int, dict[Rule, OpenIncident]]
    account_incidents: dict[int, dict[Rule, OpenIncident]]
    said: list[Notification] = field(default_factory=list)


def settle(tx: Transaction, batch: Sequence[Check], settings: Settings) -> list[Notification]:
    """Keep a batch of checks, judge each in order of arrival, and keep what is to be said; gives the latter."""
    store.record(tx, batch)
    standing = _load(tx, batch)
    for check in batch:
        _judge_account(tx, check, standing, settings)
        if check.organization_id is not None:
            _judge_organization(tx, check, standing, settings)
    store.save(tx, standing.organizations.values())
    return standing.said


def _load(tx: Transaction, batch: Sequence[Check]) -> Standing:
    ids = {check.organization_id for check in batch if check.organization_id is not None}
    accounts = {check.account_id for check in batch}
    return Standing(
        store.load(tx, ids),
        store.open_incidents(tx, Subject.ORGANIZATION, ids),
        store.open_incidents(tx, Subject.ACCOUNT, accounts),
    )


def _judge_account(tx: Transaction, check: Check, standing: Standing, settings: Settings) -> None:
    """What the check says of its account's key."""
    incidents = standing.account_incidents.setdefault(check.account_id, {})
    verdict = judge_account(incidents.get(Rule.CREDENTIAL), check.outcome)
    if verdict is None:
        return
    name = next(row.name for row in store.account_rows(tx) if row.id == check.account_id)
    incident = carry_out(tx, verdict, incidents, subject=(Subject.ACCOUNT, check.account_id), at=check.ended_at)
    facts = account_facts(name, verdict, incident, at=check.ended_at, outcome=check.outcome)
    channels = audience(tx, settings, verdict, incident, about=(Subject.ACCOUNT, name))
    standing.said.append(tell(tx, verdict, incident, Subject.ACCOUNT, facts=facts, channels=channels))


def _judge_organization(tx: Transaction, check: Check, standing: Standing, settings: Settings) -> None:
    """What the check says of its organization."""
    assert check.organization_id is not None  # noqa: S101 -- the caller asked
    before = standing.organizations[check.organization_id]
    incidents = standing.incidents.setdefault(before.id, {})
    rules = rules_of(settings, before.name)
    rejected = Rule.CREDENTIAL in standing.account_incidents[check.account_id]
    judged = judge(before, check, incidents=incidents, rules=rules, rejected=rejected)
    after = standing.organizations[before.id] = judged.organization
    for verdict in judged.verdicts:
        carried = announce(tx, settings, verdict, incidents, organization=after, at=check.ended_at)
        standing.said.append(carried)


def announce(
    tx: Transaction,
    settings: Settings,
    verdict: Verdict,
    incidents: dict[Rule, OpenIncident],
    *,
    organization: Organization,
    at: datetime,
) -> Notification:
    """Carry out one verdict on an organization and keep what is to be said of it."""
    balance = organization.snapshot.credits if organization.snapshot else None
    incident = carry_out(
        tx,
        verdict,
        incidents,
        subject=(Subject.ORGANIZATION, organization.id),
        at=at,
        credits=balance,
        topped_up=organization.topped_up,
    )
    facts = organization_facts(tx, organization, verdict, incident, at=at, settings=settings)
    channels = audience(tx, settings, verdict, incident, about=(Subject.ORGANIZATION, organization.name))
    return tell(tx, verdict, incident, Subject.ORGANIZATION, facts=facts, channels=channels)


def carry_out(
    tx: Transaction,
    verdict: Verdict,
    incidents: dict[Rule, OpenIncident],
    *,
    subject: tuple[Subject, int],
    at: datetime,
    credits: Decimal | None = None,
    topped_up: Decimal = Decimal(0),
) -> OpenIncident:
    """Write the verdict, and keep the open incidents at hand in step with it."""
    incident = store.carry_out(
        tx, verdict, incidents.get(verdict.rule), subject=subject, at=at, credits=credits, topped_up=topped_up
    )
    if verdict.reason is Reason.RESOLVED:
        incidents.pop(verdict.rule)
    else:
        incidents[verdict.rule] = incident
    return incident


def tell(
    tx: Transaction,
    verdict: Verdict,
    incident: OpenIncident,
    subject: Subject,
    *,
    facts: Facts,
    channels: Iterable[str],
) -> Notification:
    """Keep a notification and a delivery for each of the channels."""
    notification = Notification(
        secrets.token_hex(8), incident.id, subject, verdict.rule, verdict.reason, verdict.severity, facts
    )
    store.enqueue(tx, notification, channels, at=facts.at)
    return notification


def audience(
    tx: Transaction, settings: Settings, verdict: Verdict, incident: OpenIncident, *, about: tuple[Subject, str]
) -> list[str]:
    """Worse goes to whom it concerns; better goes to exactly those who were told, whatever their minimum severity."""
    if verdict.reason in (Reason.OPENED, Reason.ESCALATED):
        return hearing(settings, channels_of(settings, *about), verdict.severity)
    told = store.told(tx, incident.id)
    if verdict.reason is Reason.EASED:
        told = {channel: worst for channel, worst in told.items() if worst > verdict.severity}
    return [channel for channel in settings.channels if channel in told]


# --- the figures ------------------------------------------------------------------------------------------------------


def account_facts(
    name: str, verdict: Verdict, incident: OpenIncident, *, at: datetime, outcome: object = None
) -> Facts:
    """The figures of an account's incident."""
    return Facts(
        name=name,
        account=name,
        at=at,
        opened_at=incident.opened_at,
        previous_severity=verdict.previous,
        cause=outcome.message if isinstance(outcome, Failure) else None,
        reconfigured=verdict.reconfigured,
    )


def organization_facts(
    tx: Transaction,
    organization: Organization,
    verdict: Verdict,
    incident: OpenIncident,
    *,
    at: datetime,
    settings: Settings,
) -> Facts:
    """The figures of an organization's incident, as they stand now."""
    snapshot, previous, top_up = organization.snapshot, organization.previous, organization.top_up
    day_ago = store.snapshot_before(tx, organization.id, snapshot.taken_at - DAY) if snapshot else None
    figured = verdict.rule is Rule.CREDITS
    return Facts(
        name=organization.name,
        account=organization.account,
        at=at,
        vendor_id=organization.vendor_id,
        title=organization.title,
        credits=snapshot.credits if snapshot else None,
        taken_at=snapshot.taken_at if snapshot else None,
        level=verdict.level if figured else None,
        clear=verdict.clear if figured else None,
        previous_credits=previous.credits if previous else None,
        previous_at=previous.taken_at if previous else None,
        day_ago_credits=day_ago.credits if day_ago else None,
        day_ago_at=day_ago.taken_at if day_ago else None,
        top_up_credits=top_up.credits if top_up else None,
        top_up_at=top_up.taken_at if top_up else None,
        topped_up=organization.topped_up - incident.topped_up_before,
        opened_at=incident.opened_at,
        previous_severity=verdict.previous,
        cause=organization.failure.message if organization.failure else None,
        stale_after=rules_of(settings, organization.name).stale_after,
        no_credits=organization.failure is not None and organization.failure.kind is FailureKind.NO_CREDITS,
        reconfigured=verdict.reconfigured,
    )

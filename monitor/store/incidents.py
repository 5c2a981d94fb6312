"""Incidents: opened, changed and closed as `judge` decided."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from monitor.judge import begun, carried
from monitor.model import OpenIncident, Reason, Rule, Severity, Subject, Verdict
from monitor.store.tables import incidents
from monitor.store.writer import Transaction

_ALL_OPEN: Final = sa.select(
    *(incidents.c[name] for name in ("subject_id", "id", "rule", "severity", "opened_at", "topped_up_before")),
    *(incidents.c[name] for name in ("told_at", "reminders", "owed")),
).where(incidents.c.subject == sa.bindparam("subject"), incidents.c.resolved_at.is_(None))
_OPEN: Final = _ALL_OPEN.where(incidents.c.subject_id.in_(sa.bindparam("ids", expanding=True)))
RECONFIGURED = "reconfigured"


def open_incidents(
    tx: Transaction, subject: Subject, ids: Collection[int] | None = None
) -> dict[int, dict[Rule, OpenIncident]]:
    """The open incidents of these subjects (None: of all of the sort), by subject and rule."""
    given = {"subject": subject.value} | ({} if ids is None else {"ids": list(ids)})
    found: dict[int, dict[Rule, OpenIncident]] = {}
    for row in tx.execute(_ALL_OPEN if ids is None else _OPEN, given):
        rule = Rule(row.rule)
        incident = OpenIncident(
            row.id,
            rule,
            Severity.of(row.severity),
            row.opened_at,
            row.topped_up_before,
            row.told_at,
            row.reminders,
            row.owed,
        )
        found.setdefault(row.subject_id, {})[rule] = incident
    return found


def troubled(tx: Transaction) -> dict[Severity, int]:
    """How many organizations and accounts have something open, each counted by the worst of it."""
    worst: dict[tuple[str, int], Severity] = {}
    columns = (incidents.c.subject, incidents.c.subject_id, incidents.c.severity)
    for subject, key, severity in tx.execute(sa.select(*columns).where(incidents.c.resolved_at.is_(None))):
        worst[subject, key] = max(worst.get((subject, key), Severity.INFO), Severity.of(severity))
    return dict(Counter(worst.values()))


def carry_out(
    tx: Transaction,
    verdict: Verdict,
    incident: OpenIncident | None,
    *,
    subject: tuple[Subject, int],
    at: datetime,
    credits: Decimal | None = None,
    topped_up: Decimal = Decimal(0),
) -> OpenIncident:
    """Write what was decided; gives the incident as it stands now, or as it was when it ended."""
    if verdict.reason is Reason.OPENED:
        return _open(tx, verdict, subject=subject, at=at, credits=credits, topped_up=topped_up)
    assert incident is not None  # noqa: S101 -- the table gives no other reason without one
    row = incidents.update().where(incidents.c.id == incident.id)
    after = carried(verdict, incident, at=at)
    if verdict.reason is Reason.RESOLVED:
        why = RECONFIGURED if verdict.reconfigured else Reason.RESOLVED.value
        tx.execute(row.values(resolved_at=at, resolved_credits=credits, resolved_reason=why))
        return after
    values = {"severity": after.severity.label, "told_at": after.told_at, "reminders": after.reminders}
    if verdict.reason is Reason.ESCALATED:
        values["worst_severity"] = verdict.severity.label
    tx.execute(row.values(values))
    return after


def owe(tx: Transaction, incident: OpenIncident, *, owed: bool, at: datetime) -> OpenIncident:
    """Keep whether something of an incident was silenced and is still to be said; once said, reminders count anew."""
    said = {} if owed else {"told_at": at, "reminders": 0}
    tx.execute(incidents.update().where(incidents.c.id == incident.id).values(owed=owed, **said))
    return replace(incident, owed=owed, told_at=incident.told_at if owed else at)


def _open(
    tx: Transaction,
    verdict: Verdict,
    *,
    subject: tuple[Subject, int],
    at: datetime,
    credits: Decimal | None,
    topped_up: Decimal,
) -> OpenIncident:
    values = {
        "subject": subject[0].value,
        "subject_id": subject[1],
        "rule": verdict.rule.value,
        "severity": verdict.severity.label,
        "worst_severity": verdict.severity.label,
        "opened_at": at,
        "opened_credits": credits,
        "topped_up_before": topped_up,
    }
    key = tx.execute(incidents.insert().values(values).returning(incidents.c.id)).scalar_one()
    return begun(verdict, id=key, at=at, topped_up=topped_up)

"""Incidents: inserted and updated as `judge` decided."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

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
    """Return the open incidents of these subjects (None: of all of this kind), by subject and rule."""
    given = {"subject": subject.value} | ({} if ids is None else {"ids": list(ids)})
    by_subject: dict[int, dict[Rule, OpenIncident]] = {}
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
        by_subject.setdefault(row.subject_id, {})[rule] = incident
    return by_subject


def count_subjects(tx: Transaction) -> dict[Severity, int]:
    """Return how many subjects have open incidents, each counted once, by its worst severity."""
    worst: dict[tuple[str, int], Severity] = {}
    columns = (incidents.c.subject, incidents.c.subject_id, incidents.c.severity)
    for subject, key, severity in tx.execute(sa.select(*columns).where(incidents.c.resolved_at.is_(None))):
        worst[subject, key] = max(worst.get((subject, key), Severity.INFO), Severity.of(severity))
    return dict(Counter(worst.values()))


def insert_incident(
    tx: Transaction, incident: OpenIncident, *, subject: Subject, subject_id: int, credits: Decimal | None
) -> int:
    """Write an incident that has just opened, with the balance it opened at; return its id."""
    values = {
        "subject": subject.value,
        "subject_id": subject_id,
        "rule": incident.rule.value,
        "severity": incident.severity.label,
        "worst_severity": incident.severity.label,
        "opened_at": incident.opened_at,
        "opened_credits": credits,
        "topped_up_before": incident.topped_up_before,
    }
    return int(tx.execute(incidents.insert().values(values).returning(incidents.c.id)).scalar_one())


def update_incident(
    tx: Transaction, verdict: Verdict, incident: OpenIncident, *, at: datetime, credits: Decimal | None
) -> None:
    """Write how a verdict changed or ended an incident; `incident` is it as it stands now."""
    values: dict[str, object]
    if verdict.reason is Reason.RESOLVED:
        reason = RECONFIGURED if verdict.reconfigured else Reason.RESOLVED.value
        values = {"resolved_at": at, "resolved_credits": credits, "resolved_reason": reason}
    else:
        values = {
            "severity": incident.severity.label,
            "told_at": incident.told_at,
            "reminders": incident.reminders,
        }
    if verdict.reason is Reason.ESCALATED:
        values["worst_severity"] = verdict.severity.label
    tx.execute(incidents.update().where(incidents.c.id == incident.id).values(values))


def set_owed(tx: Transaction, incident: OpenIncident, *, owed: bool, at: datetime) -> OpenIncident:
    """Keep whether something of an incident was silenced and is still to be told; once told, reminders count anew.

    Return the incident as it stands now.
    """
    values = {} if owed else {"told_at": at, "reminders": 0}
    tx.execute(incidents.update().where(incidents.c.id == incident.id).values(owed=owed, **values))
    return replace(incident, owed=owed, told_at=incident.told_at if owed else at)

"""Incidents: inserted and updated as `judge` decided."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from monitor.model import OpenIncident, Reason, Rule, Severity, Subject, Verdict
from monitor.store.tables import incidents
from monitor.store.writer import Transaction

_COLUMNS: Final = sa.select(
    *(incidents.c[name] for name in ("subject_id", "id", "rule", "severity", "opened_at", "topped_up_before")),
    *(incidents.c[name] for name in ("told_at", "reminders", "owed", "calm_since", "eased_at", "returns")),
    *(incidents.c[name] for name in ("returned_at", "worst_told", "tellings", "end_told_at", "resolved_at")),
)
_OF_SUBJECT: Final = _COLUMNS.where(incidents.c.subject == sa.bindparam("subject"))
_OF_IDS: Final = _OF_SUBJECT.where(incidents.c.subject_id.in_(sa.bindparam("ids", expanding=True)))
_ALL_OPEN: Final = _OF_SUBJECT.where(incidents.c.resolved_at.is_(None))
_OPEN: Final = _OF_IDS.where(incidents.c.resolved_at.is_(None))
_ENDED_LATELY: Final = _OF_IDS.where(
    incidents.c.resolved_at > sa.bindparam("since"), incidents.c.resolved_reason == Reason.RESOLVED.value
).order_by(incidents.c.id)
RECONFIGURED = "reconfigured"


def open_incidents(
    tx: Transaction, subject: Subject, ids: Collection[int] | None = None
) -> dict[int, dict[Rule, OpenIncident]]:
    """Return the open incidents of these subjects (None: of all of the sort), by subject and rule."""
    given = {"subject": subject.value} | ({} if ids is None else {"ids": list(ids)})
    return _by_subject(tx.execute(_ALL_OPEN if ids is None else _OPEN, given))


def standing_incidents(
    tx: Transaction, subject: Subject, ids: Collection[int], *, ended_since: datetime
) -> dict[int, dict[Rule, OpenIncident]]:
    """Return the open incidents of these subjects, and those that ended after an instant and may come back.

    Of each rule the newest.
    """
    given = {"subject": subject.value, "ids": list(ids)}
    found = _by_subject(tx.execute(_ENDED_LATELY, given | {"since": ended_since}))
    for subject_id, incidents_ in open_incidents(tx, subject, ids).items():
        found.setdefault(subject_id, {}).update(incidents_)
    return found


def _by_subject(rows: Iterable[sa.Row[Any]]) -> dict[int, dict[Rule, OpenIncident]]:
    found: dict[int, dict[Rule, OpenIncident]] = {}
    for row in rows:
        found.setdefault(row.subject_id, {})[Rule(row.rule)] = _incident(row)
    return found


def _incident(row: Any) -> OpenIncident:
    return OpenIncident(
        id=row.id,
        rule=Rule(row.rule),
        severity=Severity.of(row.severity),
        opened_at=row.opened_at,
        topped_up_before=row.topped_up_before,
        told_at=row.told_at,
        reminders=row.reminders,
        owed=row.owed,
        ended_at=row.resolved_at,
        calm_since=row.calm_since,
        eased_at=row.eased_at,
        returns=row.returns,
        returned_at=row.returned_at,
        worst_told=Severity.of(row.worst_told) if row.worst_told else None,
        tellings=row.tellings,
        end_told_at=row.end_told_at,
    )


def count_subjects(tx: Transaction) -> dict[Severity, int]:
    """Return how many subjects have open incidents, each counted once, by its worst severity."""
    worst: dict[tuple[str, int], Severity] = {}
    columns = (incidents.c.subject, incidents.c.subject_id, incidents.c.severity)
    firing = incidents.c.resolved_at.is_(None) & incidents.c.calm_since.is_(None)
    for subject, key, severity in tx.execute(sa.select(*columns).where(firing)):
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
        "told_at": incident.told_at,
        "worst_told": incident.severity.label,
        "tellings": incident.tellings,
    }
    return int(tx.execute(incidents.insert().values(values).returning(incidents.c.id)).scalar_one())


def update_incident(tx: Transaction, verdict: Verdict, incident: OpenIncident, *, credits: Decimal | None) -> None:
    """Write how a verdict changed or ended an incident; `incident` is it as it stands now, `credits` the balance."""
    values: dict[str, object] = {
        "severity": incident.severity.label,
        "told_at": incident.told_at,
        "reminders": incident.reminders,
        "calm_since": incident.calm_since,
        "eased_at": incident.eased_at,
        "returns": incident.returns,
        "returned_at": incident.returned_at,
        "worst_told": incident.worst_told.label if incident.worst_told is not None else None,
        "tellings": incident.tellings,
        "end_told_at": incident.end_told_at,
        "resolved_at": incident.ended_at,
        "resolved_credits": credits if incident.ended_at else None,
        "resolved_reason": _end_reason(verdict) if incident.ended_at else None,
    }
    if verdict.reason is Reason.ESCALATED or verdict.returned:
        worse = sa.case({"critical": "critical"}, value=incidents.c.worst_severity, else_=verdict.severity.label)
        values["worst_severity"] = worse
    tx.execute(incidents.update().where(incidents.c.id == incident.id).values(values))


def _end_reason(verdict: Verdict) -> str:
    return RECONFIGURED if verdict.reconfigured else Reason.RESOLVED.value


def set_owed(tx: Transaction, incident: OpenIncident, *, owed: bool, at: datetime) -> OpenIncident:
    """Keep whether something of an incident was silenced and is still to be told; once told, reminders count anew.

    Return the incident as it stands now.
    """
    values = {} if owed else {"told_at": at, "reminders": 0}
    tx.execute(incidents.update().where(incidents.c.id == incident.id).values(owed=owed, **values))
    return replace(incident, owed=owed, told_at=incident.told_at if owed else at)

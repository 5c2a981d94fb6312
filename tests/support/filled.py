"""A small history that tests of views, queries and migrations read: written straight into the tables."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from monitor.model import Snapshot
from monitor.store import tables
from monitor.store.engines import transaction
from monitor.store.rollups import Rollups
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import balance_hours, snapshots

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


def fill(engine: sa.Engine) -> None:
    """Two watched organizations and one that was removed, one open and one resolved incident, three deliveries."""
    with transaction(engine) as connection:
        for table, rows in _rows().items():
            if table == "snapshots":
                take(connection, rows)
            else:
                connection.execute(sa.insert(tables.metadata.tables[table]), rows)


def take(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Keep snapshots as the store does: in their days, too."""
    insert_snapshots(connection, [(row["organization_id"], Snapshot(row["taken_at"], row["credits"])) for row in rows])


def organization(id_: int, name: str, **current: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("title", "credits", "taken_at", "previous_credits", "previous_at", "checked_at", "failure", "failing_since")
    )
    return {
        **nothing,
        "id": id_,
        "base_url": "https://api.stability.ai",
        "vendor_id": f"org-{id_}",
        "name": name,
        "account": "studio",
        "watched": True,
        "used": Decimal(0),
        "topped_up": Decimal(0),
        "failure_message": None,
        **current,
    }


def snapshot(organization_id: int, hours: float, credits_: str) -> dict[str, Any]:
    return {"organization_id": organization_id, "taken_at": NOON + hours * HOUR, "credits": Decimal(credits_)}


def incident(id_: int, subject: str, subject_id: int, rule: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "subject": subject,
        "subject_id": subject_id,
        "rule": rule,
        "severity": "critical",
        "worst_severity": "critical",
        "opened_at": NOON,
        "opened_credits": None,
        "topped_up_before": Decimal(0),
        "resolved_at": None,
        "resolved_credits": None,
        "resolved_reason": None,
        **more,
    }


def delivery(id_: int, notification: str, incident_id: int, channel: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "notification_id": notification,
        "incident_id": incident_id,
        "channel": channel,
        "state": "delivered",
        "attempts": 1,
        "next_attempt_at": NOON,
        "give_up_at": NOON + 24 * HOUR,
        "ended_at": NOON + HOUR,
        "last_error": None,
        **more,
    }


def _rows() -> dict[str, list[dict[str, Any]]]:
    render_farm = {
        "title": "Render Farm Ltd",
        "credits": Decimal("148.200001"),
        "taken_at": NOON,
        "previous_credits": Decimal(250),
        "previous_at": NOON - HOUR,
        "checked_at": NOON,
    }
    video = {"checked_at": NOON, "failure": "unavailable", "failure_message": "HTTP 503", "failing_since": NOON - HOUR}
    return {
        "accounts": [
            {"id": 1, "name": "studio", "base_url": "https://api.stability.ai", "generation": "v1", "polled_at": NOON},
            {
                "id": 2,
                "name": "lab",
                "base_url": "https://api.stability.ai",
                "generation": "v1alpha",
                "polled_at": None,
            },
        ],
        "organizations": [
            organization(1, "render-farm", **render_farm),
            organization(2, "video", **video),
            organization(3, "old", watched=False, credits=Decimal("999999999.999999"), taken_at=NOON - 48 * HOUR),
        ],
        "snapshots": [
            snapshot(1, -37, "300"),
            snapshot(1, -13, "200.5"),
            snapshot(1, -11, "100.25"),
            snapshot(1, -1, "250"),
            snapshot(1, 0, "148.200001"),
            snapshot(3, -48, "999999999.999999"),
        ],
        "checks": [
            {"account_id": 1, "organization_id": 2, "ended_at": NOON, "kind": "unavailable", "message": "HTTP 503"}
        ],
        "incidents": [
            incident(
                1,
                "organization",
                1,
                "credits",
                severity="warning",
                opened_at=NOON - 13 * HOUR,
                opened_credits=Decimal("200.5"),
                resolved_at=NOON - HOUR,
                resolved_credits=Decimal(250),
                resolved_reason="resolved",
            ),
            incident(2, "organization", 1, "credits", opened_credits=Decimal("148.200001")),
            incident(3, "organization", 1, "stale", severity="warning", worst_severity="warning"),
            incident(4, "account", 2, "credential"),
        ],
        "notifications": [
            {
                "id": f"n{n}",
                "incident_id": n,
                "reason": "opened",
                "severity": "critical",
                "created_at": NOON,
                "facts": "{}",
            }
            for n in (2, 4)
        ],
        "deliveries": [
            delivery(1, "n2", 2, "ops"),
            delivery(2, "n2", 2, "mail", state="pending", attempts=3, ended_at=None, last_error="no answer"),
            delivery(3, "n4", 4, "mail", state="given_up", attempts=40, last_error="refused"),
        ],
        "attempts": [{"delivery_id": 1, "ended_at": NOON + HOUR, "error": None}],
    }


def remove(engine: sa.Engine, before: datetime, *, hours_before: datetime | None = None) -> None:
    """What retention does: raw snapshots become hours, hours go; the newest snapshot stays."""
    c = snapshots.c
    with transaction(engine) as tx:
        rows = tx.execute(sa.select(c.taken_at, c.credits).where(c.organization_id == 1).order_by(c.taken_at))
        hours = Rollups(HOUR)
        for snapshot, after in pairwise([Snapshot(*row) for row in rows]):
            if snapshot.taken_at < before:
                hours.add_snapshot(1, snapshot)
                hours.prorate(1, snapshot, after)
                tx.execute(snapshots.delete().where(c.organization_id == 1, c.taken_at == snapshot.taken_at))
        hours.add_to(tx, balance_hours)
        if hours_before:
            tx.execute(balance_hours.delete().where(balance_hours.c.starts_at < hours_before))

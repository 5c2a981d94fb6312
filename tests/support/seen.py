"""A month of a monitor's life for the pages: written straight into the tables, with everything that a page can show."""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from filled import organization

from monitor.config import Settings
from monitor.forecast import Estimator
from monitor.model import Snapshot
from monitor.store import engines, migrate
from monitor.store.engines import transaction
from monitor.store.organizations import save_usage
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import (
    accounts,
    attempts,
    checks,
    deliveries,
    incidents,
    notifications,
    organizations,
    silences,
)

NAMES = (
    "render-farm",
    "lab",
    "archive",
    "deepseek/CNY",
    "studio-eu",
    "support-bot",
    "nightly",
    "press",
    "research",
    "web",
)
HOSTILE = "<script>alert(1)</script>\u202eevil\u202c & \"quotes\" 'single'"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TOML = """
[poll]
every = "1h"
[accounts.studio]
[organizations.render-farm]
account = "studio"
id = "org-1"
rules.credits = { warning = 3000, critical = 800 }
[channels.ops]
[channels.boss]
min_severity = "critical"
fallback = "ops"
"""


def live(settings: Settings, now: datetime, *, count: int = 10, days: int = 30, every: timedelta = HOUR) -> None:
    """Fill a new database: `count` organizations, the first with everything that can happen."""
    engine = engines.open_writer(settings.database.url)
    migrate.upgrade(engine)
    with transaction(engine) as tx:
        tx.execute(
            sa.insert(accounts),
            [
                {
                    "name": "studio",
                    "base_url": "https://api.stability.ai",
                    "generation": "v1",
                    "polled_at": now - 2 * timedelta(minutes=1),
                }
            ],
        )
        for number in range(1, count + 1):
            _organization(tx, number, now, days=days, every=every)
        _incidents(tx, now)
    engine.dispose()


def _organization(tx: sa.Connection, number: int, now: datetime, *, days: int, every: timedelta) -> None:
    dice = random.Random(number)
    name = NAMES[number - 1] if number <= len(NAMES) else f"team-{number:04}"
    taken = _course(dice, number, now - timedelta(minutes=2), days, every)
    current: dict[str, Any] = {}
    if taken:
        last, before = taken[-1], taken[-2] if len(taken) > 1 else None
        current = {
            "credits": last.credits,
            "taken_at": last.taken_at,
            "checked_at": last.taken_at,
        }
        current |= {"previous_credits": before.credits, "previous_at": before.taken_at} if before else {}
    if number == 7:
        current |= {
            "failure": "unavailable",
            "failure_message": f"the vendor answered 503 {HOSTILE}",
            "failing_since": now - 2 * HOUR,
            "checked_at": now - timedelta(minutes=2),
        }
    title = HOSTILE * 40 if number == 3 else {1: "Render farm Berlin"}.get(number)
    row = organization(number, name, **current) | {"title": title}
    tx.execute(sa.insert(organizations), [row])
    insert_snapshots(tx, [(number, snapshot) for snapshot in taken])
    if taken:
        estimator = Estimator()
        for snapshot in taken:
            estimator.add(snapshot)
        save_usage(tx, number, estimator.dump(), taken[-1].taken_at)


def _course(dice: random.Random, number: int, now: datetime, days: int, every: timedelta) -> list[Snapshot]:
    if number == 9:
        return []  # never fetched
    if number == 10:
        return [Snapshot(now, Decimal(500))]
    balance = Decimal(dice.randint(2000, 30000))
    daily = balance / dice.randint(9, 60)
    taken = []
    for step in range(int(days * DAY / every), -1, -1):
        at = now - step * every
        if number == 1 and 9 * DAY < now - at < 11 * DAY:
            continue  # a gap
        weight = Decimal(dice.random() * (2.2 if 7 <= at.hour < 19 else 0.6))
        balance -= (daily * Decimal(every / DAY) * weight).quantize(Decimal("0.01"))
        if balance < daily / 2 and number != 1:
            balance += 12 * daily.quantize(Decimal(1))
        if number == 1 and balance < 900 and now - at > 4 * DAY:
            balance += Decimal(10000)
        taken.append(Snapshot(at, max(balance, Decimal(0)).quantize(Decimal("0.01"))))
    return taken


def _incidents(tx: sa.Connection, now: datetime) -> None:
    rows = [
        {
            "id": 1,
            "subject": "organization",
            "subject_id": 1,
            "rule": "credits",
            "severity": "warning",
            "worst_severity": "critical",
            "opened_at": now - 8 * DAY,
            "opened_credits": Decimal(2990),
            "topped_up_before": Decimal(0),
            "resolved_at": now - 7 * DAY,
            "resolved_credits": Decimal(10450),
            "resolved_reason": "resolved",
        },
        {
            "id": 2,
            "subject": "organization",
            "subject_id": 1,
            "rule": "runway",
            "severity": "critical",
            "worst_severity": "critical",
            "opened_at": now - 5 * HOUR,
            "opened_credits": Decimal(2100),
            "topped_up_before": Decimal(0),
            "resolved_at": None,
            "resolved_credits": None,
            "resolved_reason": None,
        },
        {
            "id": 3,
            "subject": "organization",
            "subject_id": 5,
            "rule": "credits",
            "severity": "warning",
            "worst_severity": "warning",
            "opened_at": now - 1 * DAY,
            "opened_credits": Decimal(999),
            "topped_up_before": Decimal(0),
            "resolved_at": None,
            "resolved_credits": None,
            "resolved_reason": None,
        },
        {
            "id": 4,
            "subject": "account",
            "subject_id": 1,
            "rule": "credential",
            "severity": "critical",
            "worst_severity": "critical",
            "opened_at": now - 3 * DAY,
            "opened_credits": None,
            "topped_up_before": Decimal(0),
            "resolved_at": now - 2 * DAY,
            "resolved_credits": None,
            "resolved_reason": "reconfigured",
        },
    ]
    tx.execute(sa.insert(incidents), rows)
    for number, (incident, reason, severity, at) in enumerate(
        [
            (1, "opened", "warning", now - 8 * DAY),
            (1, "escalated", "critical", now - 7.5 * DAY),
            (1, "resolved", "critical", now - 7 * DAY),
            (2, "opened", "critical", now - 5 * HOUR),
            (3, "opened", "warning", now - DAY),
        ],
        start=1,
    ):
        tx.execute(
            sa.insert(notifications),
            [
                {
                    "id": f"n{number}",
                    "incident_id": incident,
                    "reason": reason,
                    "severity": severity,
                    "created_at": at,
                    "facts": "{}",
                }
            ],
        )
        for channel in ("ops", "boss"):
            failed = number == 4 and channel == "boss"
            ended = None if failed else at + timedelta(seconds=2)
            id_ = 2 * number + (channel == "boss")
            tx.execute(
                sa.insert(deliveries),
                [
                    {
                        "id": id_,
                        "notification_id": f"n{number}",
                        "incident_id": incident,
                        "channel": channel,
                        "state": "pending" if failed else "delivered",
                        "attempts": 3 if failed else 1,
                        "next_attempt_at": now + timedelta(minutes=4),
                        "give_up_at": now + DAY,
                        "ended_at": ended,
                        "last_error": f"502 {HOSTILE}" if failed else None,
                    }
                ],
            )
            tries = (
                [
                    {"delivery_id": id_, "ended_at": at + timedelta(minutes=n), "error": f"502 {HOSTILE}"}
                    for n in range(3)
                ]
                if failed
                else [{"delivery_id": id_, "ended_at": ended, "error": None}]
            )
            tx.execute(sa.insert(attempts), tries)
    tx.execute(
        sa.insert(checks),
        [
            {
                "account_id": 1,
                "organization_id": 1,
                "ended_at": now - 9 * DAY,
                "kind": "unavailable",
                "message": f"no answer {HOSTILE}",
                "status": None,
                "vendor_error_id": None,
            }
        ],
    )
    tx.execute(
        sa.insert(silences),
        [
            {
                "id": 1,
                "subject": "organization",
                "subject_id": 5,
                "rule": None,
                "up_to": "warning",
                "created_at": now - HOUR,
                "until_at": now + 5 * HOUR,
                "author": "ada",
                "reason": f"new card ordered {HOSTILE}",
                "ended_at": None,
            }
        ],
    )

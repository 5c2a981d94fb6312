"""Twenty incidents of each organization in a year, each opened and resolved, each said to two channels."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from benchmarks.history.year import BEGIN, END, Year
from monitor.store.tables import attempts, deliveries, incidents, notifications

OF_EACH = 20
AT_ONCE = 1_000
CHANNELS = ("ops", "finance")
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
FACTS = (
    '{"name":"org-0001","account":"studio","at":"2026-04-01T08:15:30.250003Z","vendor_id":"org-0001",'
    '"credits":"999.250003","taken_at":"2026-04-01T08:15:30.250003Z","level":"1000","clear":"1050",'
    '"previous_credits":"1007.125001","previous_at":"2026-04-01T07:22:56.250003Z","day_ago_credits":"1120.500001",'
    '"day_ago_at":"2026-03-31T08:10:12.250003Z","opened_at":"2026-04-01T08:15:30.250003Z","runway_low":"P7D",'
    '"runway_likely":"P8DT2H","runway_high":"P9DT6H","stale_after":"PT30M"}'
)


def fill_incidents(tx: sa.Connection, year: Year) -> None:
    total = year.organizations * OF_EACH
    tables = (incidents, notifications, deliveries, attempts)
    for start in range(0, total, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, total))
        for table, make in zip(tables, (_incidents, _notifications, _deliveries, _attempts), strict=True):
            tx.execute(table.insert(), [row for n in numbers for row in make(n, _opened_at(n, total), year)])


def _opened_at(number: int, total: int) -> datetime:
    return BEGIN + (END - BEGIN) / total * number


def _incidents(number: int, at: datetime, year: Year) -> Iterator[dict[str, Any]]:
    is_open = number >= year.organizations * OF_EACH - 50
    yield {
        "id": number + 1,
        "subject": "organization",
        "subject_id": number % year.organizations + 1,
        "rule": "credits",
        "severity": "warning",
        "worst_severity": "warning",
        "opened_at": at,
        "opened_credits": Decimal("999.250003"),
        "topped_up_before": Decimal(5000),
        "resolved_at": None if is_open else at + 2 * HOUR,
        "resolved_credits": None if is_open else Decimal("5999.250003"),
        "resolved_reason": None if is_open else "resolved",
        "told_at": at,
        "reminders": 0,
        "owed": False,
    }


def _notifications(number: int, at: datetime, _year: Year) -> Iterator[dict[str, Any]]:
    for place, reason in enumerate(("opened", "resolved")):
        row = {"id": f"{2 * number + place:016x}", "incident_id": number + 1, "reason": reason, "facts": FACTS}
        yield row | {"severity": "warning", "created_at": at + 2 * HOUR * place}


def _deliveries(number: int, at: datetime, _year: Year) -> Iterator[dict[str, Any]]:
    for place in range(4):
        said_at = at + 2 * HOUR * (place // 2)
        yield {
            "id": 4 * number + place + 1,
            "notification_id": f"{2 * number + place // 2:016x}",
            "incident_id": number + 1,
            "channel": CHANNELS[place % 2],
            "state": "delivered",
            "attempts": 1,
            "next_attempt_at": said_at,
            "give_up_at": said_at + 24 * HOUR,
            "ended_at": said_at + SECOND,
            "refused": False,
            "held": False,
        }


def _attempts(number: int, at: datetime, _year: Year) -> Iterator[dict[str, Any]]:
    for place in range(4):
        yield {"delivery_id": 4 * number + place + 1, "ended_at": at + SECOND, "error": None}

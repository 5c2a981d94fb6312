"""Failed checks: when, of which organization, what kind, and what the vendor answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.model import Check, Failure
from monitor.store.tables import checks
from monitor.store.writer import Transaction


def insert_failures(tx: Transaction, batch: Sequence[Check]) -> None:
    """Insert those checks of a batch that failed."""
    rows = [_row(check, check.outcome) for check in batch if isinstance(check.outcome, Failure)]
    if rows:
        tx.execute(checks.insert(), rows)


def _row(check: Check, failure: Failure) -> dict[str, Any]:
    return {
        "account_id": check.account_id,
        "organization_id": check.organization_id,
        "ended_at": check.ended_at,
        "kind": failure.kind.value,
        "message": failure.message,
        "status": failure.status,
        "vendor_error_id": failure.vendor_error_id,
    }


def first_list_failure(tx: Transaction, account_id: int) -> datetime | None:
    """Return when an account's list could not be fetched for the first time."""
    of_list = (checks.c.account_id == account_id) & checks.c.organization_id.is_(None)
    first: datetime | None = tx.execute(sa.select(sa.func.min(checks.c.ended_at)).where(of_list)).scalar_one()
    return first


def account_failures(tx: Transaction, *, since: datetime) -> list[tuple[int, str]]:
    """Return the failures of account endpoints since an instant as (account id, message), oldest first."""
    c = checks.c
    query = sa.select(c.account_id, c.message).where(c.organization_id.is_(None), c.ended_at >= since)
    return [(row.account_id, row.message) for row in tx.execute(query.order_by(c.id))]

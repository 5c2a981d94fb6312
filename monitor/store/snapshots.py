"""Snapshots, failed checks and the current row of each organization."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from monitor.model import Check, Failure, FailureKind, Organization, Snapshot
from monitor.store.rollups import keep_snapshots, lock_rows
from monitor.store.tables import accounts, checks, organizations, snapshots
from monitor.store.writer import Transaction

ROWS_AT_ONCE: Final = 5000
NONE: Final[Mapping[str, int]] = MappingProxyType({})

# Built once: a poll of few organizations would spend more on building statements than on running them.
_CURRENT: Final = tuple(column for column in organizations.c if column.name not in {"usage", "usage_at"})
_LOAD: Final = sa.select(*_CURRENT).where(organizations.c.id.in_(sa.bindparam("ids", expanding=True)))
_UPDATE: Final = (
    organizations.update()
    .where(organizations.c.id == sa.bindparam("key"))
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "credits",
                "taken_at",
                "previous_credits",
                "previous_at",
                "used",
                "topped_up",
                "top_up_credits",
                "top_up_at",
                "checked_at",
                "failure",
                "failure_message",
                "failing_since",
                "confirmations",
            )
        }
    )
)


def load(tx: Transaction, ids: Collection[int]) -> dict[int, Organization]:
    """The current rows of these organizations, as they stand in this transaction."""
    rows = tx.execute(_LOAD, {"ids": list(ids)})
    return {row.id: _organization(row) for row in rows}


def _organization(row: Any) -> Organization:
    failure = Failure(FailureKind(row.failure), row.failure_message or "") if row.failure else None
    return Organization(
        id=row.id,
        name=row.name,
        vendor_id=row.vendor_id,
        account=row.account,
        title=row.title,
        snapshot=_snapshot(row.taken_at, row.credits),
        previous=_snapshot(row.previous_at, row.previous_credits),
        used=row.used,
        topped_up=row.topped_up,
        top_up=_snapshot(row.top_up_at, row.top_up_credits),
        checked_at=row.checked_at,
        failure=failure,
        failing_since=row.failing_since,
        confirmations=json.loads(row.confirmations) if row.confirmations else NONE,
    )


def _snapshot(at: datetime | None, amount: Decimal | None) -> Snapshot | None:
    return Snapshot(at, amount) if at is not None and amount is not None else None


def record(tx: Transaction, batch: Sequence[Check]) -> None:
    """Keep every check: snapshots once however often they come, failures as rows of `checks`."""
    lock_rows(tx, accounts, {check.account_id for check in batch})
    lock_rows(tx, organizations, {check.organization_id for check in batch if check.organization_id is not None})
    taken, failed = [], []
    for check in batch:
        if isinstance(check.outcome, Failure):
            failed.append(_failed(check, check.outcome))
        elif check.organization_id is not None:
            taken.append((check.organization_id, check.outcome))
    if taken:
        keep_snapshots(tx, taken)
    if failed:
        tx.execute(checks.insert(), failed)


def _failed(check: Check, failure: Failure) -> dict[str, Any]:
    return {
        "account_id": check.account_id,
        "organization_id": check.organization_id,
        "ended_at": check.ended_at,
        "kind": failure.kind.value,
        "message": failure.message,
        "status": failure.status,
        "vendor_error_id": failure.vendor_error_id,
    }


def save(tx: Transaction, rows: Iterable[Organization]) -> None:
    """Make these the current rows."""
    values = [_values(row) for row in rows]
    if values:
        tx.execute(_UPDATE, values)


def _values(row: Organization) -> dict[str, Any]:
    snapshot, previous, top_up, failure = row.snapshot, row.previous, row.top_up, row.failure
    return {
        "key": row.id,
        "credits": snapshot.credits if snapshot else None,
        "taken_at": snapshot.taken_at if snapshot else None,
        "previous_credits": previous.credits if previous else None,
        "previous_at": previous.taken_at if previous else None,
        "used": row.used,
        "topped_up": row.topped_up,
        "top_up_credits": top_up.credits if top_up else None,
        "top_up_at": top_up.taken_at if top_up else None,
        "checked_at": row.checked_at,
        "failure": failure.kind.value if failure else None,
        "failure_message": failure.message if failure else None,
        "failing_since": row.failing_since,
        "confirmations": json.dumps(dict(row.confirmations)) if row.confirmations else None,
    }


def snapshot_before(tx: Transaction, organization_id: int, at: datetime) -> Snapshot | None:
    """The last snapshot taken at or before an instant, else the first ever."""
    of = sa.select(snapshots.c.taken_at, snapshots.c.credits).where(snapshots.c.organization_id == organization_id)
    before = of.where(snapshots.c.taken_at <= at).order_by(snapshots.c.taken_at.desc()).limit(1)
    row = tx.execute(before).first() or tx.execute(of.order_by(snapshots.c.taken_at).limit(1)).first()
    return Snapshot(row.taken_at, row.credits) if row else None


def snapshots_after(tx: Transaction, organization_id: int, since: datetime, *, until: datetime) -> list[Snapshot]:
    """The snapshots after an instant, up to and with another, by their instants."""
    c = snapshots.c
    mine = (c.organization_id == organization_id) & (c.taken_at > since) & (c.taken_at <= until)
    return [Snapshot(*row) for row in tx.execute(sa.select(c.taken_at, c.credits).where(mine).order_by(c.taken_at))]


def keep_usage(tx: Transaction, organization_id: int, usage: str, at: datetime) -> None:
    """Keep what the forecast has folded up to an instant."""
    row = organizations.update().where(organizations.c.id == organization_id)
    tx.execute(row.values(usage=usage, usage_at=at))


def forget_usage(tx: Transaction, organization_id: int, *, before: datetime) -> None:
    """Forget what the forecast has folded of an organization whose last check was before an instant."""
    c = organizations.c
    row = organizations.update().where(c.id == organization_id, c.taken_at <= before)
    tx.execute(row.values(usage=None, usage_at=None))


def amounts_between(tx: Transaction, organization_id: int, first: datetime, last: datetime) -> Iterator[Snapshot]:
    """The snapshots from an instant up to and with another, by time, in constant memory."""
    c = snapshots.c
    mine = (c.organization_id == organization_id) & c.taken_at.between(first, last)
    question = sa.select(c.taken_at, c.credits).where(mine).order_by(c.taken_at)
    for part in tx.execution_options(yield_per=ROWS_AT_ONCE).execute(question).partitions():
        yield from (Snapshot(*row) for row in part)


def kept_usage(tx: Transaction, organization_id: int) -> tuple[str | None, datetime | None]:
    """What the forecast had folded, and up to when."""
    c = organizations.c
    row = tx.execute(sa.select(c.usage, c.usage_at).where(c.id == organization_id)).one()
    return row.usage, row.usage_at


class LastCheck(NamedTuple):
    """The last check of an organization: its account, how it failed (None: it did not), and when it ended."""

    account: str
    kind: FailureKind | None
    at: datetime | None


def last_checks(tx: Transaction) -> dict[int, LastCheck]:
    """The last check of every watched organization."""
    c = organizations.c
    rows = tx.execute(sa.select(c.id, c.account, c.failure, c.checked_at).where(c.watched))
    return {
        row.id: LastCheck(row.account, FailureKind(row.failure) if row.failure else None, row.checked_at)
        for row in rows
    }


def balances(tx: Transaction) -> dict[int, Decimal]:
    """The last known balance of every watched organization, by its id."""
    c = organizations.c
    rows = tx.execute(sa.select(c.id, c.credits).where(c.watched, c.credits.is_not(None)))
    return {row.id: row.credits for row in rows}


def first_list_failure(tx: Transaction, account_id: int) -> datetime | None:
    """When an account's list could not be had for the first time."""
    failed = (checks.c.account_id == account_id) & checks.c.organization_id.is_(None)
    first: datetime | None = tx.execute(sa.select(sa.func.min(checks.c.ended_at)).where(failed)).scalar_one()
    return first


def account_failures(tx: Transaction, *, since: datetime) -> list[tuple[int, str]]:
    """The account endpoint's failures since an instant: account and message, oldest first."""
    c = checks.c
    query = sa.select(c.account_id, c.message).where(c.organization_id.is_(None), c.ended_at >= since)
    return [(row.account_id, row.message) for row in tx.execute(query.order_by(c.id))]

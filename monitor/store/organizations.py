"""Organizations by (realm, vendor id): their names, and the current row that judging reads and updates."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from monitor.model import STABILITY, STABILITY_UNIT, Failure, FailureKind, Organization, Snapshot
from monitor.store.tables import organizations
from monitor.store.writer import Transaction, insert

REALM_END: Final = "#"


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """An organization as stored: identity, names, and whether it is watched; a removed one keeps its history.

    `base_url` is its realm, within which a vendor's id means one organization: Stability's base URL, elsewhere the
    provider with the account's name or the base URL (`Account.realm`).  Behind a `#` stands the unit of one that began
    because the vendor counts in another unit now.
    """

    id: int
    base_url: str
    vendor_id: str
    name: str
    account: str
    watched: bool
    title: str | None = None  # the vendor's name for it
    provider: str = STABILITY
    unit: str = STABILITY_UNIT  # "": no answer has said it yet
    mixed: bool = False  # its account watches balances of other units, too; only where that was asked for

    @property
    def realm(self) -> str:
        """Within what its vendor's id means one organization, whatever it is counted in."""
        return self.base_url.partition(REALM_END)[0]


IDS_AT_ONCE: Final = 1_000
_ROWS: Final = sa.select(
    *(
        organizations.c[name]
        for name in ("id", "base_url", "vendor_id", "name", "account", "watched", "title", "provider", "unit")
    )
)


def organization_rows(tx: Transaction, *, by_name: bool = False) -> list[OrganizationRow]:
    """Return every organization ever seen, oldest first or by name."""
    order = (organizations.c.name, organizations.c.id) if by_name else (organizations.c.id,)
    return [OrganizationRow(*row) for row in tx.execute(_ROWS.order_by(*order))]


def watched_counts(tx: Transaction) -> tuple[int, int]:
    """Return how many organizations are watched, and how many of them failed their last check."""
    columns = (sa.func.count(), sa.func.count(organizations.c.failure))
    watched, failing = tx.execute(sa.select(*columns).where(organizations.c.watched)).one()
    return watched, failing


def ensure_organizations(tx: Transaction, wanted: Sequence[Mapping[str, str | None]]) -> list[OrganizationRow]:
    """Insert or update rows of `base_url`, `vendor_id`, `name`, `account`, `title`, `provider` and `unit`; return them.

    All are watched.  A title of None keeps the present one; so does a unit, unless none is known yet.  Those rows that
    do not say are Stability's.
    """
    if not wanted:
        return []
    new = insert(tx.dialect.name, organizations)
    now = {name: new.excluded[name] for name in ("name", "account", "watched")}
    here = organizations.c
    title = sa.func.coalesce(new.excluded.title, here.title)
    unit = sa.case((here.unit == "", new.excluded.unit), else_=here.unit)
    ensure = new.on_conflict_do_update(
        index_elements=[here.base_url, here.vendor_id], set_=now | {"title": title, "unit": unit}
    )
    tx.execute(ensure, [{"provider": STABILITY, "unit": STABILITY_UNIT, **row, "watched": True} for row in wanted])
    rows = {(row.base_url, row.vendor_id): row for row in _rows_of(tx, [row["vendor_id"] for row in wanted])}
    return [rows[str(row["base_url"]), str(row["vendor_id"])] for row in wanted]


def ensure_organization(
    tx: Transaction, *, base_url: str, vendor_id: str, name: str, account: str, title: str | None
) -> OrganizationRow:
    """Insert or update one organization; return its row."""
    row = {"base_url": base_url, "vendor_id": vendor_id, "name": name, "account": account, "title": title}
    return ensure_organizations(tx, [row])[0]


def _rows_of(tx: Transaction, vendor_ids: Sequence[str | None]) -> Iterator[OrganizationRow]:
    for start in range(0, len(vendor_ids), IDS_AT_ONCE):
        mine = organizations.c.vendor_id.in_(vendor_ids[start : start + IDS_AT_ONCE])
        yield from (OrganizationRow(*row) for row in tx.execute(_ROWS.where(mine)))


def set_placement(tx: Transaction, organization_id: int, *, name: str, account: str, watched: bool) -> None:
    """Set the name and account that the configuration gives an organization, and whether it is watched."""
    values = {"name": name, "account": account, "watched": watched}
    tx.execute(organizations.update().where(organizations.c.id == organization_id).values(values))


def set_identity(tx: Transaction, organization_id: int, *, base_url: str, name: str, account: str) -> None:
    """Let an organization go on as one of another account, watched."""
    values = {"base_url": base_url, "name": name, "account": account, "watched": True}
    tx.execute(organizations.update().where(organizations.c.id == organization_id).values(values))


NONE: Final[Mapping[str, int]] = MappingProxyType({})


# Built once: a poll of few organizations would spend more on building statements than on running them.
_CURRENT: Final = tuple(column for column in organizations.c if column.name not in {"usage", "usage_at"})


_SELECT: Final = sa.select(*_CURRENT).where(organizations.c.id.in_(sa.bindparam("ids", expanding=True)))


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
                "unlimited",
                "resets_at",
            )
        }
    )
)


def current_rows(tx: Transaction, ids: Collection[int]) -> dict[int, Organization]:
    """Return the current rows of these organizations, by id."""
    rows = tx.execute(_SELECT, {"ids": list(ids)}).all()
    mixed = mixed_accounts(tx, {row.account for row in rows if row.provider != STABILITY})
    return {row.id: _organization(row, mixed=row.account in mixed) for row in rows}


def mixed_accounts(tx: Transaction, accounts: Collection[str]) -> frozenset[str]:
    """Return those of the accounts that watch balances of several units."""
    if not accounts:
        return frozenset()
    c = organizations.c
    units = sa.func.count(sa.distinct(c.unit))
    several = sa.select(c.account).where(c.watched, c.unit != "", c.account.in_(accounts)).group_by(c.account)
    return frozenset(tx.execute(several.having(units > 1)).scalars())


def _organization(row: Any, *, mixed: bool) -> Organization:
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
        provider=row.provider,
        unit=row.unit,
        mixed=mixed,
        unlimited=row.unlimited,
        resets_at=row.resets_at,
    )


def _snapshot(at: datetime | None, amount: Decimal | None) -> Snapshot | None:
    return Snapshot(at, amount) if at is not None and amount is not None else None


def update_current_rows(tx: Transaction, rows: Iterable[Organization]) -> None:
    """Write the current rows; names and accounts stay as they are."""
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
        "unlimited": row.unlimited,
        "resets_at": row.resets_at,
    }


def save_usage(tx: Transaction, organization_id: int, usage: str, at: datetime) -> None:
    """Store the state of the forecast as of an instant."""
    row = organizations.update().where(organizations.c.id == organization_id)
    tx.execute(row.values(usage=usage, usage_at=at))


def clear_usage(tx: Transaction, organization_id: int, *, before: datetime) -> None:
    """Delete the state of the forecast of an organization whose last snapshot was at or before an instant."""
    c = organizations.c
    row = organizations.update().where(c.id == organization_id, c.taken_at <= before)
    tx.execute(row.values(usage=None, usage_at=None))


def load_usage(tx: Transaction, organization_id: int) -> tuple[str | None, datetime | None]:
    """Return the stored state of the forecast, and as of when."""
    c = organizations.c
    row = tx.execute(sa.select(c.usage, c.usage_at).where(c.id == organization_id)).one()
    return row.usage, row.usage_at


class LastCheck(NamedTuple):
    """The last check of an organization: its account, its failure if it failed, and when it ended."""

    account: str
    kind: FailureKind | None
    at: datetime | None


def last_checks(tx: Transaction) -> dict[int, LastCheck]:
    """Return the last check of every watched organization, by id."""
    c = organizations.c
    rows = tx.execute(sa.select(c.id, c.account, c.failure, c.checked_at).where(c.watched))
    return {
        row.id: LastCheck(row.account, FailureKind(row.failure) if row.failure else None, row.checked_at)
        for row in rows
    }


class Unjudged(NamedTuple):
    """An organization of which another process recorded a snapshot: the current one, and the newest."""

    id: int
    account: str
    taken_at: datetime
    newest_at: datetime


def unjudged(tx: Transaction, *, since: datetime) -> list[Unjudged]:
    """Return the watched organizations with a snapshot after `since` that is newer than the current one."""
    c = organizations.c
    columns = (c.id, c.account, c.taken_at, c.newest_at)
    newer = c.watched & (c.newest_at > since) & (c.newest_at > c.taken_at)
    return [Unjudged(*row) for row in tx.execute(sa.select(*columns).where(newer))]


class LastKnown(NamedTuple):
    """Since when an organization has given no balance (its last one, else its first failure), and its last check."""

    id: int
    since: datetime | None
    checked_at: datetime | None


def last_known(tx: Transaction) -> list[LastKnown]:
    """Return the same of every watched organization."""
    c = organizations.c
    since = sa.func.coalesce(c.taken_at, c.failing_since)
    return [LastKnown(*row) for row in tx.execute(sa.select(c.id, since, c.checked_at).where(c.watched))]


def balances(tx: Transaction) -> dict[int, Decimal]:
    """Return the last known balance of every watched organization, by id."""
    c = organizations.c
    rows = tx.execute(sa.select(c.id, c.credits).where(c.watched, c.credits.is_not(None)))
    return {row.id: row.credits for row in rows}

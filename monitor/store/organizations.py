"""Who is watched: accounts by name, organizations by (base URL, vendor id).  A rename or removal keeps history."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from monitor.store.tables import accounts, organizations
from monitor.store.writer import Transaction, insert


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as it is stored; `polled_at` is when its last completed poll began."""

    id: int
    name: str
    polled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """An organization as it is stored: what it is, what it is called, and whether somebody watches it."""

    id: int
    base_url: str
    vendor_id: str
    name: str
    account: str
    watched: bool
    title: str | None = None  # the vendor's name for it


IDS_AT_ONCE: Final = 1_000
_IDENTITIES: Final = sa.select(
    *(organizations.c[name] for name in ("id", "base_url", "vendor_id", "name", "account", "watched", "title"))
)


def ensure_account(tx: Transaction, name: str, *, base_url: str, generation: str) -> AccountRow:
    """The account's row, made or brought up to date."""
    values = {"name": name, "base_url": base_url, "generation": generation}
    tx.execute(insert(tx.dialect.name, accounts).values(values).on_conflict_do_nothing())
    tx.execute(accounts.update().where(accounts.c.name == name).values(values))
    row = tx.execute(sa.select(accounts.c.id, accounts.c.polled_at).where(accounts.c.name == name)).one()
    return AccountRow(row.id, name, row.polled_at)


def account_rows(tx: Transaction) -> list[AccountRow]:
    """Every account ever configured."""
    rows = tx.execute(sa.select(accounts.c.id, accounts.c.name, accounts.c.polled_at))
    return [AccountRow(*row) for row in rows]


def mark_polled(tx: Transaction, account_id: int, at: datetime) -> None:
    """Keep when a completed poll began, so that a restart polls when it was due."""
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(polled_at=at))


def identities(tx: Transaction) -> list[Identity]:
    """Every organization ever seen, oldest first."""
    return [Identity(*row) for row in tx.execute(_IDENTITIES.order_by(organizations.c.id))]


def watched_counts(tx: Transaction) -> tuple[int, int]:
    """How many organizations are watched, and how many of them gave no balance when last asked."""
    columns = (sa.func.count(), sa.func.count(organizations.c.failure))
    watched, failing = tx.execute(sa.select(*columns).where(organizations.c.watched)).one()
    return watched, failing


def ensure_organizations(tx: Transaction, wanted: Sequence[Mapping[str, str | None]]) -> list[Identity]:
    """Rows of `base_url`, `vendor_id`, `name`, `account` and `title`, made or brought up to date, in this order.

    All are watched; an unknown title keeps the one there is.
    """
    if not wanted:
        return []
    new = insert(tx.dialect.name, organizations)
    now = {name: new.excluded[name] for name in ("name", "account", "watched")}
    title = sa.func.coalesce(new.excluded.title, organizations.c.title)
    here = organizations.c
    ensure = new.on_conflict_do_update(index_elements=[here.base_url, here.vendor_id], set_=now | {"title": title})
    tx.execute(ensure, [{**row, "watched": True} for row in wanted])
    found = {(one.base_url, one.vendor_id): one for one in _found(tx, [row["vendor_id"] for row in wanted])}
    return [found[str(row["base_url"]), str(row["vendor_id"])] for row in wanted]


def ensure_organization(
    tx: Transaction, *, base_url: str, vendor_id: str, name: str, account: str, title: str | None
) -> Identity:
    """One organization's row, made or brought up to date."""
    row = {"base_url": base_url, "vendor_id": vendor_id, "name": name, "account": account, "title": title}
    return ensure_organizations(tx, [row])[0]


def _found(tx: Transaction, vendor_ids: Sequence[str | None]) -> Iterator[Identity]:
    for start in range(0, len(vendor_ids), IDS_AT_ONCE):
        mine = organizations.c.vendor_id.in_(vendor_ids[start : start + IDS_AT_ONCE])
        yield from (Identity(*row) for row in tx.execute(_IDENTITIES.where(mine)))


def rename(tx: Transaction, organization_id: int, *, name: str, account: str, watched: bool) -> None:
    """Give an organization the place the configuration now gives it."""
    values = {"name": name, "account": account, "watched": watched}
    tx.execute(organizations.update().where(organizations.c.id == organization_id).values(values))

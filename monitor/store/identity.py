"""Who is watched: accounts by name, organizations by (base URL, vendor id).  A rename or removal keeps history."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor.store.writer import Transaction, insert
from monitor.tables import accounts, organizations


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
    columns = (organizations.c[name] for name in ("id", "base_url", "vendor_id", "name", "account", "watched"))
    return [Identity(*row) for row in tx.execute(sa.select(*columns).order_by(organizations.c.id))]


def watched_counts(tx: Transaction) -> tuple[int, int]:
    """How many organizations are watched, and how many of them gave no balance when last asked."""
    columns = (sa.func.count(), sa.func.count(organizations.c.failure))
    watched, failing = tx.execute(sa.select(*columns).where(organizations.c.watched)).one()
    return watched, failing


def ensure_organization(
    tx: Transaction, *, base_url: str, vendor_id: str, name: str, account: str, title: str | None
) -> Identity:
    """The organization's row, made or brought up to date; an unknown title keeps the one it has."""
    key = (organizations.c.base_url == base_url) & (organizations.c.vendor_id == vendor_id)
    new = {"base_url": base_url, "vendor_id": vendor_id, "name": name, "account": account, "watched": True}
    tx.execute(insert(tx.dialect.name, organizations).values(new).on_conflict_do_nothing())
    now = {"name": name, "account": account, "watched": True}
    tx.execute(organizations.update().where(key).values(now | ({"title": title} if title else {})))
    row_id = tx.execute(sa.select(organizations.c.id).where(key)).scalar_one()
    return Identity(row_id, base_url, vendor_id, name, account, watched=True)


def rename(tx: Transaction, organization_id: int, *, name: str, account: str, watched: bool) -> None:
    """Give an organization the place the configuration now gives it."""
    values = {"name": name, "account": account, "watched": watched}
    tx.execute(organizations.update().where(organizations.c.id == organization_id).values(values))

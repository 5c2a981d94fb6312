"""Accounts, by name."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from monitor.model import Rejections
from monitor.store.tables import accounts
from monitor.store.writer import Transaction, insert

_ROW: Final = sa.select(accounts.c.id, accounts.c.name, accounts.c.polled_at, accounts.c.rejections > 0)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account; `polled_at` is when its last completed poll began, in which its key may have been rejected."""

    id: int
    name: str
    polled_at: datetime | None
    is_rejected: bool


def ensure_account(tx: Transaction, name: str, *, base_url: str, generation: str) -> AccountRow:
    """Return the account's row, inserted or updated."""
    values = {"name": name, "base_url": base_url, "generation": generation}
    tx.execute(insert(tx.dialect.name, accounts).values(values).on_conflict_do_nothing())
    tx.execute(accounts.update().where(accounts.c.name == name).values(values))
    return AccountRow(*tx.execute(_ROW.where(accounts.c.name == name)).one())


def account_rows(tx: Transaction) -> list[AccountRow]:
    """Return every account ever configured."""
    return [AccountRow(*row) for row in tx.execute(_ROW)]


def load_rejections(tx: Transaction, ids: Collection[int]) -> dict[int, Rejections]:
    """Return the polls in a row in which the keys of these accounts were refused."""
    c = accounts.c
    rows = tx.execute(sa.select(c.id, c.rejections, c.rejected_poll_at).where(c.id.in_(ids)))
    return {row.id: Rejections(row.rejections, row.rejected_poll_at) for row in rows}


def save_rejections(tx: Transaction, account_id: int, rejections: Rejections) -> None:
    """Keep how many polls in a row an account's key was refused."""
    values = {"rejections": rejections.polls, "rejected_poll_at": rejections.poll_at}
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(values))


def mark_polled(tx: Transaction, account_id: int, at: datetime) -> None:
    """Record when a completed poll began, so that the first poll after a restart is when it was due."""
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(polled_at=at))

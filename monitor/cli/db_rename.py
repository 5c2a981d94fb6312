"""The work of `credit-monitor db rename`: which organizations are meant, and joining them under the leader lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

from monitor.app import open_database
from monitor.config import Settings
from monitor.errors import DatabaseError, UsageError
from monitor.poll import ForecastCache, displace, reconcile
from monitor.store import leader_lock, organizations, renaming
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Transaction


@dataclass(frozen=True, slots=True)
class Renamed:
    """Two organizations that were joined, and how many balances came along."""

    old: str
    new: str
    balances: int


def rename(settings: Settings, old: str, new: str, *, at: datetime) -> list[Renamed]:
    """Join organizations; raise `UsageError` where they are two, `DatabaseError` while a daemon runs."""
    opened = open_database(settings)
    try:
        lock = leader_lock.acquire(settings.database.url)
        if lock is None:
            holder = leader_lock.describe_holder(settings.database.url)
            raise DatabaseError(f"{settings.database.shown_url}: a daemon runs on it{holder}; stop it first")
        try:
            return opened.write_now(lambda tx: _rename(tx, settings, old, new, at))
        finally:
            lock.release()
    finally:
        opened.close()


def _rename(tx: Transaction, settings: Settings, old: str, new: str, at: datetime) -> list[Renamed]:
    forecasts = ForecastCache()
    reconcile(tx, settings, forecasts, at=at, is_guest=True)  # so that NEW is there, as a start of the daemon makes it
    pairs = _pairs(settings, organizations.organization_rows(tx), old, new)
    done = []
    for one, other in pairs:
        if other is None:
            done.append(_take_over(tx, settings, one, new))
            continue
        if other.watched:
            displace(tx, settings, forecasts, at=at, gone=[other], is_guest=True)
            organizations.set_placement(tx, other.id, name=other.name, account=other.account, watched=True)
        done.append(Renamed(one.name, other.name, renaming.join_history(tx, one, other)))
    return done


Pair = tuple[OrganizationRow, OrganizationRow | None]


def _pairs(settings: Settings, rows: Sequence[OrganizationRow], old: str, new: str) -> list[Pair]:
    """Return the organizations that are meant; None where the account has not been asked yet under its new name."""
    olds = _named(rows, old, watched=False) or [row for row in rows if row.account == old]
    if not olds:
        _refuse(old, rows)
    if watched := [row for row in olds if row.watched]:
        raise UsageError(f"{watched[0].name}: is still watched; remove it from the configuration first")
    news = _named(rows, new, watched=True) or [row for row in rows if row.account == new and row.watched]
    if len(olds) == 1 and len(news) == 1:
        return [(olds[0], news[0])]
    if not news and new not in settings.accounts:
        _refuse(new, rows)
    by_id = {(row.vendor_id, row.unit): row for row in news}
    return [(row, by_id.get((row.vendor_id, row.unit))) for row in olds]


def _named(rows: Sequence[OrganizationRow], name: str, *, watched: bool) -> list[OrganizationRow]:
    named = [row for row in rows if row.name == name]
    return [row for row in named if row.watched is watched] or named


def _refuse(name: str, rows: Sequence[OrganizationRow]) -> None:
    words = sorted({word for row in rows for word in (row.name, row.account)})
    near = get_close_matches(name, words, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"{name}: there is no such organization or account in the database{hint}")


def _take_over(tx: Transaction, settings: Settings, row: OrganizationRow, account: str) -> Renamed:
    """Give an organization the identity that its account will ask for: nothing is there yet to join it to."""
    configured = settings.accounts[account]
    if configured.provider != row.provider:
        raise UsageError(f"{row.name} is of {row.provider}, and {account} of {configured.provider}: they are two")
    name = f"{account}/{row.vendor_id}" if row.vendor_id else account
    organizations.set_identity(tx, row.id, base_url=configured.realm, name=name, account=account)
    return Renamed(row.name, name, 0)

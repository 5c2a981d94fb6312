"""The work of `check`: one poll at once, recorded and judged like the daemon's.

Also the work of `organizations`, which asks the vendors, and of `notify`, which sends test messages.
"""

import asyncio
import difflib
import logging
import secrets
import tempfile
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from monitor import channels, judge
from monitor.app import Clock, on_call_channels, open_account, open_database, open_parts
from monitor.config import Settings
from monitor.config.checks import hold_secrets
from monitor.errors import DatabaseError, FetchError, UnexpectedAnswer, UsageError
from monitor.message import test_message
from monitor.model import (
    Attempt,
    Check,
    Failure,
    FailureKind,
    Organization,
    Rule,
    Severity,
    Snapshot,
    Subject,
    VendorOrganization,
)
from monitor.notify import fallback
from monitor.notify.routing import rules_of
from monitor.poll import ForecastCache, catch_up
from monitor.providers import Provider, Trial
from monitor.store import (
    accounts,
    checks,
    copy,
    deliveries,
    engines,
    leader_lock,
    migrate,
    organizations,
    snapshots,
    writer,
)
from monitor.store import channels as stored_channels
from monitor.store.incidents import open_incidents
from monitor.store.leader_lock import LeaderLock
from monitor.store.tables import metadata
from monitor.store.writer import Store, Transaction

# What stands of an account, where this poll says nothing more of it.
STANDING: Final = {
    Rule.CREDENTIAL: "the vendor rejected its API key, and has given no balance since",
    Rule.OUTAGE: "none of its organizations can be fetched",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """One organization after `check`: its current row and its worst current level."""

    organization: Organization
    level: Severity | None

    @property
    def state(self) -> str:
        """`critical`, `warning`, `unknown` (no level, and no balance this time) or `ok`."""
        if self.level is not None:
            return self.level.label
        return "unknown" if self.organization.failure or self.organization.snapshot is None else "ok"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of `check`: organizations, and troubles of whole accounts (name → severity or None, reason)."""

    checked: tuple[Checked, ...]
    accounts: Mapping[str, tuple[Severity | None, str]]
    delivered: bool  # False: a daemon runs on the database, and delivers
    not_found: Mapping[str, str]  # names that were asked for and nobody could look up, and why


async def check(settings: Settings, names: Collection[str], *, clock: Clock, dry_run: bool) -> CheckReport:
    """Poll now, record, judge and deliver like the daemon; `dry_run` stores and sends nothing.

    Beside a daemon it judges for its own report alone: what it fetched is recorded, and the daemon judges and tells by
    its own settings.
    """
    hold_secrets(settings)
    if dry_run:
        return await _rehearse(settings, names, clock=clock)
    opened = open_database(settings)
    lock = leader_lock.acquire(settings.database.url)
    if lock is None:
        try:
            return await _rehearse(settings, names, clock=clock, keep_in=opened)
        finally:
            opened.close()
    try:
        return await _check(settings, opened, names, clock=clock, lock=lock)
    finally:
        lock.release()


async def _rehearse(
    settings: Settings, names: Collection[str], *, clock: Clock, keep_in: Store | None = None
) -> CheckReport:
    """Check on a temporary database; keep the balances in the real one, where it is given."""
    with tempfile.TemporaryDirectory(prefix="credit-monitor-") as folder:
        url = engines.sqlite_url(Path(folder) / "rehearsal.db")
        report = await _check(settings, _open_rehearsal(settings, url), names, clock=clock, lock=None)
        if keep_in is not None:
            reader = engines.open_reader(url)
            try:
                taken = writer.read(reader, snapshots.by_identity)
            finally:
                reader.dispose()
            await keep_in.write(lambda tx: _keep(tx, taken), fenced=False)
        return report


def _keep(tx: Transaction, taken: Collection[tuple[str, str, Snapshot]]) -> None:
    """Record the balances of those organizations that the daemon watches."""
    account_ids = {row.name: row.id for row in accounts.account_rows(tx)}
    known = {(row.base_url, row.vendor_id): row for row in organizations.organization_rows(tx) if row.watched}
    batch = [
        Check(account_ids[row.account], row.id, snapshot.taken_at, snapshot)
        for base_url, vendor_id, snapshot in taken
        if (row := known.get((base_url, vendor_id))) and row.account in account_ids
    ]
    if batch:
        snapshots.record_checks(tx, batch)


def _open_rehearsal(settings: Settings, url: str) -> Store:
    """Return a temporary database with the current rows of the real one."""
    opened = Store(url)
    metadata.create_all(opened.engine)
    reader = engines.open_reader(settings.database.url)
    try:
        if migrate.is_current(reader):
            rows = writer.read(reader, copy.judged_rows)
            opened.write_now(lambda tx: copy.insert_rows(tx, rows))
    except DatabaseError:
        log.info("there is no database yet: judging without history")
    finally:
        reader.dispose()
    return opened


async def _check(
    settings: Settings, opened: Store, names: Collection[str], *, clock: Clock, lock: LeaderLock | None
) -> CheckReport:
    """Poll once; deliver only with the lock: without it a daemon does, or it is a dry run."""
    parts = open_parts(settings, opened, clock=clock, leader_lock=lock, is_guest=True)
    try:
        began = clock()
        await asyncio.gather(*(poll.run(names or None) for poll in parts.polls))
        report = await opened.write(
            lambda tx: _report(tx, settings, names, began, delivered=lock is not None), fenced=False
        )
        if lock:
            await parts.deliverer.drain()
        return report
    finally:
        await parts.close()


def _report(
    tx: Transaction, settings: Settings, names: Collection[str], began: datetime, *, delivered: bool
) -> CheckReport:
    """Return the state after the poll, read in one transaction."""
    watched = [row for row in organizations.organization_rows(tx) if row.watched]
    account_names = {row.id: row.name for row in accounts.account_rows(tx) if row.name in settings.accounts}
    listings = {
        account_names[key]: message for key, message in checks.account_failures(tx, since=began) if key in account_names
    }
    not_found: dict[str, str] = {}
    if names:
        known = {row.name for row in watched} | {row.vendor_id for row in watched}
        not_found = {name: why for name in names if name not in known and (why := _unknown(settings, name, listings))}
        _require_known([name for name in names if name not in not_found], known, sort="organization")
        watched = [row for row in watched if row.name in names or row.vendor_id in names]
    current = organizations.current_rows(tx, [row.id for row in watched])
    incidents = open_incidents(tx, Subject.ORGANIZATION)
    checked = [
        Checked(one, judge.level(one, incidents.get(one.id, {}), rules_of(settings, one)))
        for one in (current[row.id] for row in watched)
    ]
    rejections = {
        row.account: failure.message for row in current.values() if (failure := row.failure) and is_of_key(failure)
    }
    troubles = _account_troubles(tx, account_names, rejections | listings)
    return CheckReport(tuple(checked), troubles, delivered, not_found)


def is_of_key(failure: Failure) -> bool:
    """Return whether a failure says something of the account's key, and so the same of all its organizations."""
    return failure.kind is FailureKind.CREDENTIAL_REJECTED


def _unknown(settings: Settings, name: str, listings: Mapping[str, str]) -> str | None:
    """Return why nobody knows whether there is an organization of this name; None when there is none."""
    configured = settings.organizations.get(name)
    if configured and configured.account not in listings:
        return f"account {configured.account} names no default organization; set organizations.{name}.id"
    may_list_it = [configured.account] if configured else list(settings.accounts)
    whys = (f"account {account}: {listings[account]}" for account in may_list_it if account in listings)
    why = next(whys, None)
    return why and f"is not known yet, and its account cannot be asked: {why}"


def _require_known(names: Collection[str], known: Collection[str], *, sort: str) -> None:
    """Raise `UsageError` for a name that is not known, with the nearest one that is."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(f"{name}: no such {sort}" + (f"; did you mean {near[0]}?" if near else ""))


def _account_troubles(
    tx: Transaction, names: Mapping[int, str], reasons: Mapping[str, str]
) -> dict[str, tuple[Severity | None, str]]:
    """Return the accounts whose key is rejected, that are out of reach, or could not be listed in this poll."""
    troubles: dict[str, tuple[Severity | None, str]] = {name: (None, message) for name, message in reasons.items()}
    for key, incidents in open_incidents(tx, Subject.ACCOUNT, list(names)).items():
        firing = [incident for incident in incidents.values() if incident.is_firing]
        if firing:
            worst = max(firing, key=lambda incident: incident.severity)
            reason = reasons.get(names[key], STANDING[worst.rule])
            troubles[names[key]] = (worst.severity, reason)
    return troubles


# --- `organizations` --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What a key sees; `unusable` has a line for each organization that cannot be watched.

    `units` has the unit of each, by its id, where that is known before it is asked for its balance.
    """

    organizations: tuple[VendorOrganization, ...]
    unusable: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)


async def seen_organizations(settings: Settings) -> dict[str, Seen | FetchError]:
    """Return what each account's key sees, or the error of asking for it."""
    hold_secrets(settings)

    async def fetch(account: str) -> Seen | FetchError:
        provider = open_account(settings, account)
        try:
            return await seen_by(provider, settings, account)
        except FetchError as error:
            return error
        finally:
            await provider.aclose()

    return dict(zip(settings.accounts, await asyncio.gather(*map(fetch, settings.accounts)), strict=True))


async def seen_by(provider: Provider, settings: Settings, account: str) -> Seen:
    """Return what a key sees: what the vendor lists, or the balances of its one answer; raise `FetchError`.

    Of a program that is run for each organization: those that the configuration names.
    """
    vendor, made = settings.accounts[account].vendor, settings.description(account)
    if vendor.asks_each and made and made.command:
        ids = [one.id for one in settings.organizations.values() if one.account == account and one.id]
        balances = [balance for id_ in ids for balance in await provider.fetch(id_)]
    elif vendor.asks_each:
        listed = await provider.fetch_organizations()
        return Seen(listed, provider.unusable(), {one.id: vendor.unit for one in listed} if vendor.unit else {})
    else:
        balances = list(await provider.fetch())
    organizations = tuple(VendorOrganization(one.id, one.name, is_default=False) for one in balances)
    return Seen(organizations, (), {one.id: one.unit for one in balances})


# --- `providers try` --------------------------------------------------------------------------------------------------


async def try_account(settings: Settings, account: str) -> Trial:
    """Ask an account's vendor once, for the first organization where each has a request of its own.

    Raise `FetchError` where there is none to ask for.
    """
    vendor = settings.accounts[account].vendor
    provider = open_account(settings, account)
    try:
        organization = None
        if vendor.asks_each:
            ids = [one.id for one in settings.organizations.values() if one.account == account and one.id]
            ids = ids or [one.id for one in await provider.fetch_organizations()]
            if not ids:
                raise UnexpectedAnswer("the key sees no organization")
            organization = ids[0]
        return await provider.try_once(organization)
    finally:
        await provider.aclose()


# --- `notify` ---------------------------------------------------------------------------------------------------------


async def send_test(settings: Settings, names: Collection[str], *, clock: Clock) -> dict[str, Attempt]:
    """Send a test message to each channel; return what became of each."""
    _require_known(names, settings.channels, sort="channel")
    hold_secrets(settings)

    async def send(name: str) -> Attempt:
        url = settings.channel_url(name)
        message = test_message(name, at=clock(), timezone=settings.timezone, ends=channels.is_on_call(url))
        token = secrets.token_hex(8)
        key = channels.incident_key("test", token)  # its own: nothing else is ended with it
        outgoing = [channels.Outgoing(0, message, Severity.INFO, key=key, ends=True, mail_id=token)]
        async with aclosing(channels.send(name, url, outgoing, template=template)) as attempts:
            async for attempt in attempts:
                return attempt
        return Attempt(0, "its child process ended without a word")

    async with channels.Template() as template:
        return dict(zip(names, await asyncio.gather(*map(send, names)), strict=True))


def on_call(settings: Settings, names: Collection[str]) -> set[str]:
    """Return those of these channels at whose service a test is an incident, opened and ended."""
    return set(names) & set(on_call_channels(settings))


def expedite(settings: Settings, names: Collection[str], *, at: datetime) -> None:
    """Keep that these channels took a message just now: what waits for them is due at once, where a daemon delivers.

    There may be no database, or none that this user may change: then the daemon finds out by itself.
    """
    try:
        waiting = set(names) & _waiting_channels(settings)
        if not waiting:
            return
        opened = Store(settings.database.url)
        try:
            opened.write_now(lambda tx: _expedite(tx, settings, waiting, at=at))
        finally:
            opened.close()
    except DatabaseError as error:
        log.debug("the outbox was left as it is: %s", error)


def _waiting_channels(settings: Settings) -> set[str]:
    """Return the channels that have something pending, or took nothing last."""
    reader = engines.open_reader(settings.database.url)
    try:
        if not migrate.is_current(reader):
            return set()
        return writer.read(reader, lambda tx: deliveries.pending_channels(tx) | set(stored_channels.load(tx)))
    finally:
        reader.dispose()


def _expedite(tx: Transaction, settings: Settings, names: Collection[str], *, at: datetime) -> None:
    for name in names:
        if fallback.take_success(tx, settings, name, at=at):
            catch_up(tx, settings, ForecastCache(), at=at, channel=name)

"""Puts the parts together: settings in, ready parts out.  The only room that knows every implementation."""

import asyncio
import difflib
import logging
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from monitor import channels, judge
from monitor.config import Settings
from monitor.counters import Counters
from monitor.errors import ConfigError, DatabaseError, FetchError, UsageError
from monitor.message import test_message
from monitor.model import Check, Notification, Organization, Severity, Subject, VendorOrganization
from monitor.notify.delivery import Deliverer
from monitor.poll import Assignment, Batch, ForecastCache, Poller, catch_up, reconcile, rules_of, settle
from monitor.providers import Access, Provider, open_provider
from monitor.store import checks, copy, engines, integrity, leader_lock, migrate, organizations, writer
from monitor.store.accounts import account_rows
from monitor.store.incidents import open_incidents
from monitor.store.leader_lock import LeaderLock
from monitor.store.writer import Store, Transaction

Clock = Callable[[], datetime]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that polls and delivers, ready to run."""

    store: Store
    batch: Batch
    deliverer: Deliverer
    polls: tuple[Poller, ...]
    providers: tuple[Provider, ...]
    due: dict[str, datetime]  # account → when its next poll is due

    async def leave(self) -> list[Check]:
        """Let go of connections; gives what was fetched and could not be settled."""
        held = await self.batch.give_up()
        for provider in self.providers:
            await provider.aclose()
        return held

    async def close(self) -> None:
        """Let go of connections and the database, after what was gathered is settled."""
        await self.batch.flush()
        await self.leave()
        self.store.close()


def open_database(settings: Settings) -> Store:
    """The database, its schema up to date or `SchemaOutdated`; made when there is none."""
    opened = Store(settings.database.url)
    for lax in integrity.lax_modes(settings.database.url):
        log.warning("%s", lax)
    if migrate.is_current(opened.engine):
        return opened
    if settings.database.migrate == "manual":
        migrate.require_current(opened.engine)
    opened.close()  # a connection must not be shared with the child that migrates
    migrate.upgrade_apart(settings.database.url)
    return Store(settings.database.url)


def open_parts(
    settings: Settings,
    opened: Store,
    *,
    clock: Clock,
    hold: LeaderLock | None = None,
    held: Sequence[Check] = (),
    counters: Counters | None = None,
    mended: Collection[str] = (),
) -> Parts:
    """Read the secrets, bring the database in step with the configuration, connect the rooms.

    With a `hold` everything is written in its name; `held` are results from before that are to be settled first.  What
    waits for the `mended` channels is due at once.
    """
    counts = counters or Counters()
    opened.fence = hold.fence if hold else None
    accesses = {name: access(settings, name) for name in settings.accounts}
    urls = {name: settings.channel_url(name) for name in settings.channels}
    forecasts = ForecastCache()
    tell_about(opened.write_now(lambda tx: reconcile(tx, settings, forecasts, at=clock(), mended=mended)))
    rows = opened.write_now(account_rows)
    assignment = Assignment(settings, opened.write_now(organizations.identities))

    def settled(said: list[Notification]) -> None:
        tell_about(said)
        if said:
            deliverer.wake()

    balances = opened.write_now(organizations.balances)
    since = clock()
    batch = Batch(
        opened,
        lambda tx, batch: settle(tx, batch, settings, forecasts, since=since),
        settled,
        held=held,
        idle=lambda: deliverer.wake(),  # noqa: PLW0108 -- it is made below
    )
    deliverer = Deliverer(
        opened,
        urls,
        settings,
        clock=clock,
        counters=counts,
        until=lambda: hold.until if hold else None,
        is_polling=lambda: batch.is_polling,
        catch_up=lambda tx, channel: tell_about(catch_up(tx, settings, forecasts, at=clock(), channel=channel)),
    )
    providers = {name: _provider(settings, name, one) for name, one in accesses.items()}
    polls = [
        Poller(
            row,
            providers[row.name],
            assignment,
            batch=batch,
            store=opened,
            clock=clock,
            balances=balances,
            counters=counts,
        )
        for row in rows
        if row.name in providers
    ]
    due = {row.name: due_at(row.polled_at, settings.poll.every, now=clock()) for row in rows}
    return Parts(opened, batch, deliverer, tuple(polls), tuple(providers.values()), due)


def due_at(polled_at: datetime | None, every: timedelta, *, now: datetime) -> datetime:
    """When the next poll is due: at once, unless the last one is younger than `every`."""
    if polled_at is None or not timedelta(0) <= now - polled_at < every:
        return now
    return polled_at + every


def access(settings: Settings, account: str) -> Access:
    """What it takes to ask the vendor in the name of an account; reads its key."""
    configured = settings.accounts[account]
    return Access(
        base_url=configured.base_url,
        api_key=settings.api_key(account),
        generation=configured.generation,
        rate_limit=configured.rate_limit,
        deadline=settings.poll.deadline,
        proxy=configured.proxy,
        ca_file=configured.ca_file,
    )


def _provider(settings: Settings, account: str, access: Access) -> Provider:
    """The account's provider; its complaints name the setting."""
    try:
        return open_provider(access)
    except ConfigError as error:
        file = str(settings.file) if settings.file else None
        mistakes = [replace(m, key=f"accounts.{account}.{m.key}", file=file) for m in error.mistakes]
        raise ConfigError(mistakes) from None


def tell_about(said: Collection[Notification]) -> None:
    """A log line for every incident that began, changed or ended."""
    for one in said:
        words = (one.facts.name, one.rule.value, one.reason.value, one.severity.label)
        log.warning("%s: %s %s (%s)", *words, extra=one.named())


# --- check: one poll, now --------------------------------------------------------------------------------------------


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
    """What `check` found: organizations, and what is wrong with whole accounts (name → severity or None, why)."""

    checked: tuple[Checked, ...]
    accounts: Mapping[str, tuple[Severity | None, str]]
    delivered: bool  # False: a daemon has the database, and delivers


async def check(settings: Settings, names: Collection[str], *, clock: Clock, dry_run: bool) -> CheckReport:
    """Poll now, record and judge like the daemon, deliver unless a daemon does; `dry_run` keeps and sends nothing."""
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="credit-monitor-") as folder:
            return await _check(settings, _rehearsal(settings, Path(folder)), names, clock=clock, hold=None)
    opened = open_database(settings)
    hold = leader_lock.acquire(settings.database.url)
    try:
        return await _check(settings, opened, names, clock=clock, hold=hold)
    finally:
        if hold:
            hold.release()


def _rehearsal(settings: Settings, folder: Path) -> Store:
    """A database for one dry run: what stands in the real one, in a file that is thrown away."""
    opened = Store(engines.sqlite_url(folder / "rehearsal.db"))
    migrate.upgrade(opened.engine)
    reader = engines.open_reader(settings.database.url)
    try:
        if migrate.is_current(reader):
            rows = writer.read(reader, copy.standing_rows)
            opened.write_now(lambda tx: copy.insert_rows(tx, rows))
    except DatabaseError:
        log.info("there is no database yet: judging without history")
    finally:
        reader.dispose()
    return opened


async def _check(
    settings: Settings, opened: Store, names: Collection[str], *, clock: Clock, hold: LeaderLock | None
) -> CheckReport:
    """Poll once; deliver with the hold, else a daemon does, or nobody."""
    parts = open_parts(settings, opened, clock=clock, hold=hold)
    try:
        began = clock()
        await asyncio.gather(*(poll.run(names or None) for poll in parts.polls))
        report = await opened.write(
            lambda tx: _report(tx, settings, names, began, delivered=hold is not None), fenced=False
        )
        if hold:
            await parts.deliverer.drain()
        return report
    finally:
        await parts.close()


def _report(
    tx: Transaction, settings: Settings, names: Collection[str], began: datetime, *, delivered: bool
) -> CheckReport:
    """What stands after the poll, read in one transaction."""
    wanted = [one for one in organizations.identities(tx) if one.watched]
    if names:
        _require_known(names, {one.name for one in wanted} | {one.vendor_id for one in wanted})
        wanted = [one for one in wanted if one.name in names or one.vendor_id in names]
    rows = organizations.load(tx, [one.id for one in wanted])
    incidents = open_incidents(tx, Subject.ORGANIZATION)
    checked = [
        Checked(rows[one.id], judge.level(rows[one.id], incidents.get(one.id, {}), rules_of(settings, one.name)))
        for one in wanted
    ]
    return CheckReport(tuple(checked), _account_troubles(tx, settings, began), delivered)


def _require_known(names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(f"{name}: no such organization" + (f"; did you mean {near[0]}?" if near else ""))


def _account_troubles(tx: Transaction, settings: Settings, began: datetime) -> dict[str, tuple[Severity | None, str]]:
    """Accounts whose key is refused, and accounts whose list could not be had in this poll."""
    rows = {row.id: row.name for row in account_rows(tx) if row.name in settings.accounts}
    troubles: dict[str, tuple[Severity | None, str]] = {
        rows[key]: (None, message) for key, message in checks.account_failures(tx, since=began) if key in rows
    }
    for key, open_ones in open_incidents(tx, Subject.ACCOUNT, list(rows)).items():
        firing = [incident.severity for incident in open_ones.values() if incident.is_firing]
        if not firing:
            continue
        worst = max(firing)
        why = troubles.get(rows[key], (None, "the vendor rejects its API key"))[1]
        troubles[rows[key]] = (worst, why)
    return troubles


async def seen_organizations(settings: Settings) -> dict[str, tuple[VendorOrganization, ...] | FetchError]:
    """What each account's key sees, or why that could not be found out."""

    async def ask(account: str) -> tuple[VendorOrganization, ...] | FetchError:
        provider = _provider(settings, account, access(settings, account))
        try:
            return await provider.fetch_organizations()
        except FetchError as error:
            return error
        finally:
            await provider.aclose()

    return dict(zip(settings.accounts, await asyncio.gather(*map(ask, settings.accounts)), strict=True))


async def send_test(settings: Settings, names: Collection[str], *, clock: Clock) -> dict[str, str | None]:
    """Send a test message to each channel; gives what went wrong, by channel."""
    for name in names:
        if name not in settings.channels:
            near = difflib.get_close_matches(name, settings.channels, 1)
            raise UsageError(f"{name}: no such channel" + (f"; did you mean {near[0]}?" if near else ""))

    async def send(name: str) -> str | None:
        message = test_message(name, at=clock(), timezone=settings.timezone)
        outgoing = [channels.Outgoing(0, message, Severity.INFO)]
        async with aclosing(channels.send(name, settings.channel_url(name), outgoing)) as attempts:
            async for attempt in attempts:
                return attempt.error
        return "its child process ended without a word"

    return dict(zip(names, await asyncio.gather(*map(send, names)), strict=True))

"""Wires the parts together: settings in, ready parts out.  Only this module knows every implementation."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from monitor import channels
from monitor.channels import Template
from monitor.config import Settings
from monitor.counters import Counters
from monitor.errors import ConfigError
from monitor.message import log_line
from monitor.model import Check, Notification
from monitor.notify.delivery import Deliverer
from monitor.notify.outcomes import Unwritten
from monitor.poll import (
    Ages,
    AgeWatch,
    Assignment,
    Batch,
    ForecastCache,
    Pickup,
    Poller,
    catch_up,
    displace,
    reconcile,
    settle,
    settle_unasked,
)
from monitor.providers import Access, Provider, open_provider
from monitor.store import accounts, installation, integrity, migrate, organizations, pages
from monitor.store.leader_lock import LeaderLock
from monitor.store.organizations import OrganizationRow
from monitor.store.outbox import BETTER
from monitor.store.pages import Page
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
    rejected: frozenset[str]  # accounts whose key was rejected last
    age_watch: AgeWatch
    pickup: Pickup

    async def leave(self) -> list[Check]:
        """Close the connections to the vendors; return what was fetched and could not be settled."""
        carried_over = await self.batch.give_up()
        for provider in self.providers:
            await provider.aclose()
        return carried_over

    async def close(self) -> None:
        """Settle what was gathered, then close the connections and the database."""
        await self.batch.flush()
        await self.leave()
        self.store.close()


def open_database(settings: Settings) -> Store:
    """Return the database, created and upgraded where necessary; raise `SchemaOutdated` where that is not allowed."""
    opened = Store(settings.database.url)
    for lax_mode in integrity.lax_modes(settings.database.url):
        log.warning("%s", lax_mode)
    if migrate.is_current(opened.engine):
        for warning in migrate.warnings(opened.engine):
            log.warning("%s", warning)
        return opened
    if settings.database.migrate == "manual":
        migrate.require_current(opened.engine)
    opened.close()  # a connection must not be shared with the child that migrates
    migrate.upgrade_in_child(settings.database.url)
    return Store(settings.database.url)


def open_parts(
    settings: Settings,
    opened: Store,
    *,
    clock: Clock,
    leader_lock: LeaderLock | None = None,
    carried_over: Sequence[Check] = (),
    counters: Counters | None = None,
    mended: Collection[str] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
    template: Template | None = None,
    unwritten: Unwritten | None = None,
    ages: Ages | None = None,
    is_guest: bool = False,
) -> Parts:
    """Read the secrets, reconcile the database with the configuration, and return the parts, connected.

    With a `leader_lock` every write is fenced by it; results `carried_over` from an earlier leadership are settled
    first, and so are outcomes of messages that are `unwritten`.  What waits for the `mended` channels is due at once;
    `renamed` ones are the same.  `template`: of the processes that send.  `ages`: what this process knows of who was
    asked when.  `is_guest`: this is `check`, and a daemon with other settings may share the database, though none runs
    now.
    """
    wiring = _Wiring(settings, opened, clock, leader_lock, counters or Counters(), ages or Ages(), is_guest=is_guest)
    opened.fence = leader_lock.fence if leader_lock else None
    providers = {name: open_account(settings, name) for name in settings.accounts}
    if unwritten:
        unwritten.rename(renamed)
    deliverer = wiring.deliverer(is_polling=lambda: batch.is_polling, template=template, unwritten=unwritten)
    wiring.reconcile(mended, renamed)
    batch = wiring.batch(deliverer, carried_over)
    rows = opened.write_now(accounts.account_rows)
    wiring.ages.load(opened.write_now(organizations.last_known), at=clock())
    polls = wiring.pollers(rows, providers, batch)
    rejected = frozenset(row.name for row in rows if row.is_rejected and row.name in providers)
    # A key that was rejected may have been replaced: nobody is to wait for its next turn.
    polled = {row.name: None if row.name in rejected else row.polled_at for row in rows}
    due = {name: due_at(polled.get(name), account.every, now=clock()) for name, account in settings.accounts.items()}
    age_watch, pickup = wiring.age_watch(polls, deliverer), Pickup(opened, batch, clock=clock)
    return Parts(opened, batch, deliverer, polls, tuple(providers.values()), due, rejected, age_watch, pickup)


@dataclass(slots=True)
class _Wiring:
    """What several of the parts are given, and how each of them is made of it."""

    settings: Settings
    store: Store
    clock: Clock
    leader_lock: LeaderLock | None
    counters: Counters
    ages: Ages
    _: KW_ONLY
    is_guest: bool
    forecasts: ForecastCache = field(default_factory=ForecastCache)

    def deliverer(
        self, *, is_polling: Callable[[], bool], template: Template | None, unwritten: Unwritten | None
    ) -> Deliverer:
        """Return the deliverer, with the channels' URLs; under a lock it sends nothing after the lock's end."""

        def tell_again(tx: Transaction, channel: str) -> None:
            log_notifications(catch_up(tx, self.settings, self.forecasts, at=self.clock(), channel=channel))

        return Deliverer(
            self.store,
            {name: self.settings.channel_url(name) for name in self.settings.channels},
            self.settings,
            clock=self.clock,
            counters=self.counters,
            installation=self.store.write_now(installation.installation_id),
            until=lambda: self.leader_lock.until if self.leader_lock else None,
            is_polling=is_polling,
            catch_up=tell_again,
            template=template,
            unwritten=unwritten,
        )

    def reconcile(self, mended: Collection[str], renamed: Mapping[str, str]) -> None:
        """Make the database agree with the configuration, and log what changed by that."""

        def work(tx: Transaction) -> list[Notification]:
            settings, at = self.settings, self.clock()
            return reconcile(
                tx, settings, self.forecasts, at=at, mended=mended, renamed=renamed, is_guest=self.is_guest
            )

        begun = self.store.write_now(work)
        if self.leader_lock and not self.is_guest:  # only now: pages have followed the channels that were renamed
            on_call = on_call_channels(self.settings)
            abandoned = self.store.write_now(lambda tx: pages.take_abandoned(tx, on_call))
            _log_abandoned(abandoned, self.store.write_now(installation.installation_id))
        log_notifications(begun)

    def batch(self, deliverer: Deliverer, carried_over: Sequence[Check]) -> Batch:
        """Return what settles the results of polls, those `carried_over` first."""
        since = self.clock()

        def settle_batch(tx: Transaction, batch: Sequence[Check]) -> list[Notification]:
            return settle(tx, batch, self.settings, self.forecasts, since=since, is_guest=self.is_guest)

        return Batch(
            self.store,
            settle_batch,
            partial(_announce, deliverer),
            carried_over=carried_over,
            on_idle=deliverer.wake,
            counters=self.counters,
        )

    def pollers(
        self, rows: Sequence[accounts.AccountRow], providers: Mapping[str, Provider], batch: Batch
    ) -> tuple[Poller, ...]:
        """Return a poller for each account that has a provider."""
        assignment = Assignment(self.settings, self.store.write_now(organizations.organization_rows))
        balances = self.store.write_now(organizations.balances)
        return tuple(
            Poller(
                row,
                providers[row.name],
                assignment,
                batch=batch,
                store=self.store,
                clock=self.clock,
                balances=balances,
                counters=self.counters,
                displace=self._displace,
                ages=self.ages,
                every=self.settings.accounts[row.name].every,
                vendor=self.settings.accounts[row.name].vendor,
            )
            for row in rows
            if row.name in providers
        )

    def _displace(
        self, tx: Transaction, gone: Sequence[OrganizationRow], moved: Sequence[OrganizationRow]
    ) -> list[Notification]:
        """End the incidents of organizations that are watched no more, or by another account."""
        settings, at = self.settings, self.clock()
        return displace(tx, settings, self.forecasts, at=at, gone=gone, moved=moved, is_guest=self.is_guest)

    def age_watch(self, polls: Sequence[Poller], deliverer: Deliverer) -> AgeWatch:
        """Return what judges the organizations that nobody could ask for too long."""

        def judge_unasked(tx: Transaction, ids: Sequence[int]) -> list[Notification]:
            return settle_unasked(tx, ids, self.settings, self.forecasts, at=self.clock())

        return AgeWatch(polls, self.ages, self.settings, self.store, judge_unasked, partial(_announce, deliverer))


def _announce(deliverer: Deliverer, notifications: list[Notification]) -> None:
    """Log what was put into the outbox, and have it sent."""
    log_notifications(notifications)
    if notifications:
        deliverer.wake(is_new=True)


def on_call_channels(settings: Settings) -> list[str]:
    """Return the channels whose service keeps an incident open until it is told of its end."""
    return [name for name in settings.channels if channels.is_on_call(settings.channel_url(name))]


def _log_abandoned(abandoned: Sequence[Page], identity: str) -> None:
    """Name what is open at on-call services that no channel leads to any more."""
    for channel, group in groupby(abandoned, key=lambda page: page.channel):
        named = ", ".join(
            f"{page.name} {page.rule} ({channels.incident_key(identity, page.incident_id)})".strip() for page in group
        )
        what = "%s: it no longer leads to its on-call service, where somebody has to resolve what is open: %s"
        log.warning(what, channel, named, extra={"channel": channel})


def due_at(polled_at: datetime | None, every: timedelta, *, now: datetime) -> datetime:
    """Return when the next poll is due: at once, unless the last one is younger than `every`."""
    if polled_at is None or not timedelta(0) <= now - polled_at < every:
        return now
    return polled_at + every


def access(settings: Settings, account: str) -> Access:
    """Return an account's access to the vendor, with its key."""
    configured = settings.accounts[account]
    return Access(
        base_url=configured.base_url,
        api_key=settings.api_key(account) if account in settings.with_keys else "",
        generation=configured.generation,
        rate_limit=configured.rate_limit,
        deadline=settings.poll.deadline,
        proxy=configured.proxy,
        ca_file=Path(configured.ca_file) if configured.ca_file else None,
        provider=configured.provider,
        description=settings.description(account),
        variables=configured.vars,
    )


def open_account(settings: Settings, account: str) -> Provider:
    """Return an account's provider; raise `ConfigError` that names the setting."""
    with_key = access(settings, account)
    try:
        return open_provider(with_key)
    except ConfigError as error:
        file = str(settings.file) if settings.file else None
        mistakes = [replace(mistake, key=f"accounts.{account}.{mistake.key}", file=file) for mistake in error.mistakes]
        raise ConfigError(mistakes) from None


def log_notifications(notifications: Sequence[Notification]) -> None:
    """Log a line for every incident that began, changed or ended."""
    for notification in notifications:
        level = logging.INFO if notification.reason in BETTER else logging.WARNING
        words = (
            notification.facts.name,
            notification.rule.value,
            notification.why,
            notification.severity.label,
            log_line(notification),
        )
        log.log(level, "%s: %s %s (%s): %s", *words, extra=notification.named())

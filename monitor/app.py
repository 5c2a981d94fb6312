"""Wires the parts together: settings in, ready parts out.  Only this module knows every implementation."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
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
from monitor.notify.delivery import Deliverer, Unwritten
from monitor.poll import (
    Ages,
    AgeWatch,
    Assignment,
    Batch,
    Displace,
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
    counters, ages = counters or Counters(), ages or Ages()
    opened.fence = leader_lock.fence if leader_lock else None
    providers = {name: open_account(settings, name) for name in settings.accounts}
    forecasts = ForecastCache()
    identity = opened.write_now(installation.installation_id)
    if unwritten:
        unwritten.rename(renamed)
    deliverer = _deliverer(
        settings,
        opened,
        forecasts,
        identity=identity,
        clock=clock,
        counters=counters,
        leader_lock=leader_lock,
        is_polling=lambda: batch.is_polling,
        template=template,
        unwritten=unwritten,
    )
    begun = opened.write_now(
        lambda tx: reconcile(tx, settings, forecasts, at=clock(), mended=mended, renamed=renamed, is_guest=is_guest)
    )
    if leader_lock and not is_guest:  # after the reconciliation, by which pages follow channels that were renamed
        _log_abandoned(opened.write_now(lambda tx: pages.take_abandoned(tx, on_call_channels(settings))), identity)
    log_notifications(begun)
    since = clock()

    def settle_batch(tx: Transaction, batch: Sequence[Check]) -> list[Notification]:
        return settle(tx, batch, settings, forecasts, since=since, is_guest=is_guest)

    def on_settled(notifications: list[Notification]) -> None:
        log_notifications(notifications)
        if notifications:
            deliverer.wake(is_new=True)

    batch = Batch(
        opened, settle_batch, on_settled, carried_over=carried_over, on_idle=deliverer.wake, counters=counters
    )
    rows = opened.write_now(accounts.account_rows)
    ages.load(opened.write_now(organizations.last_known), at=clock())
    polls = _pollers(
        settings,
        rows,
        providers,
        forecasts,
        store=opened,
        batch=batch,
        clock=clock,
        counters=counters,
        ages=ages,
        is_guest=is_guest,
    )

    def judge_unasked(tx: Transaction, ids: Sequence[int]) -> list[Notification]:
        return settle_unasked(tx, ids, settings, forecasts, at=clock())

    age_watch = AgeWatch(polls, ages, settings, opened, judge_unasked, on_settled)
    pickup = Pickup(opened, batch, clock=clock)
    # A key that was rejected may have been replaced: nobody is to wait for its next turn.
    polled = {row.name: None if row.is_rejected else row.polled_at for row in rows}
    due = {name: due_at(polled.get(name), account.every, now=clock()) for name, account in settings.accounts.items()}
    return Parts(opened, batch, deliverer, polls, tuple(providers.values()), due, age_watch, pickup)


def _displace(settings: Settings, forecasts: ForecastCache, clock: Clock, *, is_guest: bool) -> Displace:
    """Return what ends incidents of organizations that are watched no more, or by another account."""

    def displace_rows(
        tx: Transaction, gone: Sequence[OrganizationRow], moved: Sequence[OrganizationRow]
    ) -> list[Notification]:
        return displace(tx, settings, forecasts, at=clock(), gone=gone, moved=moved, is_guest=is_guest)

    return displace_rows


def _pollers(
    settings: Settings,
    rows: Sequence[accounts.AccountRow],
    providers: Mapping[str, Provider],
    forecasts: ForecastCache,
    *,
    store: Store,
    batch: Batch,
    clock: Clock,
    counters: Counters,
    ages: Ages,
    is_guest: bool,
) -> tuple[Poller, ...]:
    """Return a poller for each account that has a provider."""
    assignment = Assignment(settings, store.write_now(organizations.organization_rows))
    balances = store.write_now(organizations.balances)
    displace_rows = _displace(settings, forecasts, clock, is_guest=is_guest)
    return tuple(
        Poller(
            row,
            providers[row.name],
            assignment,
            batch=batch,
            store=store,
            clock=clock,
            balances=balances,
            counters=counters,
            displace=displace_rows,
            ages=ages,
            every=settings.accounts[row.name].every,
            vendor=settings.accounts[row.name].vendor,
        )
        for row in rows
        if row.name in providers
    )


def _deliverer(
    settings: Settings,
    opened: Store,
    forecasts: ForecastCache,
    *,
    identity: str,
    clock: Clock,
    counters: Counters,
    leader_lock: LeaderLock | None,
    is_polling: Callable[[], bool],
    template: Template | None,
    unwritten: Unwritten | None,
) -> Deliverer:
    """Return the deliverer, with the channels' URLs; under a lock it sends nothing after the lock's end."""

    def tell_again(tx: Transaction, channel: str) -> None:
        log_notifications(catch_up(tx, settings, forecasts, at=clock(), channel=channel))

    return Deliverer(
        opened,
        {name: settings.channel_url(name) for name in settings.channels},
        settings,
        clock=clock,
        counters=counters,
        installation=identity,
        until=lambda: leader_lock.until if leader_lock else None,
        is_polling=is_polling,
        catch_up=tell_again,
        template=template,
        unwritten=unwritten,
    )


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

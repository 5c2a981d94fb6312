"""One pass over one account's organizations: fetch each, hand the result to the batch.

It records and judges nothing.  A failed fetch is a result like any other.  Who was asked longest ago comes first, so
that polls which are ended early, or take long, reach everybody.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from monitor import durations
from monitor.counters import Counters
from monitor.errors import DatabaseError, FetchError, LeaseLost
from monitor.model import Check, Notification, Snapshot, VendorOrganization
from monitor.poll.ages import Ages
from monitor.poll.assignment import Assignment
from monitor.poll.batch import Batch
from monitor.poll.failure_log import NAMED_AT_MOST, FailureLog
from monitor.providers import Provider
from monitor.store import organizations
from monitor.store.accounts import AccountRow
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Store, Transaction
from monitor.text import escape_beyond

IMPLAUSIBLE: Final = Decimal("0.01")  # of the last balance: what is left after so deep a fall
MINUTE: Final = 60.0
Displace = Callable[[Transaction, Sequence[OrganizationRow], Sequence[OrganizationRow]], list[Notification]]
News = list[tuple[str, VendorOrganization]]
IN_FLIGHT: Final = 20  # checks of one account at once: more cost memory and gain nothing

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PollResult:
    """How a poll went: checks that gave a balance, requests that failed, and whether the database took the results."""

    fetched: int
    failed: int
    recorded: bool
    seconds: float

    @property
    def problem(self) -> str | None:
        """Why the poll gave nothing; None when it did, or when there was nothing to fetch."""
        if not self.recorded:
            return "its results could not be recorded"
        return "nothing could be fetched" if self.failed and not self.fetched else None


class Poller:
    """Polls one account: `run` once for every poll, never twice at once."""

    def __init__(
        self,
        row: AccountRow,
        provider: Provider,
        assignment: Assignment,
        *,
        batch: Batch,
        store: Store,
        clock: Callable[[], datetime],
        balances: dict[int, Decimal],
        counters: Counters,
        displace: Displace,
        ages: Ages | None = None,
        every: timedelta | None = None,
    ) -> None:
        """`balances` has the last known one of each organization, and is kept up.

        `displace` ends what stands of organizations that are watched no more (the first) or by another account.
        `every`: the time until the next poll, into which one should fit; None: there is no next one.
        """
        self.name = row.name
        self._id = row.id
        self._provider = provider
        self._assignment = assignment
        self._batch = batch
        self._store = store
        self._clock = clock
        self._balances = balances
        self._counters = counters
        self._displace = displace
        self._ages = ages or Ages()
        self._every = every
        self._failure_log = FailureLog(row.name)
        self._complained: set[str] = set()  # organizations that could not be kept, and were named
        self._resolved = False
        self._unusable: frozenset[str] = frozenset()  # of the last listing, said already
        self._began = clock()  # of the poll under way
        self._fetched = self._failed = 0  # in the poll under way

    @property
    def organizations(self) -> list[OrganizationRow]:
        """The organizations that it polls."""
        return self._assignment.of(self.name)

    async def run(self, only: Collection[str] | None = None) -> PollResult:
        """Check every organization of the account (or only those of these names) and settle the results."""
        with self._batch.polling(), self._timed():
            return await self._run(only)

    async def _run(self, only: Collection[str] | None) -> PollResult:
        began, started = self._clock(), asyncio.get_running_loop().time()
        self._began = began
        self._fetched = self._failed = 0
        known = self._wanted(self.organizations, only)
        doubtful = self._assignment.doubtful(self.name, resolved=self._resolved)
        sure = [row for row in known if row.id not in doubtful]
        async with asyncio.TaskGroup() as group:
            # The account endpoint may hang or fail: what is known already is checked meanwhile, but for a default
            # organization that may be another one by now.
            discovery = group.create_task(self._discover())
            group.create_task(self._check_all(sure))
        found = discovery.result()
        checked, late = {row.id for row in sure}, doubtful | {row.id for row in found}
        rows = {row.id: row for row in (*self._assignment.of(self.name), *found)}
        await self._check_all(
            self._wanted([row for row in rows.values() if row.id in late and row.id not in checked], only)
        )
        if only is None:
            self._batch.polled(self._id, began)
            self._failure_log.end_poll()
        await self._batch.flush()
        seconds = asyncio.get_running_loop().time() - started
        self._counters.polled(self.name, seconds)
        recorded = not self._batch.failing and self._batch.trouble is None
        return PollResult(self._fetched, self._failed, recorded, seconds)

    def _wanted(self, rows: Iterable[OrganizationRow], only: Collection[str] | None) -> list[OrganizationRow]:
        """Return what is to be asked for, what was not for longest first."""
        wanted = [row for row in rows if only is None or row.name in only or row.vendor_id in only]
        return sorted(wanted, key=lambda row: self._ages.asked(row.id))

    async def _check_all(self, rows: Iterable[OrganizationRow]) -> None:
        wanted = list(rows)
        waiting = iter(wanted)

        async def work() -> None:
            for organization in waiting:
                await self._check(organization)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(wanted))):
                group.create_task(work())

    async def _check(self, organization: OrganizationRow) -> None:
        try:
            balance = await self._while_running(lambda: self._fetch(organization))
        except FetchError as error:
            now = self._clock()
            self._failure_log.add(organization.name, error)
            self._failed += 1
            age = self._ages.failed(organization.id, now)
            self._keep(Check(self._id, organization.id, now, error.failure, poll_at=self._began, age=age))
            return
        now = self._clock()
        self._fetched += 1
        self._ages.answered(organization.id, now)
        self._keep(Check(self._id, organization.id, now, Snapshot(now, balance), poll_at=self._began))

    async def _while_running(self, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return what a fetch gives; one that failed because this process was stopped meanwhile is begun again."""
        while True:
            stops = self._ages.clock.stops
            try:
                return await fetch()
            except FetchError:
                if self._ages.clock.stops == stops:
                    raise
                log.info("account %s: a check in which this process was stopped is begun again", self.name)

    def _keep(self, check: Check) -> None:
        self._counters.checked(self.name, check.outcome)
        self._batch.add(check)

    async def _fetch(self, organization: OrganizationRow) -> Decimal:
        """Return the balance; after a fall to a hundredth ask again first, and take the second answer."""
        before = self._balances.get(organization.id, Decimal(0))
        (answer,) = await self._provider.fetch(organization.vendor_id)
        if before > 1 and answer.credits <= before * IMPLAUSIBLE:
            log.warning(
                "%s: fell from %s to %s credits at once; asking again", organization.name, before, answer.credits
            )
            (answer,) = await self._provider.fetch(organization.vendor_id)
        self._balances[organization.id] = answer.credits
        return answer.credits

    async def _discover(self) -> list[OrganizationRow]:
        """Ask the account endpoint where it is needed; return the organizations that it newly listed."""
        if not self._assignment.asks_account(self.name, resolved=self._resolved):
            return []
        try:
            listed = await self._while_running(self._provider.fetch_organizations)
        except FetchError as error:
            now = self._clock()
            self._failure_log.add(f"account {self.name}", error)
            self._failed += 1
            age = self._ages.failed(-self._id, now)  # of the account's list
            self._batch.add(Check(self._id, None, now, error.failure, poll_at=self._began, age=age))
            return []
        self._tell_unusable()
        try:
            # Two accounts may list the same organization at the same moment; only one of them is to watch it.
            async with self._assignment.turn:
                rows = await self._take_in(self._assignment.news(self.name, listed))
        except DatabaseError as error:
            log.error("account %s: what it lists could not be kept: %s", self.name, error)  # noqa: TRY400
            return []
        self._resolved = True
        return rows

    def _tell_unusable(self) -> None:
        """Log once what the key sees and nobody can watch."""
        unusable = self._provider.unusable()
        for line in [line for line in unusable if line not in self._unusable][:NAMED_AT_MOST]:
            log.warning("account %s: not watched: %s", self.name, line, extra={"account": self.name})
        if (more := len(frozenset(unusable) - self._unusable) - NAMED_AT_MOST) > 0:
            log.warning("account %s: not watched: %d more; `credit-monitor organizations` names them", self.name, more)
        self._unusable = frozenset(unusable)

    async def _take_in(self, news: News) -> list[OrganizationRow]:
        kept = await self._keep_news(news) if news else []
        for row, (_, listed) in kept:
            self._assignment.take(row, listed.name)
        await self._release_orphans()
        for name in self._assignment.unresolved(self.name):
            log.warning("%s: account %s names no default organization; set `id`", name, self.name)
        return [row for row, _ in kept]

    async def _keep_news(self, news: News) -> list[tuple[OrganizationRow, tuple[str, VendorOrganization]]]:
        """Store organizations that are new or changed; one that the database does not take leaves the others alone.

        It is stored with its title escaped, or tried again in the next poll.
        """
        try:
            return list(zip(await self._ensure(news), news, strict=True))
        except DatabaseError as error:
            if len(news) == 1 or error.concerns_all or not await self._store.is_writable():
                raise
        kept = []
        for name, listed in news:
            if row := await self._ensure_alone(name, listed):
                kept.append((row, (name, listed)))
        return kept

    async def _ensure_alone(self, name: str, listed: VendorOrganization) -> OrganizationRow | None:
        plain = replace(listed, name=escape_beyond(listed.name) if listed.name else None)
        for candidate in (listed, plain):
            try:
                return (await self._ensure([(name, candidate)]))[0]
            except LeaseLost:
                raise
            except DatabaseError as error:
                cause = error
        if listed.id not in self._complained:
            self._complained.add(listed.id)
            log.error("account %s: %s could not be kept, and is tried again: %s", self.name, listed.id, cause)
        return None

    async def _ensure(self, news: News) -> list[OrganizationRow]:
        """Store organizations, and end what stands of those whose place they take, or that another account polled."""
        base_url = self._assignment.base_url(self.name)
        gone, moved = self._assignment.displaced(self.name, news), self._assignment.moved(self.name, news)
        wanted = [
            {
                "base_url": base_url,
                "vendor_id": listed.id,
                "name": name,
                "account": self.name,
                "title": listed.name or None,
            }
            for name, listed in news
        ]

        def ensure(tx: Transaction) -> tuple[list[Notification], list[OrganizationRow]]:
            ended = self._displace(tx, gone, moved) if gone or moved else []
            return ended, organizations.ensure_organizations(tx, wanted)

        if gone:
            await self._batch.flush()  # what is known of them is judged while they are watched
        ended, rows = await self._store.write(ensure)
        self._batch.announce(ended)
        for row in gone:
            log.warning("account %s: %s is not its default organization any more", self.name, row.vendor_id)
        return rows

    async def _release_orphans(self) -> None:
        """Watch no more what no account lists since its own has left the configuration."""
        orphans = self._assignment.orphans(self.name)
        if not orphans:
            return
        self._batch.announce(await self._store.write(lambda tx: self._displace(tx, orphans, ())))
        for row in orphans:
            self._assignment.release(row)
            log.warning("%s: account %s is gone, and no other sees it", row.name, row.account)

    # --- polls that take too long -------------------------------------------------------------------------------------

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Say it when the poll under way takes longer than until the next one; once, until one fits again."""
        if self._every is None:
            yield
            return
        every, began = self._every.total_seconds(), self._ages.clock.now()
        timing = asyncio.create_task(self._say_when_slow(began, self._every), name=f"time {self.name}")
        try:
            yield
        finally:
            timing.cancel()
        if self.name in self._ages.slow and self._ages.clock.now() - began < every:
            self._ages.slow.discard(self.name)
            log.info("account %s: a poll fits into poll.every again", self.name)

    async def _say_when_slow(self, began: float, every: timedelta) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            ran = self._ages.clock.now() - began
            if ran >= every.total_seconds():
                self._say_slow(ran, every)

    def _say_slow(self, ran: float, every: timedelta) -> None:
        """Say that a poll does not fit, and what would; where the vendor gives no answers, that is the trouble."""
        done, total = self._fetched + self._failed, len(self.organizations)
        if self.name in self._ages.slow or self._failed >= max(self._fetched, 1):
            return
        self._ages.slow.add(self.name)
        needed = ran * total / done if done else math.inf
        step = MINUTE if every.total_seconds() >= MINUTE else 1.0
        fits = timedelta(seconds=(needed // step + 1) * step) if math.isfinite(needed) else None
        log.warning(
            "account %s: a poll of its %d organization(s) takes longer than poll.every (%s), so balances are older than"
            " that; %s would fit",
            self.name,
            total,
            durations.write(every),
            f'poll.every = "{durations.write(fits)}"' if fits else "a longer poll.every",
        )

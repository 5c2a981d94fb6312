"""One pass over one account's organizations: fetch each, hand the result to the batch.

It records and judges nothing.  A failed fetch is a result like any other.  Who was asked longest ago comes first, so
that polls which are ended early, or take long, reach everybody.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from monitor import durations
from monitor.counters import Counters
from monitor.errors import DatabaseError, FetchError, UnexpectedAnswer
from monitor.model import STABILITY, Balance, Check, Snapshot, Unlimited, Vendor, VendorOrganization
from monitor.poll.ages import Ages
from monitor.poll.assignment import Assignment
from monitor.poll.batch import Batch
from monitor.poll.failure_log import NAMED_AT_MOST, FailureLog
from monitor.poll.intake import Displace, Intake
from monitor.providers import Provider
from monitor.store.accounts import AccountRow
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Store

IMPLAUSIBLE: Final = Decimal("0.01")  # of the last balance: what is left after so deep a fall
MINUTE: Final = 60.0
LONGEST_SECOND_LOOK: Final = timedelta(minutes=1)  # that a vendor may make us wait for one
UNKNOWN: Final = Vendor(name=STABILITY, asks_each=True)
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


def _missing(organization: OrganizationRow, found: Iterable[str]) -> UnexpectedAnswer:
    """Return the error of one that an answer holds no more, beside others."""
    there = ", ".join(sorted(filter(None, found))) or "one alone, without a name"
    return UnexpectedAnswer(f"the answer has no {organization.vendor_id or 'balance without a name'}; it has {there}")


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
        vendor: Vendor = UNKNOWN,
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
        self._intake = Intake(row.name, assignment, batch=batch, store=store, displace=displace)
        self._clock = clock
        self._balances = balances
        self._counters = counters
        self._ages = ages or Ages()
        self._every = every
        self._vendor = vendor
        self._failure_log = FailureLog(row.name)
        self._resolved = False
        self._noted: set[tuple[str, str]] = set()  # what was odd about answers, and was said
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
        await (self._ask_each(only) if self._vendor.asks_each else self._ask_once(only))
        if only is None:
            self._batch.polled(self._id, began)
            self._failure_log.end_poll()
        await self._batch.flush()
        seconds = asyncio.get_running_loop().time() - started
        self._counters.polled(self.name, seconds)
        recorded = not self._batch.failing and self._batch.trouble is None
        return PollResult(self._fetched, self._failed, recorded, seconds)

    async def _ask_each(self, only: Collection[str] | None) -> None:
        """Ask for the list where it is needed, and for each organization."""
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
            self._take_failure(organization, error)
            return
        if balance.unit == organization.unit:
            self._take_balance(organization, balance)
        elif row := await self._in_unit(organization, balance.unit):
            self._take_balance(row, balance)

    async def _in_unit(self, organization: OrganizationRow, unit: str) -> OrganizationRow | None:
        """Return the row of an organization in a unit that it did not have; None when it cannot be kept now."""
        try:
            async with self._assignment.turn:
                rows = await self._intake.take([self._assignment.in_unit(organization, unit)])
        except DatabaseError as error:
            log.error("%s: that it counts in %s could not be kept: %s", organization.name, unit, error)  # noqa: TRY400
            return None
        return rows[0] if rows else None

    def _take_balance(self, organization: OrganizationRow, balance: Balance) -> None:
        now = self._clock()
        self._fetched += 1
        self._ages.answered(organization.id, now)
        self._balances[organization.id] = balance.credits
        outcome = Unlimited() if balance.unlimited else Snapshot(now, balance.credits)
        resets_at = balance.resets_at
        self._keep(Check(self._id, organization.id, now, outcome, poll_at=self._began, resets_at=resets_at))

    def _take_failure(self, organization: OrganizationRow, error: FetchError) -> None:
        now = self._clock()
        self._failure_log.add(organization.name, error)
        self._failed += 1
        age = self._ages.failed(organization.id, now)
        self._keep(Check(self._id, organization.id, now, error.failure, poll_at=self._began, age=age))

    def _take_account_failure(self, error: FetchError) -> None:
        """Keep that the account itself gave nothing: its list, or an answer of which no balance is known yet."""
        now = self._clock()
        self._failure_log.add(f"account {self.name}", error)
        self._failed += 1
        age = self._ages.failed(-self._id, now)
        self._batch.add(Check(self._id, None, now, error.failure, poll_at=self._began, age=age))

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

    async def _fetch(self, organization: OrganizationRow) -> Balance:
        """Return the balance; after a fall to a hundredth ask again first, and take the second answer."""
        (balance,) = await self._provider.fetch(organization.vendor_id)
        if self._is_implausible(organization, balance):
            (balance,) = await self._provider.fetch(organization.vendor_id)
        return balance

    def _is_implausible(self, organization: OrganizationRow, balance: Balance) -> bool:
        before, unit = self._balances.get(organization.id, Decimal(0)), organization.unit
        if balance.unlimited or balance.unit != unit or before <= 1 or balance.credits > before * IMPLAUSIBLE:
            return False
        words = (organization.name, before, balance.credits, unit)
        log.warning("%s: fell from %s to %s %s at once; asking again", *words)
        return True

    # --- vendors whose one answer has all balances of a key -----------------------------------------------------------

    async def _ask_once(self, only: Collection[str] | None) -> None:
        """Ask once for all balances of the key: the failure of the one request is that of each."""
        try:
            balances = await self._while_running(self._fetch_all)
        except FetchError as error:
            for organization in self._wanted(self.organizations, only):
                self._take_failure(organization, error)
            if not self.organizations:
                self._take_account_failure(error)
            return
        await self._place(balances)
        found = {balance.id: balance for balance in balances}
        for organization in self._wanted(self.organizations, only):
            balance = found.get(organization.vendor_id)
            if balance is None:
                self._take_failure(organization, _missing(organization, found))
            elif balance.unit == organization.unit:
                self._take_balance(organization, balance)

    async def _place(self, balances: Sequence[Balance]) -> None:
        """Watch what an answer has newly, or in another unit."""
        listed = [VendorOrganization(balance.id, balance.name) for balance in balances]
        units = {balance.id: balance.unit for balance in balances}
        for balance in balances:
            if balance.note and (balance.id, balance.note) not in self._noted:
                self._noted.add((balance.id, balance.note))
                log.warning("account %s: %s", self.name, balance.note, extra={"account": self.name})
        try:
            async with self._assignment.turn:
                await self._intake.take_in(self._assignment.news(self.name, listed, units))
        except DatabaseError as error:
            log.error("account %s: what its answer holds could not be kept: %s", self.name, error)  # noqa: TRY400
        self._resolved = True

    async def _fetch_all(self) -> tuple[Balance, ...]:
        """Return the balances of one answer; after a fall of one to a hundredth ask again, and take the second one."""
        balances = await self._provider.fetch()
        known = {organization.vendor_id: organization for organization in self.organizations}
        falls = [known[one.id] for one in balances if one.id in known and self._is_implausible(known[one.id], one)]
        may_ask = self._vendor.every_min is None or self._vendor.every_min <= LONGEST_SECOND_LOOK
        return await self._provider.fetch() if falls and may_ask else balances

    # --- the list of organizations ------------------------------------------------------------------------------------

    async def _discover(self) -> list[OrganizationRow]:
        """Ask the account endpoint where it is needed; return the organizations that it newly listed."""
        if not self._assignment.asks_account(self.name, resolved=self._resolved):
            return []
        try:
            listed = await self._while_running(self._provider.fetch_organizations)
        except FetchError as error:
            self._take_account_failure(error)
            return []
        self._tell_unusable()
        try:
            # Two accounts may list the same organization at the same moment; only one of them is to watch it.
            async with self._assignment.turn:
                rows = await self._intake.take_in(self._assignment.news(self.name, listed))
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

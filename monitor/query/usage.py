"""What was used and topped up, by hour, day, week or month of a time zone, and what it cost.

A bucket after the last snapshot has no figures, and what retention has removed is not estimated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Context, Decimal
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from monitor import amounts
from monitor.errors import UsageError
from monitor.model import STABILITY_UNIT
from monitor.proration import HOUR, MICROSECOND, floor
from monitor.query.amounts import Amount, Period, by_days, by_pieces, uneven
from monitor.query.buckets import By, borders
from monitor.query.coverage import ALWAYS, Coverage, coverage_of
from monitor.query.organizations import wanted_organizations
from monitor.store.engines import transaction
from monitor.store.organizations import OrganizationRow

Sort = tuple[str, str]  # a unit, and the vendor whose own it is; "" where it is money
EXACT: Final = Context(prec=100)  # a product of money is never rounded
IN_MEMORY: Final = 50_000  # amounts that are kept while the total is summed; for more the total is a query of its own


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One organization in one bucket; the figures are None where nothing is known: after its last snapshot.

    In a gap no snapshot was taken; `used` and `topped_up` then have their part of a change that spans it.
    """

    organization: str
    vendor_id: str
    account: str
    starts_at: datetime
    ends_at: datetime
    used: Decimal | None
    topped_up: Decimal | None
    cost: Decimal | None
    share: Decimal | None  # of everything used in this answer of the same unit, 0 to 1; None when nothing was
    snapshots: int
    unit: str = STABILITY_UNIT

    @property
    def gap(self) -> bool:
        """Whether no snapshot was taken in it."""
        return self.snapshots == 0


@dataclass(frozen=True, slots=True)
class Total:
    """What was used in all in one unit: of a currency whoever the vendor is, of any other unit at one vendor."""

    unit: str
    vendor: str | None  # None: the unit is money of its own
    used: Decimal
    topped_up: Decimal
    cost: Decimal | None  # None: nobody has said what it costs


@dataclass(frozen=True, slots=True)
class Usage:
    """The answer: its totals, and its rows, organization by organization (by name), oldest bucket first."""

    totals: tuple[Total, ...]
    rows: Iterator[UsageRow]


Price = Callable[[OrganizationRow], Decimal | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuestion:
    """What is asked: `since` and `until` are widened to whole buckets; None is everything, and up to now."""

    by: By
    zone: ZoneInfo
    price: Price  # of one of a unit
    now: datetime
    since: datetime | None = None
    until: datetime | None = None


@contextmanager
def usage(engine: sa.Engine, question: UsageQuestion, organization: str | None = None) -> Iterator[Usage]:
    """Give the use of one organization, or of all; rows begin with the bucket of an organization's first snapshot.

    All of it is read in one transaction, the rows while they are iterated.  `UsageError` for an unknown
    organization, and for buckets that need what retention has removed.
    """
    wanted = wanted_organizations(engine, organization)
    with transaction(engine) as tx:
        coverages = coverage_of(tx, [row.id for row in wanted])
        known = {row.id: row for row in wanted if row.id in coverages}
        ends = _borders(question, list(coverages.values()))
        _require_kept(question, ends, [(row, coverages[id_]) for id_, row in known.items()])
        answer = _Answer(tx, question, ends, known, coverages)
        yield answer.usage() if ends else Usage((), iter(()))


def _borders(question: UsageQuestion, coverages: Sequence[Coverage]) -> list[datetime]:
    """Return the borders from the first snapshot or `since`, to now or `until`."""
    if not coverages:
        return []
    first = min(coverage.first_at for coverage in coverages)
    latest = max(question.now, *(coverage.newest_at for coverage in coverages)) + MICROSECOND
    since = max(question.since, first) if question.since else first
    until = min(question.until, latest) if question.until else latest
    return borders(question.by, question.zone, since, until)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Sums the amounts and makes the rows, an organization at a time."""

    tx: sa.Connection
    question: UsageQuestion
    ends: Sequence[datetime]
    known: Mapping[int, OrganizationRow]  # those with a snapshot, in order
    coverages: Mapping[int, Coverage]

    def usage(self) -> Usage:
        """Return the answer; the totals are summed first, for each row has its share of one."""
        amounts = self._amounts()
        if len(self.known) * len(self.ends) <= IN_MEMORY:
            amounts = list(amounts)
            totals = self._totals(amounts)
        else:
            totals = self._totals(self._by_days([self.ends[0], self.ends[-1]]))
        return Usage(tuple(totals.values()), self._rows(amounts, totals))

    def _totals(self, amounts: Iterable[tuple[int, list[Amount]]]) -> dict[Sort, Total]:
        """Return the total of each unit, the vendors' own by name."""
        totals: dict[Sort, Total] = {}
        for id_, per_bucket in amounts:
            organization = self.known[id_]
            used = sum((amount.used for amount in per_bucket), Decimal(0))
            topped_up = sum((amount.topped_up for amount in per_bucket), Decimal(0))
            one = Total(
                organization.unit, _sort(organization)[1] or None, used, topped_up, self._cost(organization, used)
            )
            known = totals.get(_sort(organization))
            totals[_sort(organization)] = one if known is None else _added(known, one)
        return dict(sorted(totals.items()))

    def _cost(self, organization: OrganizationRow, used: Decimal) -> Decimal | None:
        """Return what was paid for it; money is its own price."""
        if amounts.is_currency(organization.unit):
            return used
        price = self.question.price(organization)
        return None if price is None else EXACT.multiply(used, price)

    def _amounts(self) -> Iterable[tuple[int, list[Amount]]]:
        if self.question.by is not By.HOUR:
            return self._by_days(self.ends)
        hours = [Period(*both) for both in pairwise(self.ends)]
        return ((id_, by_pieces(self.tx, id_, hours, removed=not self.coverages[id_].is_whole)) for id_ in self.known)

    def _by_days(self, ends: Sequence[datetime]) -> Iterable[tuple[int, list[Amount]]]:
        removed = {id_ for id_, coverage in self.coverages.items() if not coverage.is_whole}
        return by_days(self.tx, list(self.known), ends, removed=removed)

    def _rows(self, amounts: Iterable[tuple[int, list[Amount]]], totals: Mapping[Sort, Total]) -> Iterator[UsageRow]:
        for id_, per_bucket in amounts:
            total = totals[_sort(self.known[id_])].used
            first_at, newest_at = self.coverages[id_].first_at, self.coverages[id_].newest_at
            for (starts_at, ends_at), amount in zip(pairwise(self.ends), per_bucket, strict=True):
                if ends_at > first_at:
                    yield self._row(id_, starts_at, ends_at, amount if starts_at <= newest_at else None, total)

    def _row(self, id_: int, starts_at: datetime, ends_at: datetime, amount: Amount | None, total: Decimal) -> UsageRow:
        organization, (used, topped_up, snapshots) = self.known[id_], amount or (None, None, 0)
        return UsageRow(
            organization=organization.name,
            vendor_id=organization.vendor_id,
            account=organization.account,
            starts_at=starts_at,
            ends_at=ends_at,
            used=used,
            topped_up=topped_up,
            cost=None if used is None else self._cost(organization, used),
            share=(used / total).quantize(amounts.PLACES) if used is not None and total else None,
            snapshots=snapshots,
            unit=organization.unit,
        )


def _sort(organization: OrganizationRow) -> Sort:
    return organization.unit, "" if amounts.is_currency(organization.unit) else organization.provider


def _added(one: Total, other: Total) -> Total:
    cost = None if one.cost is None or other.cost is None else EXACT.add(one.cost, other.cost)
    return Total(one.unit, one.vendor, one.used + other.used, one.topped_up + other.topped_up, cost)


# --- what retention has left ------------------------------------------------------------------------------------------


def _require_kept(
    question: UsageQuestion, ends: Sequence[datetime], known: Sequence[tuple[OrganizationRow, Coverage]]
) -> None:
    """Raise `UsageError` when a bucket begins or ends where too little is left, with what would work."""
    by_hour = question.by is By.HOUR
    pieces = [Period(*both) for both in pairwise(ends)] if by_hour else list(uneven(ends).values())
    whole = all(at == floor(at, HOUR) for at in ends)
    missing = []
    for row, coverage in known:
        since = coverage.hours_since if whole else coverage.raw_since
        if since is ALWAYS:
            continue
        first = next((piece for piece in pieces if piece.until > coverage.first_at), None)
        if first and first.since < since:
            missing.append((since, row.name, coverage))
    if missing:
        since, name, coverage = max(missing, key=lambda entry: entry[0])
        raise UsageError(_advice(question, ends, since, name, hours_are_left=coverage.hours_since < since))


def _advice(
    question: UsageQuestion, ends: Sequence[datetime], since: datetime, name: str, *, hours_are_left: bool
) -> str:
    work = "--tz UTC" if question.by is not By.HOUR or hours_are_left else "--by day --tz UTC"
    later = next((at for at in ends[:-1] if at >= since), None)
    if later:
        local = later.astimezone(question.zone)
        work = f"--since {local.date() if local.time() == time() else local.isoformat()} or {work}"
    return (
        f"{name}: use by {question.by} of {question.zone.key} is known from {since:%Y-%m-%d %H:%M}Z on; "
        f"of what is older only use by UTC {'hour' if hours_are_left else 'day'} is kept: {work} works"
    )

"""Balances from a CSV file into the history: looked through as a whole before anything is written, then all or nothing.

Refuses to judge: an import opens and closes no incident and changes no current row.  The next check does, and its
forecast knows the history.
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import nsmallest
from itertools import pairwise
from typing import Final

from monitor.amounts import from_micro, to_micro
from monitor.config import Settings
from monitor.errors import UsageError
from monitor.importer.csv import COLUMNS, Listed, Wrong, read_rows
from monitor.importer.match import Match, Matcher, settle_place
from monitor.model import Snapshot
from monitor.poll.forecast_cache import MEMORY
from monitor.proration import EPOCH, MICROSECOND
from monitor.store import organizations, snapshots, writer
from monitor.store.writer import Engine, Store, Transaction

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # what is older stands for "no date" in some program
FUTURE: Final = timedelta(days=1)  # ahead of now an instant may lie, for clocks differ
SHOWN: Final = 20  # mistakes
CHUNK: Final = 10_000  # balances put in at a time


@dataclass(slots=True)
class Mistakes:
    """The first of all that is wrong, by line, and how many there are."""

    count: int = 0
    first: list[Wrong] = field(default_factory=list)

    def add(self, line: int, problem: str) -> None:
        self.count += 1
        self.first.append(Wrong(line, problem))
        if len(self.first) > 100 * SHOWN:
            self.first = nsmallest(SHOWN, self.first)

    def raise_if_any(self, where: str) -> None:
        """`UsageError` that lists them."""
        if self.count:
            lines = [f"{where}:{one.line}: {one.problem}" for one in nsmallest(SHOWN, self.first)]
            if self.count > SHOWN:
                lines.append(f"and {self.count - SHOWN:,} more")
            raise UsageError("\n".join([*lines, "nothing was imported"]))


@dataclass(slots=True)
class Balances:
    """Those of one organization, in few bytes: microseconds since 1970, millionths, lines."""

    instants: "array[int]" = field(default_factory=partial(array, "q"))
    amounts: "array[int]" = field(default_factory=partial(array, "q"))
    lines: "array[int]" = field(default_factory=partial(array, "q"))

    def add(self, one: Listed) -> None:
        self.put((one.taken_at - EPOCH) // MICROSECOND, to_micro(one.credits), one.line)

    def put(self, at: int, amount: int, line: int) -> None:
        self.instants.append(at)
        self.amounts.append(amount)
        self.lines.append(line)

    def by_time(self) -> Iterable[tuple[int, int, int]]:
        """Instant, line, amount; of one instant in the order of the file."""
        rows = zip(self.instants, self.lines, self.amounts, strict=True)
        is_sorted = all(earlier <= later for earlier, later in pairwise(self.instants))
        return rows if is_sorted else sorted(rows)


@dataclass(slots=True)
class Import:
    """What a file has to add, organization by organization."""

    balances: dict[Match, Balances] = field(default_factory=dict)
    known: int = 0  # that are there already, or stand in the file twice
    naive: int = 0  # instants without an offset, taken as UTC

    @property
    def count(self) -> int:
        return sum(len(one.instants) for one in self.balances.values())


# --- looking through it -----------------------------------------------------------------------------------------------


def look_through(
    source: Iterable[str], where: str, settings: Settings, engine: Engine, *, organization: str | None, now: datetime
) -> Import:
    """What a CSV file has to add to a database; `UsageError` with every mistake, and nothing is locked meanwhile."""
    places = Matcher(settings, writer.read(engine, organizations.organization_rows))
    of_all = places.find(organization, "", "") if organization is not None else None
    found, mistakes = Import(), Mistakes()
    needed = COLUMNS if of_all else (*COLUMNS, "organization")
    for one in read_rows(source, needed=needed, naive_is_utc=True):
        if isinstance(one, Wrong):
            mistakes.add(*one)
            continue
        try:
            place = of_all or places.find(*one.names)
            if not EARLIEST <= one.taken_at <= now + FUTURE:
                when = "in the future" if one.taken_at > now else "before the year 2000; is it an instant at all?"
                raise UsageError(f"taken_at: lies {when}")  # noqa: TRY301
        except UsageError as error:
            mistakes.add(one.line, str(error))
            continue
        found.balances.setdefault(place, Balances()).add(one)
        found.naive += one.is_naive
    new = {place: writer.read(engine, partial(_new, place, those, mistakes)) for place, those in found.balances.items()}
    mistakes.raise_if_any(where)
    found.known = found.count - sum(len(one.instants) for one in new.values())
    found.balances = {place: one for place, one in new.items() if one.instants}
    return found


def _new(place: Match, given: Balances, mistakes: Mistakes, tx: Transaction) -> Balances:
    """What of it is not there yet, by time."""
    once = Balances()
    for at, line, amount in given.by_time():
        if not once.instants or once.instants[-1] != at:
            once.put(at, amount, line)
        elif once.amounts[-1] != amount:
            mistakes.add(line, f"credits: line {once.lines[-1]} has another balance of that instant")
    return once if place.id is None else _unknown(place.id, place.name, once, mistakes, tx)


def _unknown(organization_id: int, name: str, given: Balances, mistakes: Mistakes, tx: Transaction) -> Balances:
    since = snapshots.pruned_before(tx, organization_id)
    recorded = snapshots.snapshots_between(
        tx, organization_id, _instant(given.instants[0]), _instant(given.instants[-1])
    )
    new, ahead = Balances(), next(recorded, None)
    for at, amount, line in zip(given.instants, given.amounts, given.lines, strict=True):
        taken_at = _instant(at)
        while ahead and ahead.taken_at < taken_at:
            ahead = next(recorded, None)
        if ahead and ahead.taken_at == taken_at:
            if ahead.credits != from_micro(amount):
                mistakes.add(line, f"credits: of this instant {ahead.credits.normalize():f} is recorded")
        elif since and taken_at < since:
            mistakes.add(line, f"taken_at: {name} is kept since {since:%Y-%m-%dT%H:%M:%SZ}, and {_WHY}")
        else:
            new.put(at, amount, line)
    return new


_WHY: Final = "what was used between this and the balances that retention has removed is counted already"


# --- putting it in ----------------------------------------------------------------------------------------------------


def put_in(opened: Store, settings: Settings, found: Import, told: Callable[[int], None]) -> int:
    """Put all of it into the history in one transaction; gives how many balances were new."""
    return opened.write_now(lambda tx: sum(_put(tx, settings, *one, told) for one in found.balances.items()))


def _put(tx: Transaction, settings: Settings, place: Match, given: Balances, told: Callable[[int], None]) -> int:
    organization_id = settle_place(tx, settings, place)
    since = snapshots.lock_history(tx, organization_id)
    if since and _instant(given.instants[0]) < since:
        raise UsageError(f"{place.name}: retention removed old balances meanwhile; nothing was imported, try again")
    count = 0
    for start in range(0, len(given.instants), CHUNK):
        part = zip(given.instants[start : start + CHUNK], given.amounts[start : start + CHUNK], strict=True)
        count += snapshots.merge_snapshots(
            tx, organization_id, [Snapshot(_instant(at), from_micro(amount)) for at, amount in part]
        )
        told(min(CHUNK, len(given.instants) - start))
    organizations.clear_usage(tx, organization_id, before=_instant(given.instants[-1]) + MEMORY)
    return count


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)

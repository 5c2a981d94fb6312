"""Load balances of a CSV file into the history: all are validated first, then all are inserted or none.

An import opens and closes no incident and changes no current row.  The next check does, and its forecast includes the
imported history.
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
from monitor.importer.csv import COLUMNS, Problem, Row, read_rows
from monitor.importer.match import Match, Matcher, ensure_match, require_unit
from monitor.model import Snapshot
from monitor.poll.forecast_cache import MEMORY
from monitor.proration import EPOCH, MICROSECOND
from monitor.store import organizations, snapshots, writer
from monitor.store.writer import Engine, Store, Transaction

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # some programs write an older instant for "no date"
FUTURE: Final = timedelta(days=1)  # an instant may lie so far ahead of now, for clocks differ
SHOWN: Final = 20  # problems
CHUNK: Final = 10_000  # balances inserted at a time


@dataclass(slots=True)
class Problems:
    """The first problems, by line, and how many there are in all."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        self.count += 1
        self.first.append(Problem(line, text))
        if len(self.first) > 100 * SHOWN:
            self.first = nsmallest(SHOWN, self.first)

    def raise_if_any(self, where: str) -> None:
        """Raise a `UsageError` that lists them, if there are any."""
        if self.count:
            lines = [f"{where}:{problem.line}: {problem.text}" for problem in nsmallest(SHOWN, self.first)]
            if self.count > SHOWN:
                lines.append(f"and {self.count - SHOWN:,} more")
            raise UsageError("\n".join([*lines, "nothing was imported"]))


@dataclass(slots=True)
class Balances:
    """The balances of one organization, in few bytes: microseconds since 1970, millionths, lines."""

    instants: "array[int]" = field(default_factory=partial(array, "q"))
    amounts: "array[int]" = field(default_factory=partial(array, "q"))
    lines: "array[int]" = field(default_factory=partial(array, "q"))

    def add_row(self, row: Row) -> None:
        self.add((row.taken_at - EPOCH) // MICROSECOND, to_micro(row.credits), row.line)

    def add(self, at: int, amount: int, line: int) -> None:
        self.instants.append(at)
        self.amounts.append(amount)
        self.lines.append(line)

    def by_time(self) -> Iterable[tuple[int, int, int]]:
        """Return (instant, line, amount); those of the same instant in the order of the file."""
        rows = zip(self.instants, self.lines, self.amounts, strict=True)
        is_sorted = all(earlier <= later for earlier, later in pairwise(self.instants))
        return rows if is_sorted else sorted(rows)


@dataclass(slots=True)
class Import:
    """The new balances of a file, by organization."""

    balances: dict[Match, Balances] = field(default_factory=dict)
    known: int = 0  # recorded already, or repeated in the file
    naive: int = 0  # instants without an offset, taken as UTC

    @property
    def count(self) -> int:
        return sum(len(balances.instants) for balances in self.balances.values())


# --- validating -------------------------------------------------------------------------------------------------------


def prepare(
    source: Iterable[str], where: str, settings: Settings, engine: Engine, *, organization: str | None, now: datetime
) -> Import:
    """Return what a CSV file adds to a database; `UsageError` with every problem.  Nothing is locked meanwhile."""
    matcher = Matcher(settings, writer.read(engine, organizations.organization_rows))
    of_all = matcher.find(organization, "", "") if organization is not None else None
    import_, problems = Import(), Problems()
    needed = COLUMNS if of_all else (*COLUMNS, "organization")
    for row in read_rows(source, needed=needed, naive_is_utc=True):
        if isinstance(row, Problem):
            problems.add(*row)
            continue
        try:
            match = of_all or matcher.find(*row.names)
            require_unit(match, row.unit)
            _require_plausible(row.taken_at, now)
        except UsageError as error:
            problems.add(row.line, str(error))
            continue
        import_.balances.setdefault(match, Balances()).add_row(row)
        import_.naive += row.is_naive
    new = {
        match: writer.read(engine, partial(_new, match, balances, problems))
        for match, balances in import_.balances.items()
    }
    problems.raise_if_any(where)
    import_.known = import_.count - sum(len(balances.instants) for balances in new.values())
    import_.balances = {match: balances for match, balances in new.items() if balances.instants}
    return import_


def _require_plausible(taken_at: datetime, now: datetime) -> None:
    if not EARLIEST <= taken_at <= now + FUTURE:
        when = "in the future" if taken_at > now else "before the year 2000; is it an instant at all?"
        raise UsageError(f"taken_at: lies {when}")


def _new(match: Match, given: Balances, problems: Problems, tx: Transaction) -> Balances:
    """Return those balances that are not recorded yet, by time."""
    once = Balances()
    for at, line, amount in given.by_time():
        if not once.instants or once.instants[-1] != at:
            once.add(at, amount, line)
        elif once.amounts[-1] != amount:
            problems.add(line, f"credits: line {once.lines[-1]} has another balance of that instant")
    return once if match.id is None else _unrecorded(match.id, match.name, once, problems, tx)


def _unrecorded(organization_id: int, name: str, given: Balances, problems: Problems, tx: Transaction) -> Balances:
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
                problems.add(line, f"credits: of this instant {ahead.credits.normalize():f} is recorded")
        elif since and taken_at < since:
            problems.add(line, f"taken_at: {name} is kept since {since:%Y-%m-%dT%H:%M:%SZ}, and {_WHY}")
        else:
            new.add(at, amount, line)
    return new


_WHY: Final = "what was used between this and the balances that retention has removed is counted already"


# --- inserting --------------------------------------------------------------------------------------------------------


def insert(opened: Store, settings: Settings, import_: Import, on_progress: Callable[[int], None]) -> int:
    """Insert all balances in one transaction; return how many were new."""
    return opened.write_now(
        lambda tx: sum(_insert(tx, settings, *item, on_progress) for item in import_.balances.items())
    )


def _insert(
    tx: Transaction, settings: Settings, match: Match, given: Balances, on_progress: Callable[[int], None]
) -> int:
    organization_id = ensure_match(tx, settings, match)
    since = snapshots.lock_history(tx, organization_id)
    if since and _instant(given.instants[0]) < since:
        raise UsageError(f"{match.name}: retention removed old balances meanwhile; nothing was imported, try again")
    count = 0
    for start in range(0, len(given.instants), CHUNK):
        part = zip(given.instants[start : start + CHUNK], given.amounts[start : start + CHUNK], strict=True)
        count += snapshots.merge_snapshots(
            tx, organization_id, [Snapshot(_instant(at), from_micro(amount)) for at, amount in part]
        )
        on_progress(min(CHUNK, len(given.instants) - start))
    organizations.clear_usage(tx, organization_id, before=_instant(given.instants[-1]) + MEMORY)
    return count


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)

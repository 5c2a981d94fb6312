"""The estimates of each organization, in memory between checks: use for the forecast, use within a window.

Rebuilt from the database whenever it is not exactly at the last recorded snapshot: after a start, after another process
recorded one, after a transaction that was rolled back.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Self

from monitor.forecast import Estimator
from monitor.model import Organization, Rules, Snapshot
from monitor.proration import MICROSECOND
from monitor.store import organizations, snapshots
from monitor.store.writer import Transaction

MEMORY: Final = timedelta(days=28)  # of snapshots that a forecast is rebuilt from when no estimator is stored
HOUR: Final = timedelta(hours=1)


class Window:
    """Credits used within the last `length` of time; a rise of the balance is a top-up, and no use."""

    def __init__(self, length: timedelta) -> None:
        self._length = length
        self._falls: deque[tuple[datetime, Decimal]] = deque()
        self._last: Decimal | None = None
        self._sum = Decimal(0)

    def add(self, snapshot: Snapshot) -> None:
        """Count what was used since the snapshot before."""
        used = self._last - snapshot.credits if self._last is not None else Decimal(0)
        self._last = snapshot.credits
        if used > 0:
            self._falls.append((snapshot.taken_at, used))
            self._sum += used
        while self._falls and self._falls[0][0] <= snapshot.taken_at - self._length:
            self._sum -= self._falls.popleft()[1]

    @property
    def used(self) -> Decimal:
        """Credits used within the window."""
        return self._sum


@dataclass(slots=True)
class Estimates:
    """The estimates of one organization, from its snapshots up to `last`."""

    last: Snapshot | None
    estimator: Estimator | None
    window: Window | None
    length: timedelta | None  # of the window
    kept_at: datetime | None = None  # up to when the estimator is in the database

    @classmethod
    def empty(cls, rules: Rules) -> Self:
        """Return the estimates that these rules need, before the first snapshot."""
        length = rules.spend.window if rules.spend else None
        return cls(None, Estimator() if rules.runway else None, Window(length) if length else None, length)

    def add(self, snapshot: Snapshot) -> None:
        """Take one more snapshot into account."""
        self.last = snapshot
        if self.estimator:
            self.estimator.add(snapshot)
        if self.window:
            self.window.add(snapshot)


@dataclass(slots=True)
class ForecastCache:
    """The estimates, by organization."""

    _known: dict[int, Estimates] = field(default_factory=dict)

    def at(self, tx: Transaction, organization: Organization, rules: Rules) -> Estimates:
        """Return the estimates up to an organization's current row."""
        length = rules.spend.window if rules.spend else None
        known = self._known.get(organization.id)
        wanted = (organization.snapshot, bool(rules.runway), length)
        if known is None or (known.last, known.estimator is not None, known.length) != wanted:
            known = self._known[organization.id] = _rebuilt(tx, organization, rules)
        return known

    def after(self, tx: Transaction, before: Organization, snapshot: Snapshot, rules: Rules) -> Estimates:
        """Return the estimates with one more snapshot; store the estimator in the database once an hour."""
        estimates = self.at(tx, before, rules)
        if before.snapshot is None:  # it may have a history from elsewhere
            until = snapshot.taken_at - MICROSECOND
            for earlier in snapshots.snapshots_after(tx, before.id, snapshot.taken_at - MEMORY, until=until):
                estimates.add(earlier)
        estimates.add(snapshot)
        if estimates.estimator and (
            estimates.kept_at is None or not estimates.kept_at <= snapshot.taken_at < estimates.kept_at + HOUR
        ):
            organizations.save_usage(tx, before.id, estimates.estimator.dump(), snapshot.taken_at)
            estimates.kept_at = snapshot.taken_at
        return estimates


def _rebuilt(tx: Transaction, organization: Organization, rules: Rules) -> Estimates:
    last = organization.snapshot
    estimates = Estimates.empty(rules)
    if last is None:
        return estimates
    if estimates.estimator:
        text, estimates.kept_at = organizations.load_usage(tx, organization.id)
        estimates.estimator = Estimator.load(text) if text else estimates.estimator
        since = estimates.kept_at or last.taken_at - MEMORY
        for snapshot in snapshots.snapshots_after(tx, organization.id, since, until=last.taken_at):
            estimates.estimator.add(snapshot)
    if estimates.window and estimates.length:
        begins = last.taken_at - estimates.length - HOUR
        for snapshot in snapshots.snapshots_after(tx, organization.id, begins, until=last.taken_at):
            estimates.window.add(snapshot)
    estimates.last = last
    return estimates

"""What is folded of each organization's snapshots, kept at hand between checks: use for the forecast, use in a window.

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

MEMORY: Final = timedelta(days=28)  # of snapshots that a forecast is rebuilt from when nothing of it is kept
HOUR: Final = timedelta(hours=1)


class Window:
    """Credits used within the last so much time; a rise of the balance is a top-up, and no use."""

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
        """The sum within the window."""
        return self._sum


@dataclass(slots=True)
class Folded:
    """Everything folded of one organization, up to `last`."""

    last: Snapshot | None
    usage: Estimator | None
    window: Window | None
    length: timedelta | None  # of the window
    kept_at: datetime | None = None  # up to when the usage is in the database

    @classmethod
    def nothing(cls, rules: Rules) -> Self:
        """What there is to fold for these rules, before the first snapshot."""
        length = rules.spend.window if rules.spend else None
        return cls(None, Estimator() if rules.runway else None, Window(length) if length else None, length)

    def add(self, snapshot: Snapshot) -> None:
        """Fold one more snapshot."""
        self.last = snapshot
        if self.usage:
            self.usage.add(snapshot)
        if self.window:
            self.window.add(snapshot)


@dataclass(slots=True)
class ForecastCache:
    """What is folded, by organization."""

    _known: dict[int, Folded] = field(default_factory=dict)

    def at(self, tx: Transaction, organization: Organization, rules: Rules) -> Folded:
        """What is folded up to an organization's current row."""
        length = rules.spend.window if rules.spend else None
        known = self._known.get(organization.id)
        wanted = (organization.snapshot, bool(rules.runway), length)
        if known is None or (known.last, known.usage is not None, known.length) != wanted:
            known = self._known[organization.id] = _rebuilt(tx, organization, rules)
        return known

    def after(self, tx: Transaction, before: Organization, snapshot: Snapshot, rules: Rules) -> Folded:
        """What is folded with one more snapshot; keeps the usage in the database once an hour."""
        folded = self.at(tx, before, rules)
        if before.snapshot is None:  # it may have a history from elsewhere
            until = snapshot.taken_at - MICROSECOND
            for one in snapshots.snapshots_after(tx, before.id, snapshot.taken_at - MEMORY, until=until):
                folded.add(one)
        folded.add(snapshot)
        if folded.usage and (folded.kept_at is None or not folded.kept_at <= snapshot.taken_at < folded.kept_at + HOUR):
            organizations.save_usage(tx, before.id, folded.usage.dump(), snapshot.taken_at)
            folded.kept_at = snapshot.taken_at
        return folded


def _rebuilt(tx: Transaction, organization: Organization, rules: Rules) -> Folded:
    last = organization.snapshot
    folded = Folded.nothing(rules)
    if last is None:
        return folded
    if folded.usage:
        text, folded.kept_at = organizations.load_usage(tx, organization.id)
        folded.usage = Estimator.load(text) if text else folded.usage
        since = folded.kept_at or last.taken_at - MEMORY
        for snapshot in snapshots.snapshots_after(tx, organization.id, since, until=last.taken_at):
            folded.usage.add(snapshot)
    if folded.window and folded.length:
        begins = last.taken_at - folded.length - HOUR
        for snapshot in snapshots.snapshots_after(tx, organization.id, begins, until=last.taken_at):
            folded.window.add(snapshot)
    folded.last = last
    return folded

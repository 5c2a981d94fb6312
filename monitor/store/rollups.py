"""Days (and hours) of use: each snapshot adds its share to the days it concerns, in whatever order snapshots arrive.

Refuses to decide how long anything is kept; `retention` does.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa

from monitor.model import Snapshot
from monitor.proration import floor, parts
from monitor.store.writer import Transaction, insert

Key = tuple[int, datetime]  # organization, beginning


@dataclass(slots=True)
class Stretch:
    """What is known of one stretch of time; balances are None where no snapshot was taken in it."""

    used: Decimal = Decimal(0)
    topped_up: Decimal = Decimal(0)
    snapshots: int = 0
    first: Snapshot | None = None
    last: Snapshot | None = None
    lowest: Decimal | None = None
    highest: Decimal | None = None

    def see(self, snapshot: Snapshot) -> None:
        """One more balance in it."""
        self.snapshots += 1
        if self.first is None or snapshot.taken_at < self.first.taken_at:
            self.first = snapshot
        if self.last is None or snapshot.taken_at > self.last.taken_at:
            self.last = snapshot
        self.lowest = snapshot.credits if self.lowest is None else min(self.lowest, snapshot.credits)
        self.highest = snapshot.credits if self.highest is None else max(self.highest, snapshot.credits)


@dataclass(slots=True)
class Stretches:
    """What a number of snapshots adds to the stretches of `step` of their organizations."""

    step: timedelta
    found: dict[Key, Stretch] = field(default_factory=dict)

    def at(self, organization_id: int, starts_at: datetime) -> Stretch:
        """The stretch of an organization that begins then."""
        key = (organization_id, starts_at)
        stretch = self.found.get(key)
        if stretch is None:
            stretch = self.found[key] = Stretch()
        return stretch

    def see(self, organization_id: int, snapshot: Snapshot) -> None:
        """One more balance."""
        self.at(organization_id, floor(snapshot.taken_at, self.step)).see(snapshot)

    def share_out(self, organization_id: int, before: Snapshot, after: Snapshot, *, sign: int = 1) -> None:
        """Add (or with -1 take away) the change between two neighbours."""
        starts_at = floor(before.taken_at, self.step)
        if after.taken_at - starts_at <= self.step:  # nearly always
            stretch, change = self.at(organization_id, starts_at), sign * (after.credits - before.credits)
            if after.credits < before.credits:
                stretch.used -= change
            else:
                stretch.topped_up += change
            return
        for starts_at, used, topped_up in parts(before, after, self.step):
            stretch = self.at(organization_id, starts_at)
            stretch.used += sign * used
            stretch.topped_up += sign * topped_up

    def add_to(self, tx: Transaction, table: sa.Table) -> None:
        """Add all of it to what is kept."""
        rows = [_values(*key, stretch) for key, stretch in sorted(self.found.items(), key=lambda item: item[0])]
        if rows:
            tx.execute(_adding(tx.dialect.name, table), rows)


def _values(organization_id: int, starts_at: datetime, one: Stretch) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "starts_at": starts_at,
        "used": one.used,
        "topped_up": one.topped_up,
        "snapshots": one.snapshots,
        "first": one.first.credits if one.first else None,
        "first_at": one.first.taken_at if one.first else None,
        "last": one.last.credits if one.last else None,
        "last_at": one.last.taken_at if one.last else None,
        "lowest": one.lowest,
        "highest": one.highest,
    }


@cache
def _adding(dialect: str, table: sa.Table) -> Any:
    """An INSERT that adds to the row that is there."""
    new = insert(dialect, table)
    c, n = table.c, new.excluded

    def better(name: str, *, by: str, is_better: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        return sa.case((n[by].is_(None), c[name]), (c[by].is_(None) | is_better, n[name]), else_=c[name])

    return new.on_conflict_do_update(
        index_elements=[c.organization_id, c.starts_at],
        set_={
            **{name: c[name] + n[name] for name in ("used", "topped_up", "snapshots")},
            **{name: better(name, by="first_at", is_better=n.first_at < c.first_at) for name in ("first", "first_at")},
            **{name: better(name, by="last_at", is_better=n.last_at > c.last_at) for name in ("last", "last_at")},
            "lowest": better("lowest", by="lowest", is_better=n.lowest < c.lowest),
            "highest": better("highest", by="highest", is_better=n.highest > c.highest),
        },
    )


# --- snapshots, as they arrive ----------------------------------------------------------------------------------------


# --- parts ------------------------------------------------------------------------------------------------------------

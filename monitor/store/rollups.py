"""Rollups of balances by UTC day and hour: exact use, and the first, last, lowest and highest balance.

Snapshots may arrive in any order: each adds its share to the rollups it concerns.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa

from monitor.model import Snapshot
from monitor.proration import floor, prorate
from monitor.store.writer import Transaction, insert

Key = tuple[int, datetime]  # organization, `starts_at`


@dataclass(slots=True)
class Rollup:
    """One day or hour of an organization; balances are None where no snapshot was taken in it."""

    used: Decimal = Decimal(0)
    topped_up: Decimal = Decimal(0)
    snapshots: int = 0
    first: Snapshot | None = None
    last: Snapshot | None = None
    lowest: Decimal | None = None
    highest: Decimal | None = None

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Count a snapshot that was taken in it."""
        self.snapshots += 1
        if self.first is None or snapshot.taken_at < self.first.taken_at:
            self.first = snapshot
        if self.last is None or snapshot.taken_at > self.last.taken_at:
            self.last = snapshot
        self.lowest = snapshot.credits if self.lowest is None else min(self.lowest, snapshot.credits)
        self.highest = snapshot.credits if self.highest is None else max(self.highest, snapshot.credits)


@dataclass(slots=True)
class Rollups:
    """What snapshots add to the rollups of their organizations, by days or hours (`step`)."""

    step: timedelta
    rows: dict[Key, Rollup] = field(default_factory=dict)

    def at(self, organization_id: int, starts_at: datetime) -> Rollup:
        """Return the rollup of an organization that begins then, made empty where there is none yet."""
        key = (organization_id, starts_at)
        rollup = self.rows.get(key)
        if rollup is None:
            rollup = self.rows[key] = Rollup()
        return rollup

    def add_snapshot(self, organization_id: int, snapshot: Snapshot) -> None:
        """Count a snapshot in the rollup that holds its instant."""
        self.at(organization_id, floor(snapshot.taken_at, self.step)).add_snapshot(snapshot)

    def prorate(self, organization_id: int, before: Snapshot, after: Snapshot, *, sign: int = 1) -> None:
        """Add the change between two neighbouring snapshots, prorated by time; with -1 subtract it."""
        starts_at = floor(before.taken_at, self.step)
        if after.taken_at - starts_at <= self.step:  # nearly always
            rollup, change = self.at(organization_id, starts_at), sign * (after.credits - before.credits)
            if after.credits < before.credits:
                rollup.used -= change
            else:
                rollup.topped_up += change
            return
        for starts_at, used, topped_up in prorate(before, after, self.step):
            rollup = self.at(organization_id, starts_at)
            rollup.used += sign * used
            rollup.topped_up += sign * topped_up

    def add_to(self, tx: Transaction, table: sa.Table) -> None:
        """Add all of them to the rows of `table`, inserting those that are missing."""
        rows = [row_of(*key, rollup) for key, rollup in sorted(self.rows.items(), key=lambda item: item[0])]
        if rows:
            tx.execute(_upsert(tx.dialect.name, table), rows)


def row_of(organization_id: int, starts_at: datetime, rollup: Rollup) -> dict[str, Any]:
    """Return a rollup as the values of its row, in the order of the table's columns."""
    return {
        "organization_id": organization_id,
        "starts_at": starts_at,
        "used": rollup.used,
        "topped_up": rollup.topped_up,
        "snapshots": rollup.snapshots,
        "first": rollup.first.credits if rollup.first else None,
        "first_at": rollup.first.taken_at if rollup.first else None,
        "last": rollup.last.credits if rollup.last else None,
        "last_at": rollup.last.taken_at if rollup.last else None,
        "lowest": rollup.lowest,
        "highest": rollup.highest,
    }


@cache
def _upsert(dialect: str, table: sa.Table) -> Any:
    """Return an INSERT that adds to the row that exists."""
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

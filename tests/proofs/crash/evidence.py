"""What was seen during a proof: lives of the daemon, messages that arrived, and what the database holds."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from monitor.store.engines import open_reader, transaction
from monitor.store.tables import attempts, deliveries, incidents, notifications, organizations

AN_ID = re.compile(r"\b[0-9a-f]{16}\b")
MARK = "credit-monitor-life"


@dataclass(frozen=True)
class Arrival:
    """One message that a receiver took; `answered` says whether it told the sender so."""

    at: float
    life: int
    channel: str
    ids: tuple[str, ...]
    words: str
    answered: bool

    @property
    def named(self) -> str:
        return f"{self.channel}, life {self.life}: {' '.join(self.ids)}"


@dataclass
class Life:
    """One run of the daemon, from start to death; times are the event loop's."""

    number: int
    began_at: float
    death: float | None = None
    outlived: float = 0.0  # seconds until the last of its processes was seen no more
    way: str = "stopped"
    orphans: int = 0  # processes that outlived it by more than is allowed
    unmarked: frozenset[tuple[str, str]] = frozenset()  # (channel, notification) sent, and not marked at its death


@dataclass
class Seen:
    """Everything that happened."""

    lives: list[Life] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)


def processes_of(mark: str) -> list[int]:
    """The processes whose PATH carries a mark: the daemon hands it down to every child."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and f"/{mark}:".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended, or is not ours
    return found


def ids_in(words: str) -> tuple[str, ...]:
    """The notifications' ids that a message carries."""
    return tuple(sorted(set(AN_ID.findall(words))))


# --- the database -----------------------------------------------------------------------------------------------------


class Records:
    """What the daemon's database holds, read beside it."""

    def __init__(self, url: str, forgotten: frozenset[tuple[str, str]] = frozenset()) -> None:
        """`forgotten` was folded before the database stepped down to a schema that knows no folding."""
        self._engine = open_reader(url)
        self.forgotten = forgotten

    def close(self) -> None:
        self._engine.dispose()

    def standing(self) -> tuple[dict[str, Decimal], int]:
        """The last recorded balance of each vendor's id, and how many deliveries wait."""
        pending = sa.select(sa.func.count()).select_from(deliveries).where(deliveries.c.state == "pending")
        with transaction(self._engine) as tx:
            balances = tx.execute(sa.select(organizations.c.vendor_id, organizations.c.credits)).all()
            return {row.vendor_id: row.credits for row in balances}, tx.execute(pending).scalar_one()

    def failures(self) -> dict[str, str | None]:
        """How the last check of each vendor's id failed."""
        with transaction(self._engine) as tx:
            rows = tx.execute(sa.select(organizations.c.vendor_id, organizations.c.failure)).all()
            return {row.vendor_id: row.failure for row in rows}

    def unmarked(self, channel: str, ids: Collection[str]) -> frozenset[tuple[str, str]]:
        """Those of the notifications that are not marked as delivered on a channel."""
        mine = (deliveries.c.channel == channel) & deliveries.c.notification_id.in_(list(ids))
        query = sa.select(deliveries.c.notification_id).where(mine, deliveries.c.state.in_(("pending", "folded")))
        with transaction(self._engine) as tx:
            return frozenset((channel, key) for key in tx.execute(query).scalars())

    def folded(self) -> set[tuple[str, str]]:
        """What a channel was told with something newer: channel and notification."""
        mine = sa.select(deliveries.c.channel, deliveries.c.notification_id).where(deliveries.c.state == "folded")
        with transaction(self._engine) as tx:
            return {(row.channel, row.notification_id) for row in tx.execute(mine)} | self.forgotten

    def remember_folded(self) -> None:
        """The database is about to step down."""
        self.forgotten = frozenset(self.folded())

    def notifications(self) -> list[sa.Row[tuple[object, ...]]]:
        """Every notification, in the order in which they were kept."""
        # Not by their instants: a clock may have been stepped.  Nor by place: a small row may fill an earlier page.
        if self._engine.name == "sqlite":
            kept = ["notifications.rowid"]
        else:
            kept = ["age(notifications.xmin) DESC", "notifications.cmin::text::bigint"]
        query = (
            sa.select(notifications, incidents.c.subject, organizations.c.name)
            .join(incidents, incidents.c.id == notifications.c.incident_id)
            .outerjoin(organizations, organizations.c.id == incidents.c.subject_id)
            .order_by(*map(sa.literal_column, kept))
        )
        with transaction(self._engine) as tx:
            return list(tx.execute(query).all())

    def deliveries(self) -> list[sa.Row[tuple[object, ...]]]:
        """Every delivery in order, with the number of its attempts that a service took."""
        taken = (
            sa.select(sa.func.count())
            .where(attempts.c.delivery_id == deliveries.c.id, attempts.c.error.is_(None))
            .scalar_subquery()
        )
        with transaction(self._engine) as tx:
            return list(tx.execute(sa.select(deliveries, taken.label("taken")).order_by(deliveries.c.id)).all())

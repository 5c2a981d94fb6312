"""The state of each channel: since when it takes nothing, why, and which pause its service asked for.

A channel that takes messages has no row.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor.store.tables import channels
from monitor.store.writer import Transaction, insert


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What is known of a channel; all None while it takes messages.

    While it is down another one stands in.  A pause began at `paused_at`: when now lies before that, the clock was
    stepped back, and the pause is over.
    """

    name: str
    failing_since: datetime | None = None  # the first failure since it last took something
    down_since: datetime | None = None
    reason: str | None = None  # why it took nothing last
    paused_at: datetime | None = None
    paused_until: datetime | None = None

    def is_paused(self, now: datetime) -> bool:
        """Whether its service asked not to be asked yet."""
        if self.paused_at is None or self.paused_until is None:
            return False
        return self.paused_at <= now < self.paused_until


def load(tx: Transaction) -> dict[str, ChannelState]:
    """Return the state of every channel that has any, by name."""
    return {row.name: ChannelState(*row) for row in tx.execute(sa.select(channels))}


def load_one(tx: Transaction, name: str) -> ChannelState:
    """Return the state of one channel."""
    row = tx.execute(sa.select(channels).where(channels.c.name == name)).one_or_none()
    return ChannelState(*row) if row else ChannelState(name)


def load_down(tx: Transaction) -> set[str]:
    """Return the channels that are down."""
    return set(tx.execute(sa.select(channels.c.name).where(channels.c.down_since.is_not(None))).scalars())


def save(tx: Transaction, state: ChannelState) -> None:
    """Keep the state of a channel."""
    if state == ChannelState(state.name):
        tx.execute(channels.delete().where(channels.c.name == state.name))
        return
    new = insert(tx.dialect.name, channels).values(asdict(state))
    tx.execute(new.on_conflict_do_update(index_elements=[channels.c.name], set_=asdict(state)))


def rename(tx: Transaction, renamed: Mapping[str, str]) -> None:
    """Keep the state of channels under their new names."""
    for old, new in renamed.items():
        tx.execute(channels.delete().where(channels.c.name == new))
        tx.execute(channels.update().where(channels.c.name == old).values(name=new))


def forget(tx: Transaction, configured: Collection[str]) -> None:
    """Drop the state of channels that are no longer configured."""
    tx.execute(channels.delete().where(channels.c.name.not_in(configured)))

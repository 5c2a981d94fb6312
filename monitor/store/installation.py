"""The identity of this installation, which a copy and a restored backup keep, and the hosts that it has run on."""

import secrets
from datetime import datetime

import sqlalchemy as sa

from monitor.store.tables import hosts, installation
from monitor.store.writer import Transaction, insert


def installation_id(tx: Transaction) -> str:
    """Return the random id, which is made the first time."""
    new = insert(tx.dialect.name, installation).values(number=1, id=secrets.token_hex(8))
    tx.execute(new.on_conflict_do_nothing())
    found: str = tx.execute(sa.select(installation.c.id)).scalar_one()
    return found


def has_run(tx: Transaction) -> bool:
    """Return whether a daemon has ever started on this database: commands are not recorded."""
    return tx.execute(sa.select(hosts.c.name).limit(1)).first() is not None


def record_host(tx: Transaction, name: str, *, at: datetime) -> list[str]:
    """Keep that a daemon starts on a host; if it is a new one, return the others, the last used first."""
    known = list(tx.execute(sa.select(hosts.c.name).order_by(hosts.c.started_at.desc())).scalars())
    new = insert(tx.dialect.name, hosts).values(name=name, started_at=at)
    tx.execute(new.on_conflict_do_update(index_elements=[hosts.c.name], set_={"started_at": at}))
    return [] if name in known else known

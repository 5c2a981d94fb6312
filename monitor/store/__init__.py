"""What is kept: snapshots, current rows, incidents and the outbox, on SQLite and PostgreSQL alike.

SQLAlchemy's home, with `tables` and `migrate`.  Functions take a `Transaction`; they commit nothing themselves.
"""

from monitor.store.copying import insert_rows, standing_rows
from monitor.store.engines import open_reader, translated
from monitor.store.hold import Hold, acquire
from monitor.store.identity import (
    AccountRow,
    Identity,
    account_rows,
    ensure_account,
    ensure_organization,
    identities,
    mark_polled,
    rename,
)
from monitor.store.incidents import carry_out, open_incidents
from monitor.store.outbox import abandon, addressed, due, enqueue, mark, told, waiting_channels
from monitor.store.recording import account_failures, load, record, save, snapshot_before
from monitor.store.writer import Engine, Store, Transaction, read

__all__ = [
    "AccountRow",
    "Engine",
    "Hold",
    "Identity",
    "Store",
    "Transaction",
    "abandon",
    "account_failures",
    "account_rows",
    "acquire",
    "addressed",
    "carry_out",
    "due",
    "enqueue",
    "ensure_account",
    "ensure_organization",
    "identities",
    "insert_rows",
    "load",
    "mark",
    "mark_polled",
    "open_incidents",
    "open_reader",
    "read",
    "record",
    "rename",
    "save",
    "snapshot_before",
    "standing_rows",
    "told",
    "translated",
    "waiting_channels",
]

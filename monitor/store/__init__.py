"""What is kept: snapshots, current rows, incidents and the outbox, on SQLite and PostgreSQL alike.

SQLAlchemy's home, with `tables` and `migrate`.  Functions take a `Transaction`; they commit nothing themselves.
"""

from monitor.store.backup import copy_pages, page_count, seal, whole_file
from monitor.store.copying import insert_rows, standing_rows
from monitor.store.digests import last_digest
from monitor.store.engines import LONGEST_STEP, open_reader, sqlite_file, translated
from monitor.store.hold import Hold, acquire, open_hold
from monitor.store.identity import (
    AccountRow,
    Identity,
    account_rows,
    ensure_account,
    ensure_organization,
    ensure_organizations,
    identities,
    mark_polled,
    rename,
    watched_counts,
)
from monitor.store.incidents import carry_out, open_incidents, owe, troubled
from monitor.store.lease import boot_clock
from monitor.store.moving import move_rows, require_equal, row_counts, take_time
from monitor.store.outbox import (
    GATHERING,
    Fallback,
    abandon,
    addressed,
    claim,
    enqueue,
    enqueue_words,
    mark,
    told,
    waiting_channels,
    withdraw,
)
from monitor.store.pruning import Cutoffs, Portion, Sort, removable, remove
from monitor.store.recording import (
    LastCheck,
    account_failures,
    amounts_between,
    balances,
    first_list_failure,
    forget_usage,
    keep_usage,
    kept_usage,
    last_checks,
    load,
    record,
    save,
    snapshot_before,
    snapshots_after,
)
from monitor.store.silences import add_silence, end_silence, standing_silences
from monitor.store.soundness import damage, is_locked, lax_modes
from monitor.store.stretches import hold_history, kept_since, merge_snapshots
from monitor.store.writer import Engine, Store, Transaction, Trouble, read

__all__ = [
    "GATHERING",
    "LONGEST_STEP",
    "AccountRow",
    "Cutoffs",
    "Engine",
    "Fallback",
    "Hold",
    "Identity",
    "LastCheck",
    "Portion",
    "Sort",
    "Store",
    "Transaction",
    "Trouble",
    "abandon",
    "account_failures",
    "account_rows",
    "acquire",
    "add_silence",
    "addressed",
    "amounts_between",
    "balances",
    "boot_clock",
    "carry_out",
    "claim",
    "copy_pages",
    "damage",
    "end_silence",
    "enqueue",
    "enqueue_words",
    "ensure_account",
    "ensure_organization",
    "ensure_organizations",
    "first_list_failure",
    "forget_usage",
    "hold_history",
    "identities",
    "insert_rows",
    "is_locked",
    "keep_usage",
    "kept_since",
    "kept_usage",
    "last_checks",
    "last_digest",
    "lax_modes",
    "load",
    "mark",
    "mark_polled",
    "merge_snapshots",
    "move_rows",
    "open_hold",
    "open_incidents",
    "open_reader",
    "owe",
    "page_count",
    "read",
    "record",
    "removable",
    "remove",
    "rename",
    "require_equal",
    "row_counts",
    "save",
    "seal",
    "snapshot_before",
    "snapshots_after",
    "sqlite_file",
    "standing_rows",
    "standing_silences",
    "take_time",
    "told",
    "translated",
    "troubled",
    "waiting_channels",
    "watched_counts",
    "whole_file",
    "withdraw",
]

"""Backups, and the way from one database to another: whole and proven equal, or nothing.

Refuses to write over anything, and to run beside a daemon where balances could be lost between the two.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from monitor.config import Database, Settings, database_url, has_password
from monitor.config.secrets import LARGEST_SECRET
from monitor.errors import DatabaseError, UsageError
from monitor.store import engines, leader_lock, migrate, writer
from monitor.store.backup import atomic_file, copy_pages, make_standalone, page_count
from monitor.store.copy import copy_rows, lift_timeouts, require_equal, row_counts
from monitor.store.writer import Engine, Store, Transaction

Begin = Callable[[int], Callable[[int], None]]  # hears how much there is to do; gives what hears of each part done

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows there are in the copy, by table, and where it is, without a password."""

    rows: dict[str, int]
    shown_url: str


def backup(settings: Settings, path: Path, begin: Begin) -> Copied:
    """Write all of the database as it is now to a new SQLite file, while the daemon runs."""
    with atomic_file(path) as part, _reading(settings.database) as reader:
        rows = writer.read(reader, lambda source: _back_up(source, part, begin))
    return Copied(rows, f"sqlite:///{path}")


def copy(settings: Settings, url: str, begin: Begin) -> Copied:
    """Put all of the database into an empty one, whose schema is brought up to date; no daemon may run on either."""
    target = _target(settings.database, url)
    with (
        _reading(settings.database) as reader,
        _alone(settings.database),
        _writing(target) as opened,
        _alone(target),
    ):
        rows = writer.read(reader, lambda source: opened.write_now(lambda tx: _fill(source, tx, begin)))
    return Copied(rows, target.shown_url)


def given_url(url: str | None, file: TextIO | None) -> str:
    """Return the URL to copy to, from the argument or a file; a password in the argument is warned about."""
    if file is None:
        if has_password(url):
            log.warning(
                "--to: everybody here can read this password in the list of processes; use --to-file, or ~/.pgpass"
            )
        return url or ""
    try:
        return file.read(LARGEST_SECRET).strip()
    except UnicodeDecodeError:
        raise UsageError("--to-file: is not one line of text") from None


def _target(source: Database, url: str) -> Database:
    try:
        target = Database(database_url(url), "auto")
    except ValueError as error:
        raise UsageError(f"--to: {error}") from None
    if target.url == source.url:
        raise UsageError("--to: is the database that is configured; expected another one")
    return target


def _back_up(source: Transaction, part: Path, begin: Begin) -> dict[str, int]:
    url = engines.sqlite_url(part)
    if source.dialect.name == "sqlite":
        copy_pages(source, part, begin(page_count(source)))
    else:
        with _writing(Database(url, "auto")) as opened:
            opened.write_now(lambda tx: _fill(source, tx, begin))
    make_standalone(part)
    copy = engines.open_reader(url)
    try:
        writer.read(copy, lambda tx: require_equal(source, tx))
    finally:
        copy.dispose()
    return row_counts(source)


def _fill(source: Transaction, target: Transaction, begin: Begin) -> dict[str, int]:
    for tx in (source, target):
        lift_timeouts(tx)
    for name, count in row_counts(target).items():
        if count:
            raise UsageError(f"--to: is not empty (table {name} has {count:,} rows); expected an empty database")
    rows = row_counts(source)
    copy_rows(source, target, begin(sum(rows.values())))
    return rows


# --- databases --------------------------------------------------------------------------------------------------------


@contextmanager
def _reading(database: Database) -> Iterator[Engine]:
    reader = engines.open_reader(database.url)
    try:
        migrate.require_current(reader)
        yield reader
    finally:
        reader.dispose()


@contextmanager
def _writing(database: Database) -> Iterator[Store]:
    opened = Store(database.url)
    try:
        migrate.upgrade(opened.engine)
        yield opened
    finally:
        opened.close()


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """`DatabaseError` while a daemon runs on it; none begins meanwhile."""
    lock = leader_lock.acquire(database.url)
    if lock is None:
        who = leader_lock.describe_holder(database.url)
        raise DatabaseError(f"{database.shown_url}: a credit-monitor{who} runs on this database; stop it first")
    try:
        yield
    finally:
        lock.release()

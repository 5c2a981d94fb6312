"""Upgrade the schema, one process at a time, in one transaction; a SQLite file is copied before.

A database with a newer schema is left untouched.  Alembic is imported only when there is something to migrate.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from monitor.errors import DatabaseError, SchemaOutdated
from monitor.store import ownership
from monitor.store.engines import location, open_writer, outdated, sqlite_path, transaction, translated
from monitor.store.file_access import create_empty_file
from monitor.store.ownership import revision as _revision
from monitor.store.tables import SCHEMA, compatibility

if TYPE_CHECKING:
    from alembic.config import Config

POSTGRES_LOCK: Final = 0x6372_6564_6974_6D6F  # any number nobody else locks: "creditmo"
LOCK_TIMEOUT: Final = 600  # seconds to wait for another process that is migrating


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What `upgrade` did: the revisions before and after, and the copy of the SQLite file before."""

    before: str | None
    after: str
    copy: Path | None = None


def current(engine: sa.Engine) -> str | None:
    """Return the revision of the database's schema; None when it has none yet."""
    with transaction(engine) as connection:
        return _revision(connection)


def is_current(engine: sa.Engine) -> bool:
    """Whether this version works with the schema: its own, or a newer one that declares itself compatible."""
    with transaction(engine) as connection:
        return _is_compatible(connection, _revision(connection))


def require_current(engine: sa.Engine) -> None:
    """Raise `SchemaOutdated`, which names the command to run, unless `is_current`."""
    with transaction(engine) as connection:
        revision = _revision(connection)
        if _is_compatible(connection, revision):
            return
    raise _too_new(engine, revision) if revision is not None and revision > SCHEMA else outdated(engine.url)


def warnings(engine: sa.Engine) -> list[str]:
    """Return what is wrong with a database that holds our schema, and does not keep it from being used.

    Raise `DatabaseError` where it cannot be used: tables have gone, or are another program's.
    """
    with transaction(engine) as connection:
        if _revision(connection) == SCHEMA:
            ownership.require_whole(connection)
        problem = ownership.encoding_problem(connection)
    return [f"{problem} (`credit-monitor db copy`); until then what it cannot hold is escaped"] if problem else []


def _is_compatible(connection: sa.Connection, revision: str | None) -> bool:
    """Whether this version can work with a schema: during an upgrade it may run beside the next version."""
    if revision is None or revision <= SCHEMA:
        return revision == SCHEMA
    oldest = connection.scalar(sa.select(compatibility.c.oldest).where(compatibility.c.schema == revision))
    return oldest is not None and oldest <= SCHEMA


def upgrade(engine: sa.Engine, *, scripts: Path | None = None) -> Upgrade:
    """Upgrade the schema to the newest revision of `scripts` (default: our own); of several processes one does it."""
    if scripts is None and is_current(engine):
        revision = current(engine) or SCHEMA
        return Upgrade(before=revision, after=revision)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # before it is imported: importing alone logs six lines
    from alembic import command  # noqa: PLC0415  # 100 ms and 10 MiB that an up-to-date start does not pay

    with _alone(engine) as connection:
        config = _config(connection, scripts or _own_scripts())
        before = _revision(connection)
        if before is None and (problem := ownership.encoding_problem(connection)):
            raise DatabaseError(problem)
        head = _head(config, engine, before)
        copy = _copy(engine.url, head) if before not in {None, head} else None
        command.upgrade(config, "head")
        _check_foreign_keys(connection)
    return Upgrade(before, head, copy)


def upgrade_in_child(url: str) -> None:
    """Run `upgrade` in a forked child, so that Alembic's 10 MiB do not stay in a daemon; before threads are started."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_upgrade_and_report(url, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        problem = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise DatabaseError(problem or "the child process that migrates the database died")


def _upgrade_and_report(url: str, writing: int) -> int:
    """Return the exit code of the child; any error is written to the parent."""
    try:
        engine = open_writer(url)
        upgrade(engine)
        engine.dispose()
    except DatabaseError as error:
        os.write(writing, str(error).encode())
    except BaseException as error:  # noqa: BLE001 -- nothing of the parent may run on in the child
        os.write(writing, f"the database could not be migrated: {type(error).__name__}: {error}".encode())
    else:
        return 0
    return 1


def _own_scripts() -> Path:
    """Return `migrations/`: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _config(connection: sa.Connection, scripts: Path) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _head(config: "Config", engine: sa.Engine, before: str | None) -> str:
    """Return the newest revision; `SchemaOutdated` when the database's revision is unknown to this version."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if before is not None and before not in known:
        raise _too_new(engine, before)
    return known[0]


def _too_new(engine: sa.Engine, revision: str) -> SchemaOutdated:
    return SchemaOutdated(
        f"{location(engine.url)}: its schema is {revision}, made by a newer version than this one "
        f"(which knows {SCHEMA}); upgrade credit-monitor"
    )


# --- locks and the copy before ----------------------------------------------------------------------------------------


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a transaction that excludes other migrating processes, committed at the end."""
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            with _foreign_keys_off(connection), connection.begin():
                yield connection
        else:
            with connection.begin():
                _lock_postgres(connection)
                yield connection


@contextmanager
def _foreign_keys_off(connection: sa.Connection) -> Iterator[None]:
    """Suspend foreign keys: rebuilding a table must not delete the rows that refer to it.

    SQLite changes this setting only outside a transaction.
    """
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101  # only a detached connection has none
    wait = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute("PRAGMA foreign_keys = OFF")
    driver.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT * 1000}")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")
        driver.execute(f"PRAGMA busy_timeout = {wait}")


def _lock_postgres(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRES_LOCK})")


def _check_foreign_keys(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite" and (
        broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    ):
        raise DatabaseError(
            f"{location(connection.engine.url)}: rows of {broken[0]} refer to rows of {broken[2]} that do not exist; "
            "nothing was migrated"
        )


def _copy(url: sa.URL, head: str) -> Path | None:
    """Make a consistent copy of a SQLite file beside it, readable by its owner only, complete or not at all."""
    if url.get_backend_name() != "sqlite":
        return None
    path = sqlite_path(url)
    copy = path.with_name(f"{path.name}.before-{head}")
    part = copy.with_name(f"{copy.name}.part")
    try:
        part.unlink(missing_ok=True)
        create_empty_file(part)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        _sync(part)
        part.replace(copy)
        _sync(path.parent)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise DatabaseError(f"{copy}: the copy before migrating cannot be made: {reason}") from None
    return copy


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

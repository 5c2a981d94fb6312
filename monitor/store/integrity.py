"""Check a database without changing it: damage, whether a daemon holds it, and who may read its files."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from monitor.store.engines import location, sqlite_file, transaction
from monitor.store.tables import metadata

STEPS: Final = 10_000  # of SQLite's virtual machine, between two looks at the clock
SUFFIXES: Final = ("", "-wal", "-shm", ".lock")
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def find_damage(engine: sa.Engine, *, within: float) -> str | None:
    """Return the first damage SQLite finds in a file, or None; `TimeoutError` when it is not done `within` seconds."""
    if engine.dialect.name != "sqlite":
        return None
    until = time.monotonic() + within
    with transaction(engine) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101  # only a detached connection has none
        driver.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            result = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        except sa.exc.OperationalError:
            if time.monotonic() > until:
                raise TimeoutError from None
            raise
        finally:
            driver.set_progress_handler(None, 0)
    return None if result == "ok" else " ".join(result.split())


_PRIVILEGES: Final = sa.text(
    "SELECT p || ' on ' || t FROM unnest(CAST(:tables AS text[])) AS t,"
    " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p WHERE NOT has_table_privilege(t, p)"
    " UNION ALL SELECT 'USAGE on ' || s FROM unnest(CAST(:numbered AS text[])) AS t,"
    " pg_get_serial_sequence(t, 'id') AS s WHERE s IS NOT NULL AND NOT has_sequence_privilege(s, 'USAGE')"
)
_READ_ONLY: Final = (
    "SELECT pg_is_in_recovery(), reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'"
)


def write_obstacles(engine: sa.Engine) -> Iterator[tuple[str, str]]:
    """Yield what keeps this user from writing to a PostgreSQL database of our schema, each with what helps."""
    if engine.dialect.name != "postgresql":
        return
    names = list(metadata.tables)
    numbered = [name for name, table in metadata.tables.items() if table.autoincrement_column is not None]
    with transaction(engine) as connection:
        is_standby, is_read_only = connection.exec_driver_sql(_READ_ONLY).one()
        missing = list(connection.execute(_PRIVILEGES, {"tables": names, "numbered": numbered}).scalars())
    where = location(engine.url)
    if is_standby:
        yield f"{where}: may not be written: the server is a standby", "name the primary in database.url"
    elif is_read_only:
        yield (
            f"{where}: may not be written: default_transaction_read_only is on for this role, database or server",
            "ask who set it; ALTER ROLE … (or DATABASE …, or SYSTEM) RESET default_transaction_read_only",
        )
    if missing:
        yield f"{where}: this user lacks {', '.join(missing)}", "GRANT that (docs/database.md, Migrations)"


# --- the files of a SQLite database -----------------------------------------------------------------------------------


def lax_modes(url: str) -> Iterator[str]:
    """Yield what others on this machine may do with a SQLite database's files, each with the command that prevents it.

    A directory named as the state directory must be closed to others; in any other it is enough that nobody else can
    create files.
    """
    path = sqlite_file(url)
    if path is None:
        return
    yield from _lax_directory(path.parent)
    for file in sorted({*(Path(f"{path}{suffix}") for suffix in SUFFIXES), *path.parent.glob(f"{path.name}.before-*")}):
        mode = _mode(file)
        if mode & OTHERS:
            what = "changed" if mode & OTHERS_WRITE else "read"
            yield f"{file} can be {what} by others (mode {mode:03o}); chmod 600 {file}"


def _lax_directory(directory: Path) -> Iterator[str]:
    mode = _mode(directory)
    if lets_in_by_group(directory):
        mode &= ~stat.S_IRWXG
    if mode & OTHERS_WRITE and not mode & stat.S_ISVTX:
        yield f"others can put files into {directory} (mode {mode:03o}); chmod 700 {directory}"
    elif mode & OTHERS and directory.name == "credit-monitor":
        yield f"others can look into {directory} (mode {mode:03o}); chmod 700 {directory}"


def lets_in_by_group(directory: Path) -> bool:
    """Whether a directory's group is how we get in, as in a container.

    Root's group, where any user may run an image, or one that an orchestrator gave to a volume (set-gid, root's).
    """
    try:
        status = directory.stat()
    except OSError:
        return False
    return status.st_gid == 0 or (status.st_uid == 0 != os.geteuid() and bool(status.st_mode & stat.S_ISGID))


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0

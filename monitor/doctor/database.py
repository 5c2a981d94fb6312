"""Look at the database: whether it answers, its schema, its integrity, its files, and whether a daemon runs on it.

Makes no database, and upgrades none.
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor import query
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.doctor.findings import Finding, State, ok, problem, warning
from monitor.doctor.secrets import OTHER_USER
from monitor.errors import DatabaseError, SchemaOutdated
from monitor.store import engines, integrity, migrate
from monitor.store.tables import SCHEMA
from monitor.store.writer import Engine

INTEGRITY_TIMEOUT: Final = 10.0  # seconds
UPGRADE: Final = "credit-monitor db upgrade"


async def look_at_database(settings: Settings) -> list[Finding]:
    """Return findings on the schema, the integrity, and the daemon that runs on it."""
    path = engines.sqlite_file(settings.database.url)
    if path and not await in_thread(lambda: os.path.lexists(path)):
        return [await in_thread(lambda: _missing_file(path))]
    return await in_thread(lambda: list(_look(settings)))


def _missing_file(path: Path) -> Finding:
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    if os.access(folder, os.W_OK | os.X_OK):
        return ok("database", f"SQLite file {path}: there is none yet; `credit-monitor check` or `run` makes it")
    return problem("database", f"SQLite file {path}: cannot be made in {folder} by this user", f"chown {folder}")


def _look(settings: Settings) -> Iterator[Finding]:
    engine = engines.open_reader(settings.database.url)
    try:
        schema = _schema(engine, settings)
        yield schema
        yield from _integrity(engine, settings.database.shown_url)
        path = engines.sqlite_file(settings.database.url)
        if path or schema.state is State.OK:
            yield _daemon(engine, path)
    except DatabaseError as error:
        yield problem("database", str(error), "see that it is there and that this user may use it")
    finally:
        engine.dispose()


def _schema(engine: Engine, settings: Settings) -> Finding:
    version = migrate.current(engine)
    try:
        migrate.require_current(engine)
    except SchemaOutdated as error:
        if settings.database.migrate == "auto" and (version is None or version < SCHEMA):
            state = f"the schema is {version or 'missing'}; the daemon brings it up to date at its next start"
            return warning("database", state, UPGRADE)
        return problem("database", str(error), "see docs/operations.md, Upgrade")
    return ok("database", f"{settings.database.shown_url}: answers, schema {version}")


def _integrity(engine: Engine, shown: str) -> Iterator[Finding]:
    if engine.dialect.name != "sqlite":
        return
    try:
        damage = integrity.find_damage(engine, within=INTEGRITY_TIMEOUT)
    except TimeoutError:
        yield ok(
            "integrity",
            f"no fault found within {INTEGRITY_TIMEOUT:g} s; the file is larger than can be checked in that time",
        )
        return
    if damage:
        yield problem("integrity", f"{shown}: is damaged: {damage}", "restore a backup, or try `sqlite3 FILE .recover`")
    else:
        yield ok("integrity", "SQLite finds no fault in the file")


def _daemon(engine: Engine, path: Path | None) -> Finding:
    if path:
        try:
            is_running = integrity.is_locked(path)
        except OSError:
            return warning("daemon", "this user may not see whether one runs", OTHER_USER)
        return ok("daemon", "one runs on this database" if is_running else "none runs on this database now")
    daemons = query.daemons(engine) or []
    leader = next((daemon for daemon in daemons if daemon.leads_since), None)
    if leader:
        state = f"{leader.host} leads (process {leader.pid}, {leader.version}), {len(daemons) - 1} stand by"
        return ok("daemon", state)
    if daemons:
        return warning("daemon", f"none leads, and {len(daemons)} stand by", "wait for half a minute, and look again")
    return ok("daemon", "none runs on this database now")


# --- files of SQLite --------------------------------------------------------------------------------------------------


def look_at_files(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the permissions and the owner of the files of a SQLite database."""
    what, path = "database files", engines.sqlite_file(settings.database.url)
    if path is None:
        return
    warnings = [warning(what, *_split(lax)) for lax in integrity.lax_modes(settings.database.url)]
    if path.exists():
        warnings += _owner(path)
        if not warnings:
            yield ok(what, f"{path}: the database's files are for their owner alone")
    yield from warnings


def _split(lax: str) -> tuple[str, str]:
    """Return what is wrong with a file's mode, and what to do about it."""
    state, _, todo = lax.partition("; ")
    return state, todo


def _owner(path: Path) -> Iterator[Finding]:
    owner, user = path.stat().st_uid, os.geteuid()
    if user not in {0, owner}:
        state = f"{path} belongs to {_user_name(owner)}, and you are {_user_name(user)}"
        yield warning("database files", state, f"run credit-monitor as {_user_name(owner)}, or as root")
    elif (other := path.parent.stat().st_uid) not in {0, owner}:
        state = f"{path} belongs to {_user_name(owner)}, its directory to {_user_name(other)}"
        yield warning("database files", state, f"chown {_user_name(other)} {path}")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"

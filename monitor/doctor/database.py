"""Whether the database answers, has the right schema, is whole, and whether a daemon holds it.

Refuses to make a database, and to bring one up to date.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor import query
from monitor.config import Settings
from monitor.doctor.findings import Finding, State, apart, ok, problem, warning
from monitor.doctor.secrets import OTHER_USER
from monitor.errors import DatabaseError, SchemaOutdated
from monitor.store import engines, integrity, migrate
from monitor.store.tables import SCHEMA
from monitor.store.writer import Engine

CHECKED_FOR: Final = 10.0  # seconds
UPGRADE: Final = "credit-monitor db upgrade"


async def look_at_database(settings: Settings) -> list[Finding]:
    """Schema, soundness, and who runs on it."""
    path = engines.sqlite_file(settings.database.url)
    if path and not await apart(lambda: os.path.lexists(path)):
        return [await apart(lambda: _not_yet(path))]
    return await apart(lambda: list(_of_database(settings)))


def _not_yet(path: Path) -> Finding:
    place = next(one for one in path.absolute().parents if one.is_dir())
    if os.access(place, os.W_OK | os.X_OK):
        return ok("database", f"SQLite file {path}: there is none yet; `credit-monitor check` or `run` makes it")
    return problem("database", f"SQLite file {path}: cannot be made in {place} by this user", f"chown {place}")


def _of_database(settings: Settings) -> Iterator[Finding]:
    engine = engines.open_reader(settings.database.url)
    try:
        schema = _schema(engine, settings)
        yield schema
        yield from _soundness(engine, settings.database.shown_url)
        path = engines.sqlite_file(settings.database.url)
        if path or schema.state is State.OK:
            yield _daemon(engine, path)
    except DatabaseError as error:
        yield problem("database", str(error), "see that it is there and that this user may use it")
    finally:
        engine.dispose()


def _schema(engine: Engine, settings: Settings) -> Finding:
    found = migrate.current(engine)
    try:
        migrate.require_current(engine)
    except SchemaOutdated as error:
        if settings.database.migrate == "auto" and (found is None or found < SCHEMA):
            said = f"the schema is {found or 'missing'}; the daemon brings it up to date at its next start"
            return warning("database", said, UPGRADE)
        return problem("database", str(error), "see docs/operations.md, Upgrade")
    return ok("database", f"{settings.database.shown_url}: answers, schema {found}")


def _soundness(engine: Engine, shown: str) -> Iterator[Finding]:
    if engine.dialect.name != "sqlite":
        return
    try:
        damage = integrity.find_damage(engine, within=CHECKED_FOR)
    except TimeoutError:
        yield ok(
            "integrity", f"no fault found within {CHECKED_FOR:g} s; the file is larger than can be checked in that time"
        )
        return
    if damage:
        yield problem("integrity", f"{shown}: is damaged: {damage}", "restore a backup, or try `sqlite3 FILE .recover`")
    else:
        yield ok("integrity", "SQLite finds no fault in the file")


def _daemon(engine: Engine, path: Path | None) -> Finding:
    if path:
        try:
            held = integrity.is_locked(path)
        except OSError:
            return warning("daemon", "this user may not see whether one runs", OTHER_USER)
        return ok("daemon", "one runs on this database" if held else "none runs on this database now")
    seen = query.daemons(engine) or []
    leaders = [one for one in seen if one.leads_since]
    if leaders:
        one = leaders[0]
        return ok("daemon", f"{one.host} leads (process {one.pid}, {one.version}), {len(seen) - 1} stand by")
    if seen:
        return warning("daemon", f"none leads, and {len(seen)} stand by", "wait for half a minute, and look again")
    return ok("daemon", "none runs on this database now")

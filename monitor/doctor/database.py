"""Look at the database: whether it answers, its schema, its integrity, its files, and whether a daemon runs on it.

Makes no database, and upgrades none.
"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from monitor import query
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.doctor.findings import Finding, State, ok, problem, warning
from monitor.doctor.secrets import OTHER_USER
from monitor.errors import DatabaseError, SchemaOutdated
from monitor.store import engines, integrity, migrate
from monitor.store.file_access import remedy, user_name
from monitor.store.leader_lock import look_at_file_lock
from monitor.store.tables import SCHEMA
from monitor.store.writer import Engine

Clock = Callable[[], datetime]
INTEGRITY_TIMEOUT: Final = 10.0  # seconds
STANDSTILL_TODO: Final = "systemctl restart credit-monitor, or credit-monitor run; why it ended or hangs is in its log"
UPGRADE: Final = "credit-monitor db upgrade"
UNTRIED_AFTER: Final = timedelta(minutes=2)  # a daemon looks every second
LOG: Final = "its log says why (journalctl -u credit-monitor)"
NO_DAEMON: Final = "none runs on this database now"


async def look_at_database(settings: Settings, clock: Clock) -> list[Finding]:
    """Return findings on the schema, the integrity, and the daemon that runs on it."""
    path = engines.sqlite_file(settings.database.url)
    if path and not await in_thread(lambda: os.path.lexists(path)):
        return [await in_thread(lambda: _absent_file(path))]
    return await in_thread(lambda: list(_look(settings, clock)))


def _absent_file(path: Path) -> Finding:
    if who := remedy(path, write=True):
        whose, _, todo = who.partition(": ")
        return problem("database", f"SQLite file {path}: cannot be seen or made by this user; {whose}", todo)
    return ok("database", f"SQLite file {path}: there is none yet; `credit-monitor check` or `run` makes it")


def _look(settings: Settings, clock: Clock) -> Iterator[Finding]:
    engine = engines.open_reader(settings.database.url)
    try:
        schema = _schema(engine, settings)
        yield schema
        for warning_ in migrate.warnings(engine) if schema.state is State.OK else ():
            yield warning("database", *_split(warning_))
        if schema.state is State.OK:
            yield from (problem("writing", found, todo) for found, todo in integrity.write_obstacles(engine))
        yield from _integrity(engine, settings.database.shown_url)
        path = engines.sqlite_file(settings.database.url)
        if path or schema.state is State.OK:
            daemon, runs = _daemon(engine, path)
            standstill = (
                query.standstill_line(engine, every=settings.shortest_every, limits=settings.rate_limits, at=clock())
                if schema.state is State.OK
                else None
            )
            yield problem("daemon", standstill, STANDSTILL_TODO) if standstill else daemon
            if schema.state is State.OK:
                yield from _outbox(engine, clock())
                yield from _recipients(engine)
                if runs and not standstill:
                    yield from _recorded(engine, settings, clock())
    except DatabaseError as error:
        found, _, todo = str(error).rpartition("; ")  # what is wrong; what helps, where the error knows it
        yield problem(
            "database", found or todo, todo if found else "see that it is there and that this user may use it"
        )
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


def _recipients(engine: Engine) -> Iterator[Finding]:
    """Name those of a channel that do not get what others of it got."""
    for queue in query.channels(engine, since=datetime.max.replace(tzinfo=UTC)):
        for target in queue.missing:
            state = f"{target.name} does not get what others of the channel get: {target.error}"
            todo = "take it out of the channel's URL, or mend it on the service's side"
            yield warning(f"channel {queue.channel}", state, todo)


def _recorded(engine: Engine, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Whether the daemon that runs has recorded anything lately."""
    at, limit = query.recorded_at(engine), 3 * settings.shortest_every + settings.poll.deadline
    if at is not None and now - at > limit:
        yield problem("recording", f"a daemon runs, and nothing has been recorded since {at:%Y-%m-%d %H:%M}Z", LOG)


def _outbox(engine: Engine, now: datetime) -> Iterator[Finding]:
    """What is due, and was never tried as far as is recorded."""
    down = {state.name for state in query.down_channels(engine)}
    for queue in query.channels(engine, since=now):
        since = queue.untried_since
        if since is not None and now - since > UNTRIED_AFTER and queue.channel not in down:
            found = f"{queue.channel}: {queue.untried} waiting since {since:%Y-%m-%d %H:%M}Z, no attempt recorded"
            yield problem("outbox", found, f"start the daemon; where it runs it cannot write what becomes of it: {LOG}")


def _daemon(engine: Engine, path: Path | None) -> tuple[Finding, bool]:
    """Return what is known of a daemon, and whether one runs."""
    if path:
        try:
            holder = look_at_file_lock(path).holder
        except OSError:
            return warning("daemon", "this user may not see whether one runs", OTHER_USER), False
        found = f"one runs on this database{holder}" if holder else NO_DAEMON
        return ok("daemon", found), holder is not None and holder.is_daemon
    daemons = query.daemons(engine) or []
    leader = next((daemon for daemon in daemons if daemon.leads_since), None)
    if leader:
        state = f"{leader.host} leads (process {leader.pid}, {leader.version}), {len(daemons) - 1} stand by"
        return ok("daemon", state), True
    if daemons:
        state = f"none leads, and {len(daemons)} stand by"
        return warning("daemon", state, "wait for half a minute, and look again"), False
    return ok("daemon", NO_DAEMON), False


# --- files of SQLite --------------------------------------------------------------------------------------------------


def look_at_files(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the permissions and the owner of the files of a SQLite database."""
    what, path = "database files", engines.sqlite_file(settings.database.url)
    if path is None or remedy(path, write=True):  # then `look_at_database` says whose it is
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
        state = f"{path} belongs to {user_name(owner)}, and you are {user_name(user)}"
        yield warning("database files", state, f"run credit-monitor as {user_name(owner)}, or as root")
    elif user == owner and integrity.lets_in_by_group(path.parent):
        return  # a container's directory is made for any user
    elif (other := path.parent.stat().st_uid) not in {0, owner}:
        state = f"{path} belongs to {user_name(owner)}, its directory to {user_name(other)}"
        yield warning("database files", state, f"chown {user_name(other)} {path}")

"""Open the database, SQLite or PostgreSQL, with safe settings, and translate its errors.

One engine writes (from one thread), another one only reads and cannot write.  Any exception out of connect, execute,
fetch or commit, of whatever class, is a `DatabaseError`.  No error message contains a password, a query or its
parameters.
"""

import logging
import os
import re
import socket
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from monitor.errors import DatabaseError, MonitorError, SchemaOutdated
from monitor.store import sessions
from monitor.store.file_access import create_directory, create_empty_file, remedy
from monitor.store.sqlite_file import file_id
from monitor.store.tables import SCHEMA
from monitor.text import mask
from monitor.text.redaction import redact, remember

LOCK_WAIT: Final = 10  # seconds to wait for another writer, and for a connection to be opened
STATEMENT_LIMIT: Final = 60  # seconds for one statement on PostgreSQL
IDLE_LIMIT: Final = 10  # seconds that a writer may leave a transaction idle: a stopped process must not keep its locks
SILENT_AFTER: Final = STATEMENT_LIMIT + 15  # seconds: a server that has not ended a statement at its limit hangs
LONGEST_STEP: Final = 2.5 * STATEMENT_LIMIT  # seconds: a lost server is detected, reconnecting, one statement
READERS: Final = 4  # queries at the same time

# A server that vanishes is detected within a minute, not after the kernel's quarter of an hour.
_POSTGRES_DEFAULTS: Final = {
    "application_name": "credit-monitor",
    "connect_timeout": str(LOCK_WAIT),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def open_writer(url: str) -> sa.Engine:
    """Return the engine that writes; a missing SQLite file is created (0600), and its directory (0700)."""
    target = _parse(url)
    if target.get_backend_name() == "sqlite":
        path = sqlite_path(target)
        _make_file(path)
        return _open_sqlite(target, connect=lambda: _connect_writer(path), begin="BEGIN IMMEDIATE", connections=1)
    return _open_postgres(target, read_only=False, connections=2)


def open_reader(url: str) -> sa.Engine:
    """Return an engine that only reads, each transaction from one state of the database; it creates no file."""
    target = _parse(url)
    if target.get_backend_name() == "sqlite":
        path = sqlite_path(target)
        return _open_sqlite(target, connect=lambda: _connect_reader(path), begin="BEGIN", connections=READERS)
    return _open_postgres(target, read_only=True, connections=READERS)


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give one transaction, committed at the end; errors of the database leave it as `DatabaseError`."""
    with translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Translate what comes out of the database inside, whatever its class, to a `DatabaseError` of one line.

    What the caller's own code raises in between passes as it is.
    """
    try:
        yield
    except MonitorError:
        raise
    except Exception as error:
        if not _is_of_database(error, engine):
            raise
        raise _look_closer(explain(error, engine.url), error, engine) from None


_LIBRARIES: Final = ("sqlalchemy", "psycopg", "psycopg_binary", "psycopg_c")
_BOUNDARY: Final = ("transaction", "translated")  # functions of this file that the caller's code runs in


def _is_of_database(error: Exception, engine: sa.Engine) -> bool:
    """Whether an exception came out of the database layer.

    By its class; else because a library of that layer was running: a type processor, a codec, a socket may raise
    anything.
    """
    if isinstance(error, (sa.exc.SQLAlchemyError, sqlite3.Error, engine.dialect.loaded_dbapi.Error)):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    boundary = [n for n, frame in enumerate(frames) if _is_boundary(frame.f_code.co_filename, frame.f_code.co_name)]
    inside = frames[boundary[-1] + 1 :] if boundary else frames
    return any(str(frame.f_globals.get("__name__", "")).partition(".")[0] in _LIBRARIES for frame in inside)


def _is_boundary(file: str, function: str) -> bool:
    return file == __file__ and function in _BOUNDARY


def location(url: sa.URL) -> str:
    """Return where the database is, without user and password."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {url.database}"
    host = url.host or url.normalized_query.get("host", ("local socket",))[0]
    return f"PostgreSQL database {url.database or ''} at {host}" + (f":{url.port}" if url.port else "")


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_path(url: sa.URL) -> Path:
    """Return the file of a SQLite database; `DatabaseError` for one in memory, which would keep nothing."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseError("database.url: a SQLite database needs a file: sqlite:////var/lib/credit-monitor/name.db")
    return Path(url.database)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, whether it exists or not; None for PostgreSQL."""
    target = _parse(url)
    return sqlite_path(target) if target.get_backend_name() == "sqlite" else None


def _parse(url: str) -> sa.URL:
    """Return the URL with the driver we use; an error does not quote it, for it may contain a password."""
    remember(url)
    try:
        target = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        target = None
    drivers = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    driver = target and drivers.get(target.drivername.removesuffix("+psycopg"))
    if target is None or driver is None:
        raise DatabaseError("database.url: expected sqlite:////path/to/file.db or postgresql://user@host/name")
    return target.set(drivername=driver)


# --- SQLite -----------------------------------------------------------------------------------------------------------


def _make_file(path: Path) -> None:
    try:
        create_directory(path.parent)
        create_empty_file(path)
    except FileExistsError:
        return
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise DatabaseError(
            f"SQLite file {path}: cannot be created in {path.parent}: {reason}{_who_may(path)}"
        ) from None


def _who_may(path: Path) -> str:
    """Return who may use a file that this user may not, to stand behind what went wrong."""
    who = remedy(path, write=True)
    return f"; {who}" if who else ""


def _open_sqlite(url: sa.URL, *, connect: Callable[[], sqlite3.Connection], begin: str, connections: int) -> sa.Engine:
    path = sqlite_path(url)
    engine = sa.create_engine(
        url,
        creator=connect,
        poolclass=sa.QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=LOCK_WAIT,
        hide_parameters=True,
    )

    # The driver's own way to begin a transaction loses updates and leaves migrations half applied.
    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    # A file that was replaced, by a restored backup for example, is opened again.
    @sa.event.listens_for(engine, "connect")
    def _remember(_connection: object, record: Any) -> None:
        record.info["file"] = file_id(path)

    @sa.event.listens_for(engine, "checkout")
    def _compare(_connection: object, record: Any, _proxy: object) -> None:
        if (current := file_id(path)) is not None and current != record.info["file"]:
            raise sa.exc.DisconnectionError

    return engine


def _connect_sqlite(path: Path) -> sqlite3.Connection:
    """Open an existing file; `mode=rw` creates none.  The pool gives a connection to one thread at a time."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=LOCK_WAIT, isolation_level=None, check_same_thread=False
    )


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = _connect_sqlite(path)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    connection = _connect_sqlite(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def _open_postgres(url: sa.URL, *, read_only: bool, connections: int) -> sa.Engine:
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of a lost connection, beside our own message
    try:
        engine = sa.create_engine(
            # Before the first answer: without it the server's encoding, or the role's, decides what a text is.
            url.set(query={**_POSTGRES_DEFAULTS, **url.query, "client_encoding": "utf8"}),
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=LOCK_WAIT,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError:
        raise DatabaseError("PostgreSQL needs psycopg: install credit-monitor[postgres]") from None
    # Whatever the role or the database sets: these are what the program relies on.
    settings = (
        "SET client_encoding = 'UTF8'; SET datestyle = 'ISO'; SET TIME ZONE 'UTC'; "
        "SET standard_conforming_strings = on; "
        f"SET statement_timeout = '{STATEMENT_LIMIT}s'; "
        f"SET lock_timeout = '{LOCK_WAIT}s'; "
        # An administrator's read-only is respected: a writer leaves it as it is.
        + ("SET default_transaction_read_only = on; " if read_only else "")
        # The server would notice a cut connection after two hours.
        + "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
        + ("" if read_only else f"; SET idle_in_transaction_session_timeout = '{IDLE_LIMIT}s'")
    )

    # Set after connecting: a connection pooler in between rejects them as options of the connection.
    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.execute(settings)
        connection.commit()
        sessions.require_own_session(connection, location(url))
        sessions.escape_what_it_cannot_hold(connection)

    return engine


def sever(connection: Any) -> None:
    """Shut down a connection's socket, from any thread: whoever waits on it gets an error.  SQLite has none."""
    if getattr(connection, "closed", True):
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


# --- errors -----------------------------------------------------------------------------------------------------------

_SQLITE_OF_ALL: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_NOMEM,
    }
)
# Classes of SQLSTATE: connection, read-only, login, deadlock, resources, locks, operator, input and output.
_POSTGRES_OF_ALL: Final = frozenset({"08", "25", "28", "3D", "40", "53", "55", "57", "58"})

_SQLITE_PROBLEMS: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another program",
    sqlite3.SQLITE_LOCKED: "is locked by another program",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "may not be written (it or its directory is read-only)",
    sqlite3.SQLITE_PERM: "may not be read or written",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup, or try `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database",
    sqlite3.SQLITE_IOERR: "could not be read or written (input/output error: is the disk full or failing?)",
    sqlite3.SQLITE_NOMEM: "not enough memory",
}

_POSTGRES_PROBLEMS: Final = {  # SQLSTATE
    "25006": "may not be written: its transactions are read-only (default_transaction_read_only, set for the role, "
    "the database or the server by an administrator; or a standby)",
    "28000": "the server does not accept this user",
    "28P01": "the server does not accept this user and password",
    "3D000": "the server has no database of this name",
    "40P01": "is in use by another program (deadlock)",
    "53100": "the server's disk is full",
    "53200": "the server has not enough memory",
    "53300": "the server has no connection left",
    "55P03": f"is locked by another program (waited {LOCK_WAIT} s)",
    "57P01": "the server is stopping",
    "57P02": "the server is stopping",
    "57P03": "the server is starting or stopping",
    "57014": f"a query took longer than {STATEMENT_LIMIT} s",
}

# What the server says of these names objects, and no values.
_OF_OBJECTS: Final = {  # SQLSTATE -> what is wrong, and what helps
    "42501": (
        "this user may not do that there (missing privilege: {said})",
        "as the owner: GRANT what is missing (docs/database.md, Migrations)",
    ),
    "3F000": (
        "there is no schema for its tables ({said})",
        "CREATE SCHEMA, or ALTER ROLE … SET search_path to one that is there",
    ),
    "42P07": ("{said}", "another program's? choose another database, or a schema of its own (docs/database.md)"),
}

_CONNECT_PROBLEMS: Final = (  # patterns of what the server or libpq says where there is no SQLSTATE
    (r"password authentication failed", _POSTGRES_PROBLEMS["28P01"]),
    (r"no password supplied", "the server asks for a password and none is configured"),
    (r"pg_hba\.conf", "the server does not let this user connect from here (pg_hba.conf)"),
    (r"role .* does not exist", _POSTGRES_PROBLEMS["28000"]),
    (r"database .* does not exist", _POSTGRES_PROBLEMS["3D000"]),
    (r"too many (clients|connections)|connection slots", _POSTGRES_PROBLEMS["53300"]),
    (r"starting up|shutting down", _POSTGRES_PROBLEMS["57P03"]),
    (
        r"invalid connection option|invalid .* value",
        "database.url: holds an option or a value the driver does not know",
    ),
    (r"timeout expired|timed out", f"no answer within {LOCK_WAIT} s"),
    (r"connection refused", "cannot be reached: connection refused (is it running there?)"),
    (r"resolve|translate host|name or service", "cannot be reached: unknown host"),
    (r"no such file", "cannot be reached: no such socket (is it running?)"),
    (r"certificate|ssl", "no encrypted connection could be agreed on (sslmode, certificate)"),
)
_NO_SUCH: Final = frozenset({"42P01", "42703"})  # table, column
_OF_VALUES: Final = "22"  # the class of SQLSTATEs about values


def explain(error: Exception, url: sa.URL) -> DatabaseError:
    """Return the `DatabaseError` that says in one line what is wrong and where."""
    cause = getattr(error, "orig", None) or error
    if isinstance(error, sa.exc.TimeoutError):
        return DatabaseError(f"{location(url)}: all connections are busy", concerns_all=True)
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause, url)
    if hasattr(cause, "sqlstate"):
        return _explain_postgres(cause, url)
    if isinstance(cause, (ValueError, ArithmeticError)):
        return _cannot_hold(cause, url)
    return DatabaseError(f"{location(url)}: {type(cause).__name__}")


def _cannot_hold(cause: Exception, url: sa.URL) -> DatabaseError:
    return DatabaseError(f"{location(url)}: a value that it cannot hold ({type(cause).__name__})")


def _explain_sqlite(cause: sqlite3.Error, url: sa.URL) -> DatabaseError:
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    path = Path(url.database or "")
    if code == sqlite3.SQLITE_CANTOPEN:
        if who := remedy(path, write=True):
            return DatabaseError(f"{location(url)}: may not be used by this user; {who}")
        if path.exists():
            return DatabaseError(f"{location(url)}: cannot be opened (a file this user may read and write is expected)")
        return DatabaseError(f"{location(url)}: there is none yet; `credit-monitor check` or `run` makes it")
    if str(cause).startswith(("no such table", "no such column")):
        return outdated(url)
    who = _who_may(path) if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM} else ""
    problem = _SQLITE_PROBLEMS.get(code, redact(str(cause)))
    return DatabaseError(f"{location(url)}: {problem}{who}", concerns_all=code in _SQLITE_OF_ALL)


def _explain_postgres(cause: Any, url: sa.URL) -> DatabaseError:
    """`cause` is a `psycopg.Error`; the server's text may quote values, so that mostly only its SQLSTATE is used."""
    state = cause.sqlstate
    if state in _NO_SUCH:
        return outdated(url)
    if state in _OF_OBJECTS:
        problem, remedy = _OF_OBJECTS[state]
        said = redact(mask(str(cause.diag.message_primary)))
        return DatabaseError(f"{location(url)}: {problem.format(said=said)}; {remedy}")
    if state == "08P01" and "pooling" in str(cause):  # pgbouncer's own words
        return DatabaseError(f"{location(url)}: {sessions.SHARED}", concerns_all=True)
    if state is not None and state.startswith(_OF_VALUES):
        return _cannot_hold(cause, url)
    if state is not None:
        problem = _POSTGRES_PROBLEMS.get(state, f"{type(cause).__name__} (SQLSTATE {state})")
        return DatabaseError(f"{location(url)}: {problem}", concerns_all=state[:2] in _POSTGRES_OF_ALL)
    if type(cause).__name__ in {"DataError", "NotSupportedError", "ProgrammingError"}:  # the driver's own
        return _cannot_hold(cause, url)
    text = str(cause).lower()
    problems = (problem for pattern, problem in _CONNECT_PROBLEMS if re.search(pattern, text))
    problem = next(problems, "the connection failed or was lost")
    return DatabaseError(f"{location(url)}: {problem}", concerns_all=True)


def outdated(url: sa.URL) -> SchemaOutdated:
    """Return the error for a database whose tables are missing or older than this version."""
    return SchemaOutdated(
        f"{location(url)}: its schema is missing or older than this version; run `credit-monitor db upgrade`"
    )


def gone(url: sa.URL, names: str, revision: str) -> DatabaseError:
    """Return the error for tables that are missing from a schema that should have them."""
    return DatabaseError(
        f"{location(url)}: {names} has gone, or this user may not see it, though the schema says {revision}; "
        "`db upgrade` cannot help: put a backup back (docs/operations.md, Backup)"
    )


def _look_closer(problem: DatabaseError, error: Exception, engine: sa.Engine) -> DatabaseError:
    """Return a better answer than "upgrade" where the schema is up to date, and a table of it is missing."""
    if not isinstance(problem, SchemaOutdated):
        return problem
    try:
        with engine.connect() as connection:
            revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    except Exception:  # noqa: BLE001 -- then it has none
        return problem
    if revision is None or str(revision) < SCHEMA:
        return problem
    return gone(engine.url, _missing_object(getattr(error, "orig", None) or error), str(revision))


def _missing_object(cause: Any) -> str:
    """Return what the server or SQLite misses: `table x`; their words for this hold names and no values."""
    said = str(cause.diag.message_primary) if hasattr(cause, "diag") else str(cause)
    name = re.search(r'"([^"]+)"|: (\S+)$', said)
    what = "column" if getattr(cause, "sqlstate", "") == "42703" or "no such column" in said else "table"
    return f"its {what} {redact(mask(name[1] or name[2]))}" if name else f"a {what} of it"

"""What a PostgreSQL connection has to be: a session of its own, whose texts the server can hold."""

import codecs
import select
from contextlib import suppress
from typing import Any, Final

from monitor.errors import DatabaseError
from monitor.text import escape_beyond

ROUNDS: Final = 3
ANSWER_TIMEOUT: Final = 2.0  # seconds: a pooler that has no session left lets a second connection wait
_PID: Final = "SELECT pg_backend_pid()"
SHARED: Final = (
    "a connection pooler (pgbouncer?) shares its sessions between transactions, so that settings and locks get lost; "
    "use its pool_mode = session, or the server's own port (often 5432)"
)

# --- a session of its own ---------------------------------------------------------------------------------------------


def require_own_session(connection: Any, location: str) -> None:
    """Raise `DatabaseError` where a pooler between us and the server gives each transaction another session.

    A pooler is recognised by the process that answers: it is not the one the connection was made to.  Whether it shares
    sessions shows with a second connection, which is then answered by the same process.
    """
    pid = _ask(connection)
    if pid == connection.info.backend_pid:
        return
    import psycopg  # noqa: PLC0415 -- only PostgreSQL needs it

    try:
        second = psycopg.connect(connection.info.dsn, password=connection.info.password or None)
    except psycopg.Error:
        return  # the pooler takes no more: unknown
    try:
        for _ in range(ROUNDS):
            if _ask_briefly(second) == pid or _ask(connection) != pid:
                raise DatabaseError(f"{location}: {SHARED}") from None
    finally:
        second.close()


def _ask(connection: Any) -> int:
    """Return the server's process that answers a transaction of its own."""
    (pid,) = connection.execute(_PID).fetchone()
    connection.commit()
    return int(pid)


def _ask_briefly(connection: Any) -> int | None:
    """Return the same; None where nobody answers in time."""
    raw = connection.pgconn
    raw.send_query(_PID.encode())
    raw.flush()
    pid = None
    while select.select([connection.fileno()], [], [], ANSWER_TIMEOUT)[0]:
        raw.consume_input()
        if raw.is_busy():
            continue
        while result := raw.get_result():
            with suppress(TypeError, ValueError):
                pid = int(result.get_value(0, 0))
        break
    return pid


# --- texts ------------------------------------------------------------------------------------------------------------


def holds_every_text(encoding: str) -> bool:
    """Return whether a database of this encoding can hold every character."""
    return encoding.upper() in {"UTF8", "UTF-8", "UNICODE"}


def escape_what_it_cannot_hold(connection: Any) -> None:
    r"""Write what the server's encoding cannot hold as `\u2026`, on this connection, in every text."""
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    if holds_every_text(encoding):
        return
    from psycopg.types.string import StrDumper  # noqa: PLC0415 -- only such a database needs it

    codec = _codec(encoding)

    class EscapingDumper(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(escape_beyond(obj, codec) if not obj.isascii() else obj)

    connection.adapters.register_dumper(str, EscapingDumper)


def _codec(encoding: str) -> str:
    """Return Python's codec of a PostgreSQL encoding; ASCII, which all have in common, where it is not known."""
    name = encoding.lower().replace("win", "cp") if encoding.upper().startswith("WIN") else encoding
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"

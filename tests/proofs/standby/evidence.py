"""What the proof's own triggers write down in the database: every term, and under which each alert was written."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from monitor.errors import DatabaseError
from tests.support.server import Server

TRIGGERS = """
CREATE TABLE proof_terms (term bigint, daemon text, at timestamptz);
CREATE TABLE proof_writes (what text, id text, at timestamptz, writer text, term bigint, daemon text);
CREATE FUNCTION proof_term() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO proof_terms VALUES (NEW.term, NEW.daemon, clock_timestamp()); RETURN NULL; END $$;
CREATE FUNCTION proof_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO proof_writes SELECT TG_TABLE_NAME || ' ' || lower(TG_OP), NEW.id::text, clock_timestamp(),
        current_setting('application_name'), term, daemon FROM leases; RETURN NULL; END $$;
CREATE TRIGGER proof AFTER UPDATE OF term ON leases FOR EACH ROW EXECUTE FUNCTION proof_term();
-- Deferred: they see who leads at the very end of the transaction, as its commit begins.
CREATE CONSTRAINT TRIGGER proof AFTER INSERT OR UPDATE ON incidents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION proof_write();
CREATE CONSTRAINT TRIGGER proof AFTER INSERT ON notifications
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION proof_write();
"""
IN_TRANSACTION = """
SELECT pid FROM pg_stat_activity WHERE application_name = %s AND backend_xid IS NOT NULL
    AND (state = 'idle in transaction' OR (state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock'))
"""
TWICE = """
SELECT count(*) FROM incidents AS a JOIN incidents AS b USING (subject, subject_id, rule)
WHERE a.id < b.id AND (a.resolved_at IS NULL OR a.resolved_at > b.opened_at)
"""
DISAGREEING = """
SELECT count(*) FROM (SELECT organization_id, sum(topped_up) - sum(used) AS change, sum(snapshots) AS snapshots
    FROM balance_days GROUP BY organization_id) AS days
JOIN (SELECT DISTINCT organization_id,
        first_value(credits) OVER (PARTITION BY organization_id ORDER BY taken_at DESC)
        - first_value(credits) OVER (PARTITION BY organization_id ORDER BY taken_at) AS change,
        count(*) OVER (PARTITION BY organization_id) AS snapshots FROM snapshots) AS facts USING (organization_id)
WHERE (days.change, days.snapshots) IS DISTINCT FROM (facts.change, facts.snapshots)
"""
CLOSE = """
SELECT count(*) FROM (SELECT taken_at - lag(taken_at) OVER (PARTITION BY organization_id ORDER BY taken_at) AS since
    FROM snapshots) AS pairs WHERE since < interval '1 second'
"""


@dataclass(frozen=True)
class TermRow:
    """A lease that was taken; `pid` is its holder's."""

    term: int
    pid: int
    at: datetime


class Evidence:
    """Asks a database with the triggers; `DatabaseError` while it is away."""

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self.ask(TRIGGERS)

    def ask(self, question: str, *parameters: object) -> list[Any]:
        """The rows that a question gives; on one connection, opened anew when it was cut."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    host=self._server.sockets, user="postgres", dbname=self._database, autocommit=True
                )
            cursor = self._connection.execute(question, parameters or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            self.close()
            raise DatabaseError(str(error)) from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def terms(self) -> list[TermRow]:
        """Every lease that was taken, in order."""
        rows = self.ask("SELECT term, daemon, at FROM proof_terms ORDER BY at")
        return [TermRow(term, _pid(daemon), at) for term, daemon, at in rows]

    def writes(self) -> list[tuple[str, str, int]]:
        """Every write of an alert: what, the writer's application name, and who led (a process) at its commit."""
        rows = self.ask("SELECT what, writer, daemon FROM proof_writes ORDER BY at")
        return [(what, writer, _pid(daemon)) for what, writer, daemon in rows]

    def leader(self) -> int | None:
        """The process that holds a valid lease."""
        rows = self.ask("SELECT daemon FROM leases WHERE expires_at > clock_timestamp()")
        return _pid(rows[0][0]) if rows else None

    def term(self) -> int:
        return int(self.ask("SELECT term FROM leases")[0][0])

    def checked_at(self) -> datetime | None:
        """When the last check ended of those that are recorded."""
        at: datetime | None = self.ask("SELECT max(checked_at) FROM organizations")[0][0]
        return at

    def is_writing(self, name: str) -> bool:
        """Whether a daemon has a transaction open that has written."""
        return bool(self.ask(IN_TRANSACTION, name))

    def wait_until_writing(self, name: str, within: float) -> bool:
        """Wait, without a pause, for the middle of a transaction."""
        end = time.monotonic() + within
        while not self.is_writing(name):
            if time.monotonic() > end:
                return False
        return True

    def cut(self, names: list[str]) -> int:
        """End the connections of these daemons, on the server's side; return how many there were."""
        question = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = ANY(%s)"
        return int(self.ask(question, names)[0][0])

    def count(self, question: str) -> int:
        return int(self.ask(question)[0][0])


def _pid(daemon: str) -> int:
    """The process in a daemon's id; 0 for a lease that was given back."""
    return int(daemon.split(".")[1]) if daemon else 0

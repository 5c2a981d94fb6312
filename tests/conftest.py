"""A real SQLite and a real PostgreSQL for every test that asks for a database, and no network but loopback.

The PostgreSQL comes from a wheel, runs as long as the tests do and listens on a Unix socket alone.  Each test gets a
database of its own, a copy of a migrated one.
"""

import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command import Shell
from examples import register
from server import Server, running_server, upgraded
from story import START, THREE, Story

from monitor.store import engines, pruning
from monitor.store.engines import open_reader, open_writer

# A shell lets what it runs in the background ignore SIGINT; what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
register()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_server(within=_memory()) as server:
        server.execute("CREATE DATABASE migrated TEMPLATE template0")
        upgraded(server.url("migrated"))
        yield server


def _memory() -> Path | None:
    """A file system in memory, three times as quick as a disk, where there is one with a gigabyte free."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "template.db"
    upgraded(f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def stopped_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stop a test for longer than a daemon may leave a transaction idle."""
    monkeypatch.setattr(engines, "IDLE_LIMIT", 600)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path / 'state' / 'monitor.db'}"


@pytest.fixture
def empty_postgres_url(postgres: Server) -> Iterator[str]:
    """A PostgreSQL database without any table."""
    url = postgres.new()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn, without schema."""
    return str(request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """A migrated SQLite database."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = shutil.copy(migrated_sqlite, tmp_path / "state" / "monitor.db")
    path.chmod(0o600)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """A migrated PostgreSQL database."""
    url = postgres.new(template="migrated")
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn, migrated: a test that asks for this runs twice."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """The writer of `database_url`."""
    writer = open_writer(database_url)
    yield writer
    writer.dispose()


@pytest.fixture
def reader(database_url: str) -> Iterator[sa.Engine]:
    """The reader of `database_url`."""
    reading = open_reader(database_url)
    yield reading
    reading.dispose()


@pytest.fixture
async def story(tmp_path: Path, database_url: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Story]:
    """The rooms put together on each kind of database; nothing may go wrong in them unseen."""
    story = Story(tmp_path, database_url).begin()
    yield story
    await story.end()
    assert not [record for record in caplog.get_records("call") if record.exc_info]


@pytest.fixture
async def desk(tmp_path: Path, database_url: str) -> AsyncIterator[Story]:
    """A story of three organizations of two accounts, which is told batch by batch."""
    story = Story(tmp_path, database_url, START).begin(THREE)
    yield story
    await story.end()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old rows are removed three in a transaction."""
    monkeypatch.setattr(pruning, "SLICE", 3)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line, in an empty home."""
    (tmp_path / "home").mkdir()
    return Shell(tmp_path / "home", monkeypatch, capsys)


class Outage:
    """Takes a database away from its writer, and gives it back."""

    def __init__(self, server: Server | None) -> None:
        self._server = server  # None: SQLite

    def begin(self, writer: sa.Engine) -> None:
        self._set(writer, away=True)

    def end(self, writer: sa.Engine) -> None:
        self._set(writer, away=False)

    def _set(self, writer: sa.Engine, *, away: bool) -> None:
        if self._server is None:
            # The pool holds one connection: from now on it may not write.
            connection = writer.raw_connection()
            connection.cursor().execute(f"PRAGMA query_only = {'ON' if away else 'OFF'}")
            connection.close()
            return
        name = writer.url.database
        self._server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {'false' if away else 'true'}")
        if away:
            self._server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


@pytest.fixture
def outage(database_url: str, request: pytest.FixtureRequest) -> Outage:
    """Outages of `database_url`."""
    return Outage(request.getfixturevalue("postgres") if database_url.startswith("postgresql") else None)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection from the test's own process to anywhere else fails at once."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise OSError(f"tests use no network but loopback, not {address[0]}")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback

"""The databases of one run: SQLite files in a folder, PostgreSQL databases of a server from a wheel."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.history.fill import Took, fill
from benchmarks.history.year import Year
from tests.support.server import Server


@dataclass(frozen=True)
class Stage:
    """Both databases of one kind, filled."""

    kind: str
    url: str
    plain_url: str
    folder: Path
    server: Server | None = None  # of PostgreSQL

    @contextmanager
    def copy(self) -> Iterator[str]:
        """A copy of ours that may be changed."""
        if self.kind == "sqlite":
            with self.empty() as url:
                shutil.copyfile(_path(self.url), _path(url))
                yield url
        else:
            with self._database(sa.make_url(self.url).database) as url:
                yield url

    @contextmanager
    def empty(self) -> Iterator[str]:
        """A new database without a schema."""
        if self.kind == "sqlite":
            path = self.folder / "other.db"
            yield f"sqlite:///{path}"
            for left in self.folder.glob("other.db*"):
                left.unlink()
        else:
            with self._database("template0") as url:
                yield url

    @contextmanager
    def _database(self, template: str | None) -> Iterator[str]:
        assert self.server is not None
        self.server.execute("DROP DATABASE IF EXISTS other WITH (FORCE)")
        self.server.execute(f"CREATE DATABASE other TEMPLATE {template}")
        yield self.server.url("other")
        self.server.execute("DROP DATABASE other WITH (FORCE)")


def _path(url: str) -> Path:
    return Path(sa.make_url(url).database or "")


@contextmanager
def stage(kind: str, keep: Path | None, year: Year, took: Took) -> Iterator[Stage]:
    """Make what is missing; what is in `keep` already is used again."""
    folder = keep or Path(tempfile.mkdtemp(prefix="cm-history-"))  # short: a socket's path may have 107 bytes
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # started by root, the server runs as another user
    try:
        if kind == "sqlite":
            yield _on_sqlite(folder, year, took)
        else:
            with _server(folder / "pg") as server:
                yield _on_postgres(folder, server, year, took)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _on_sqlite(folder: Path, year: Year, took: Took) -> Stage:
    ours, plain, done = folder / "ours.db", folder / "plain.db", folder / "sqlite.done"
    if not done.exists():
        for left in (*folder.glob("ours.db*"), *folder.glob("plain.db*")):
            left.unlink()
        fill(f"sqlite:///{ours}", f"sqlite:///{plain}", year, took)
        done.touch()
    return Stage("sqlite", f"sqlite:///{ours}", f"sqlite:///{plain}", folder)


def _on_postgres(folder: Path, server: Server, year: Year, took: Took) -> Stage:
    done = folder / "postgresql.done"
    if not done.exists():
        for name in ("ours", "plain"):
            server.execute(f"DROP DATABASE IF EXISTS {name}")
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        fill(server.url("ours"), server.url("plain"), year, took)
        done.touch()
    return Stage("postgresql", server.url("ours"), server.url("plain"), folder, server)


@contextmanager
def _server(directory: Path) -> Iterator[Server]:
    directory.mkdir(mode=0o755, exist_ok=True)
    shutil.rmtree(directory / "runtime", ignore_errors=True)
    server = Server(directory)
    try:
        yield server
    finally:
        server.stop()

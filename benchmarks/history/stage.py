"""The databases of one run: SQLite files in a folder, PostgreSQL databases of a server from a wheel."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.history.fill import Took, fill
from benchmarks.history.year import Year


@dataclass(frozen=True)
class Stage:
    """Both databases of one kind, filled."""

    kind: str
    url: str
    plain_url: str
    folder: Path
    server: Any = None  # of PostgreSQL

    @contextmanager
    def copy(self) -> Iterator[str]:
        """A copy of ours that may be changed; or (with `empty`) a new one."""
        if self.kind == "sqlite":
            path = Path(sa.make_url(self.url).database or "")
            target = path.with_name("copy.db")
            shutil.copyfile(path, target)
            yield f"sqlite:///{target}"
            for left in path.parent.glob("copy.db*"):
                left.unlink()
        else:
            url = self.server.new(sa.make_url(self.url).database)
            yield url
            self.server.drop(url)


@contextmanager
def stage(kind: str, keep: Path | None, year: Year, took: Took) -> Iterator[Stage]:
    """Makes what is missing; what is in `keep` already is used again."""
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


def _on_postgres(folder: Path, server: Any, year: Year, took: Took) -> Stage:
    done = folder / "postgresql.done"
    if not done.exists():
        for name in ("ours", "plain"):
            server.execute(f"DROP DATABASE IF EXISTS {name}")
            server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        fill(server.url("ours"), server.url("plain"), year, took)
        done.touch()
    return Stage("postgresql", server.url("ours"), server.url("plain"), folder, server)


@contextmanager
def _server(directory: Path) -> Iterator[Any]:
    from tests.server import Server

    directory.mkdir(mode=0o755, exist_ok=True)
    shutil.rmtree(directory / "runtime", ignore_errors=True)
    server = Server(directory)
    try:
        yield server
    finally:
        server.stop()

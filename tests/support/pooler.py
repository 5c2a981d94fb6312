"""A real pgbouncer before a PostgreSQL server, where it is installed."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import Server
from tests.support.wait import LONG

PORT = 6432


@contextmanager
def pooled(server: Server, database: str, *, mode: str, sessions: int = 4) -> Iterator[str]:
    """The URL of a database behind a pooler of this `pool_mode`."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    folder = Path(tempfile.mkdtemp(prefix="cm-pgb-"))
    folder.chmod(0o777)
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n{database} = host={server.sockets} dbname={database} user=postgres\n[pgbouncer]\n"
        f"pool_mode = {mode}\ndefault_pool_size = {sessions}\nlisten_port = {PORT}\nunix_socket_dir = {folder}\n"
        f"auth_type = trust\nauth_file = {folder}/users\nlogfile = {folder}/log\npidfile = {folder}/pid\n"
    )
    user = ["-u", server.user] if server.user else []  # the socket is for that user alone
    process = subprocess.Popen([program, *user, "-q", str(folder / "ini")])
    try:
        until = time.monotonic() + LONG
        while not (folder / f".s.PGSQL.{PORT}").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"postgresql://postgres@/{database}?host={folder}&port={PORT}"
    finally:
        process.terminate()
        process.wait(timeout=LONG)
        shutil.rmtree(folder, ignore_errors=True)

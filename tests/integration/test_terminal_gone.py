"""A terminal that goes away takes `run` and `demo` with it; a SIGHUP of a person is a reload, and nohup is honoured."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import DEAD, FILE, Shell
from story import key_of
from wait import LONG, wait_until

from monitor.store.engines import sqlite_file
from monitor.store.leader_lock import look_at_file_lock

SOURCE = Path(__file__).parents[2]
Start = Callable[..., tuple[int, int]]


@pytest.fixture
def start(shell: Shell, sqlite_url: str) -> Iterator[Start]:
    """Starts a command as the leader of a terminal; gives its process, and our end of the terminal."""
    shell.write(FILE, url=sqlite_url, vendor=DEAD)
    environ = {"HOME": str(shell.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)} | shell.environ
    environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
    begun: list[int] = []

    def begin(*arguments: str, ignore: bool = False) -> tuple[int, int]:
        process, terminal = pty.fork()
        if process == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignore else signal.SIG_DFL)
            os.execve(sys.executable, [sys.executable, "-m", "monitor", *arguments], environ)
        begun.append(process)
        return process, terminal

    yield begin
    for process in begun:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def holder(url: str) -> int | None:
    path = sqlite_file(url)
    assert path
    state = look_at_file_lock(path)
    return state.holder.pid if state.holder else None


def has_ended(process: int) -> bool:
    return os.waitpid(process, os.WNOHANG)[0] == process


def read_until(terminal: int, word: bytes) -> None:
    seen, ends = b"", time.monotonic() + LONG
    while word not in seen:
        assert time.monotonic() < ends, seen
        seen += os.read(terminal, 65536)


def test_a_daemon_ends_with_its_terminal_and_reloads_while_it_is_there(start, sqlite_url):
    process, terminal = start("run")
    read_until(terminal, b"watching 1 account")
    assert holder(sqlite_url) == process
    os.kill(process, signal.SIGHUP)
    read_until(terminal, b"the configuration was reloaded")
    os.close(terminal)
    wait_until(lambda: has_ended(process))
    assert holder(sqlite_url) is None


def test_a_daemon_that_is_to_ignore_the_end_of_its_terminal_goes_on(start, sqlite_url):
    process, terminal = start("run", ignore=True)
    read_until(terminal, b"watching 1 account")
    os.close(terminal)
    time.sleep(1)
    assert holder(sqlite_url) == process
    os.kill(process, signal.SIGTERM)
    wait_until(lambda: has_ended(process))


def test_a_demo_ends_with_its_terminal_and_leaves_no_daemon(start):
    process, terminal = start("demo")
    read_until(terminal, b"render-farm")
    (daemon,) = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=True).stdout.split()
    os.close(terminal)
    wait_until(lambda: has_ended(process))
    wait_until(lambda: not Path(f"/proc/{daemon}").exists())

"""What nobody expected, beside a daemon: it is logged, and neither ends the reloads nor hinders the end."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from story import TOML, configured
from wait import LONG, until

from monitor.daemon import process
from monitor.daemon.process import Daemon
from monitor.daemon.systemd import ServiceManager
from monitor.store.writer import Store


async def broken(*_: object) -> None:
    raise RuntimeError("nobody expected this")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify.sock"))
        server.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify.sock"))
        yield server


@pytest.fixture
def begun(tmp_path: Path, sqlite_url: str, manager: socket.socket) -> Iterator[Daemon]:
    settings = configured(tmp_path, TOML, sqlite_url)
    opened = Store(sqlite_url)
    yield Daemon(settings, opened, reread=lambda: settings, manager=ServiceManager(os.environ))
    opened.close()


async def heard(manager: socket.socket, start: bytes) -> None:
    async with asyncio.timeout(LONG):
        while not (await asyncio.get_running_loop().sock_recv(manager, 500)).startswith(start):
            pass


@pytest.mark.parametrize("step", ["_wait_for_database", "_adopt"])
async def test_a_reload_that_fails_anywhere_is_answered_and_so_is_the_next_one(
    begun, manager, monkeypatch, caplog, step
):
    monkeypatch.setattr(begun, step, broken)
    monkeypatch.setattr(process, "replacement", lambda *_: asyncio.sleep(0, begun.state.settings))
    reloading = asyncio.create_task(begun._reload_when_asked())
    for _ in range(2):
        begun._reload_asked.set()
        await heard(manager, b"RELOADING")
        await heard(manager, b"READY")
    reloading.cancel()
    line = "the configuration could not be reloaded; the old one stays in force"
    assert [record.message for record in caplog.records if record.exc_info] == [line, line]


async def test_channels_that_cannot_be_verified_do_not_stand_in_the_way_of_the_end(begun, monkeypatch, caplog):
    monkeypatch.setattr(process, "channel_mistakes", broken)
    before = signal.getsignal(signal.SIGHUP)
    begun.state.leader_lock.acquire()
    running = asyncio.create_task(begun.run())
    await until(lambda: "could not be found out" in caplog.text)
    closed = []
    monkeypatch.setattr(begun.state.store, "close", lambda: closed.append(True))
    begun.state.stopping.set()  # not by `_stop`, whose last resort would end this process
    if begun.state.leadership:
        begun.state.leadership.ending.set()
    await asyncio.wait_for(running, LONG)
    signal.signal(signal.SIGHUP, before)
    assert closed == [True]
    begun.state.leader_lock.release()


async def test_the_dead_mans_switch_is_stopped_however_serving_ends(begun, monkeypatch):
    stopped = []

    async def stop() -> None:
        stopped.append(True)

    monkeypatch.setattr(type(begun.state.heartbeat), "stop", lambda _: stop())
    with pytest.raises(RuntimeError):
        async with begun.served():
            await broken()
    assert stopped == [True]

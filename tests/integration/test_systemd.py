"""What the service manager hears, what keeps the watchdog quiet, and the sentence it shows."""

import asyncio
import math
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from wait import LONG, until

from monitor.counters import Counters
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.leadership import DELIVERY_LIMIT, SCHEDULE_LIMIT, WRITER_LIMIT, Leadership, Progress
from monitor.daemon.state import ProcessState
from monitor.daemon.systemd import ServiceManager
from monitor.daemon.watchdog import Watchdog
from monitor.message import away_line, leads_line, refused_line, stands_by_line
from monitor.model import Severity
from monitor.store.engines import LOCK_WAIT, STATEMENT_LIMIT
from monitor.store.leader_lock import open_leader_lock
from monitor.store.writer import Store

if TYPE_CHECKING:
    from monitor.app import Parts
    from monitor.config import Settings
    from monitor.daemon.schedule import Schedule

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "notify.sock"


@pytest.fixture
def manager(socket_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(socket_path))
        server.settimeout(LONG)
        yield server


def test_the_manager_is_told_through_its_socket(manager, socket_path):
    ServiceManager({"NOTIFY_SOCKET": str(socket_path)}).ready()
    assert manager.recv(100) == b"READY=1"


def test_the_manager_is_told_through_an_abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0credit-monitor-test-abstract")
        ServiceManager({"NOTIFY_SOCKET": "@credit-monitor-test-abstract"}).stopping()
        assert server.recv(100) == b"STOPPING=1"


def test_without_a_manager_nobody_is_told_and_nothing_waits():
    alone = ServiceManager({})
    alone.ready()
    alone.status("12 organizations")
    assert alone.watchdog_timeout is None


def test_a_manager_that_has_gone_is_complained_of_once(socket_path, caplog):
    alone = ServiceManager({"NOTIFY_SOCKET": str(socket_path)})
    for _ in range(3):
        alone.alive()
    assert caplog.messages == ["the service manager cannot be told how this process is: No such file or directory"]


def test_a_reload_carries_its_instant(manager, socket_path):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    ServiceManager({"NOTIFY_SOCKET": str(socket_path)}).reloading()
    first, _, second = manager.recv(100).decode().partition("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_what_became_of_a_reload_is_left_in_the_runtime_directory(tmp_path):
    alone = ServiceManager({"RUNTIME_DIRECTORY": f"{tmp_path}:/nowhere"})
    alone.ready()
    assert list(tmp_path.iterdir()) == []  # a start is no reload
    for refused, left in ((None, ""), ("rules.credit: unknown setting \ud800", "rules.credit: unknown setting ?\n")):
        alone.reloading()
        assert not (tmp_path / "reload").exists()
        alone.ready(refused=refused)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("reload", left)]
        (tmp_path / "reload").unlink()


def test_a_runtime_directory_that_is_gone_ends_no_reload(tmp_path, caplog):
    alone = ServiceManager({"RUNTIME_DIRECTORY": str(tmp_path / "gone")})
    alone.reloading()
    alone.ready()
    assert caplog.messages == ["the outcome of the reload cannot be left for systemctl: No such file or directory"]


def test_a_status_is_one_line_and_told_when_it_has_changed(manager, socket_path):
    alone = ServiceManager({"NOTIFY_SOCKET": str(socket_path)})
    for sentence in ("all\nok", "all\nok", "1 critical"):
        alone.status(sentence)
    assert [manager.recv(100), manager.recv(100)] == [b"STATUS=all ok", b"STATUS=1 critical"]


def test_more_time_to_start_is_asked_for_while_something_long_goes_on(manager, socket_path, monkeypatch):
    monkeypatch.setattr("monitor.daemon.systemd.EXTEND_EVERY", 0.01)
    with ServiceManager({"NOTIFY_SOCKET": str(socket_path)}).more_time("migrating"):
        assert manager.recv(100) == b"STATUS=migrating"
        assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=60000000"


@pytest.mark.parametrize(
    ("environ", "timeout"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, MINUTE),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, MINUTE),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # of the parent
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(environ, timeout):
    assert ServiceManager(environ).watchdog_timeout == timeout


# --- what hangs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "delivery", "writer", "hanging"),
    [
        (0, 0, None, None),
        (SCHEDULE_LIMIT, DELIVERY_LIMIT, None, None),
        (SCHEDULE_LIMIT + 1, 0, None, "the poll schedule"),
        (0, DELIVERY_LIMIT + 1, None, "the delivery loop"),
        (0, DELIVERY_LIMIT + 1, 1, None),  # it waits for the writer, which works
        (0, 0, WRITER_LIMIT, None),
        (0, 0, WRITER_LIMIT + 1, "the writer"),
    ],
)
def test_a_part_that_has_not_turned_for_longer_than_it_may_hangs(schedule, delivery, writer, hanging):
    now = 10_000.0
    progress = Progress(now - schedule, now - delivery, None if writer is None else now - writer)
    assert progress.hanging(now) == hanging


def test_the_writer_may_wait_for_as_long_as_the_database_lets_it():
    assert WRITER_LIMIT > 2 * STATEMENT_LIMIT + 2 * LOCK_WAIT


async def test_a_daemon_in_which_something_hangs_gives_no_sign_of_life_and_says_once_what_hangs(
    tmp_path, manager, socket_path, caplog
):
    lock = open_leader_lock(f"sqlite:///{tmp_path / 'monitor.db'}")
    store = Store(f"sqlite:///{tmp_path / 'monitor.db'}")
    heartbeat, settings = Heartbeat(None), cast("Settings", None)
    leadership = Leadership(settings, store, lock, lambda: NOON, Counters(), heartbeat, asyncio.Event())
    leadership._parts = cast("Parts", SimpleNamespace(deliverer=SimpleNamespace(turned_at=-math.inf)))
    leadership._schedule = cast("Schedule", SimpleNamespace(turned_at=math.inf))
    state = ProcessState(settings, store, lock, heartbeat, lambda: NOON, "an-id", leadership=leadership)
    watchdog = Watchdog(ServiceManager({"NOTIFY_SOCKET": str(socket_path), "WATCHDOG_USEC": "20000"}), state)
    running = asyncio.create_task(watchdog.run())
    await until(lambda: caplog.messages)
    hangs = "the delivery loop hangs; waiting for the service manager to restart this process"
    assert caplog.messages == [hangs]
    assert manager.recv(200).decode() == f"STATUS={hangs}"
    assert state.hanging() == "the delivery loop"
    state.leadership = None
    assert await asyncio.to_thread(manager.recv, 200) == b"WATCHDOG=1"
    running.cancel()
    store.close()


# --- how things stand, in a sentence ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("organizations", "failing", "troubled", "next_poll", "sentence"),
    [
        (12, 0, {Severity.CRITICAL: 1}, 3 * MINUTE, "12 organizations, 1 critical, next poll in 3 min"),
        (1, 0, {}, 4 * MINUTE, "1 organization, all ok, next poll in 4 min"),
        (3, 2, {Severity.WARNING: 1, Severity.CRITICAL: 2}, None, "3 organizations, 2 critical, 1 warning, 2 failing"),
        (0, 0, {}, timedelta(seconds=41), "0 organizations, nothing is watched yet, next poll in 40 s"),
        (2, 0, {}, timedelta(seconds=-1), "2 organizations, all ok, polling"),
        (2, 0, {}, timedelta(seconds=1), "2 organizations, all ok, next poll in 10 s"),
        (2, 0, {}, timedelta(hours=6), "2 organizations, all ok, next poll in 6 h"),
    ],
)
def test_a_leader_says_how_many_how_bad_and_when_next(organizations, failing, troubled, next_poll, sentence):
    assert leads_line(organizations, failing=failing, troubled=troubled, next_poll=next_poll) == sentence


def test_one_that_stands_by_names_the_leader():
    assert stands_by_line("db-2\x1b[31m") == "standing by: another credit-monitor leads on db-2 (31m"
    assert stands_by_line(None) == "standing by: another credit-monitor leads"


def test_a_database_that_is_away_and_a_configuration_that_is_not_in_force_are_said_with_their_cause():
    since = datetime(2026, 11, 24, 9, 5, tzinfo=UTC)
    assert away_line(since, "the disk is full") == "the database is away since 2026-11-24 09:05 UTC (the disk is full)"
    assert (
        refused_line("a.toml:3: polls: unknown") == "the new configuration is NOT in force (a.toml:3: polls: unknown)"
    )

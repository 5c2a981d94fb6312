"""A monitor that does not poll any more is the first thing that anybody hears; who never had a daemon hears nothing."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from command import DEAD, FILE, Shell
from filled import NOON, fill
from story import key_of
from wait import LONG, wait_until

from monitor.model import RateLimit
from monitor.query import find_standstill
from monitor.store import leader_lock
from monitor.store.engines import open_reader, transaction
from monitor.store.tables import accounts, organizations

EVERY = timedelta(minutes=5)
NO_LIMIT = {"studio": None}


@pytest.fixture
def filled(shell: Shell, engine: sa.Engine, database_url: str) -> Shell:
    """A history that ended at noon, of two organizations."""
    fill(engine)
    shell.write(FILE, url=database_url, vendor=DEAD)
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
    return shell


def begin_daemon(url: str) -> leader_lock.LeaderLock:
    lock = leader_lock.open_leader_lock(url)
    assert lock.acquire()
    return lock


def test_who_never_ran_a_daemon_hears_nothing(filled, reader, database_url):
    lock = leader_lock.acquire(database_url)  # as a check does
    assert lock
    later = NOON + timedelta(days=3)
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=later) is None
    lock.release()
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=later) is None
    status = filled("status")
    assert (status.code, "no daemon" in status.out + status.err) == (0, False)


def test_a_daemon_that_has_ended_is_missed_after_three_polls(filled, reader, database_url):
    begin_daemon(database_url).release()
    for minutes, is_missed in ((0, False), (15, False), (16, True)):
        found = find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=NOON + timedelta(minutes=minutes))
        assert (found is not None) == is_missed
    assert found
    assert (found.since, found.daemon) == (NOON, None)
    check = leader_lock.acquire(database_url)  # a check polls at this moment, and wipes nothing out
    assert check
    check.release()
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=NOON + EVERY * 4) == found


def test_a_daemon_that_hangs_is_named_once_it_had_time_to_poll(filled, reader, database_url):
    lock, now = begin_daemon(database_url), datetime.now(UTC)
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=now + EVERY) is None
    found = find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=now + EVERY * 4)
    lock.release()
    assert found
    assert found.daemon
    assert (found.daemon.pid, found.since) == (os.getpid(), NOON)


def test_polls_that_take_their_time_are_no_standstill(filled, engine, reader, database_url):
    """Two organizations under one request an hour; a vendor that asked for an hour's pause."""
    begin_daemon(database_url).release()
    slow, at = {"studio": RateLimit(1, timedelta(hours=1))}, NOON + timedelta(minutes=50)
    assert find_standstill(reader, every=EVERY, limits=slow, at=at) is None
    assert find_standstill(reader, every=EVERY, limits=slow, at=NOON + timedelta(hours=3))
    assert find_standstill(reader, every=EVERY, limits={"studio": RateLimit(2, timedelta(hours=1))}, at=at)
    with transaction(engine) as tx:
        tx.execute(organizations.update().where(organizations.c.id == 1).values(failure="rate_limited"))
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=at) is None


def test_a_poll_of_any_account_counts(filled, engine, reader, database_url):
    begin_daemon(database_url).release()
    late = NOON + timedelta(days=1)
    with transaction(engine) as tx:
        tx.execute(accounts.update().where(accounts.c.name == "studio").values(polled_at=late))
    assert find_standstill(reader, every=EVERY, limits=NO_LIMIT, at=late + EVERY) is None


def test_every_answer_begins_with_it(filled, engine, database_url):
    begin_daemon(database_url).release()
    with transaction(engine) as tx:
        three_days_ago = datetime.now(UTC) - timedelta(days=3, minutes=1)
        tx.execute(organizations.update().values(checked_at=three_days_ago))
        tx.execute(accounts.update().values(polled_at=three_days_ago))
    line = "no daemon: nothing has polled for 3 days"
    assert filled("status").out.splitlines()[0] == line
    for style in ("json", "csv"):
        answer = filled("status", "--format", style)
        assert (line in answer.out, answer.err.splitlines()[0]) == (False, line)
    doctor = filled("doctor")
    assert (doctor.code, doctor.out.splitlines()[0].partition(" →")[0]) == (2, f"problem  daemon: {line}")
    doctor = filled("doctor", "--format", "json")
    assert (json.loads(doctor.out)[0]["found"], doctor.err) == (line, f"{line}\n")


def test_a_real_daemon_that_is_killed_is_missed_and_one_that_stands_still_is_named(shell, sqlite_url):
    shell.write(FILE, url=sqlite_url, vendor=DEAD)
    shell.environ |= {
        "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": key_of("studio"),
        "CREDIT_MONITOR_POLL__EVERY": "1s",
    }
    reader = open_reader(sqlite_url)

    def has_polled() -> bool:
        with transaction(reader) as tx:
            return tx.execute(sa.select(sa.func.max(accounts.c.polled_at))).scalar_one() is not None

    def first_line() -> str:
        return shell("status").out.splitlines()[0]

    daemon = shell.start("run")
    try:
        wait_until(has_polled)
        refused = shell("run")
        assert refused.code == 75
        assert f"another credit-monitor (process {daemon.pid}, since 20" in refused.err
        daemon.send_signal(signal.SIGSTOP)
        wait_until(lambda: first_line().startswith(f"the daemon (pid {daemon.pid}) has not polled for "))
        daemon.send_signal(signal.SIGCONT)
        wait_until(lambda: "not polled" not in first_line())
    finally:
        daemon.kill()
        daemon.communicate(timeout=LONG)
        reader.dispose()
    wait_until(lambda: first_line().startswith("no daemon: nothing has polled for "))
    check = shell("check", "--format", "json")
    assert (check.code, check.err.splitlines()[-1].startswith("no daemon: nothing has polled for ")) == (3, True)

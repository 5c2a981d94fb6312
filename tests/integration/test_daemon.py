"""Starting again when it was due, one daemon for each database, ready and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from command import FILE
from manager import ended, manager_of
from story import NOON, key_of
from wait import wait_until

from monitor.app import due_at
from monitor.errors import DatabaseError
from monitor.sandbox import Fault, SandboxOrganization, Vendor
from monitor.store import leader_lock
from monitor.store.leader_lock import LeaderLock

EVERY = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
KEY = key_of("studio")


# --- when the first poll is due ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("polled_at", "due"),
    [
        (None, NOON),
        (NOON, NOON + EVERY),
        (NOON - 299 * SECOND, NOON + SECOND),
        (NOON - EVERY, NOON),
        (NOON - timedelta(days=400), NOON),
        (NOON + SECOND, NOON),  # the clock was stepped back
        (NOON + timedelta(days=400), NOON),
    ],
)
def test_the_first_poll_runs_at_once_unless_the_last_one_is_younger_than_the_interval(polled_at, due):
    assert due_at(polled_at, EVERY, now=NOON) == due


# --- descriptors ------------------------------------------------------------------------------------------------------


def test_a_daemon_takes_the_descriptors_it_may_have():
    script = (
        "import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (256, hard));"
        "from monitor.daemon.process import allow_descriptors; allow_descriptors();"
        "print(*r.getrlimit(r.RLIMIT_NOFILE), hard)"
    )
    soft, now_hard, hard = map(int, subprocess.check_output([sys.executable, "-c", script]).split())
    assert (soft, now_hard) == (hard if 0 <= hard < 65_536 else 65_536, hard)


# --- one daemon for each database -------------------------------------------------------------------------------------


def test_a_database_is_held_once_until_it_is_released(database_url):
    first = leader_lock.acquire(database_url)
    assert first is not None
    assert leader_lock.acquire(database_url) is None
    first.release()
    first.release()
    second = leader_lock.acquire(database_url)
    assert second is not None
    second.release()


def test_two_databases_are_held_apart(database_url, tmp_path_factory):
    other = f"sqlite:///{tmp_path_factory.mktemp('other')}/other.db"
    locks = [leader_lock.acquire(url) for url in (database_url, other)]
    assert None not in locks
    for lock in locks:
        lock.release()


def test_a_hold_ends_with_its_process_however_that_dies_and_no_child_keeps_it(database_url):
    code = (
        "import subprocess, sys\n"
        "from monitor.store import leader_lock\n"
        "lock = leader_lock.acquire(sys.argv[1])\n"
        "child = subprocess.Popen(['sleep', '20'])\n"
        "print(lock is not None, child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    taken, child = holder.stdout.readline().split()
    assert (taken, leader_lock.acquire(database_url)) == ("True", None)
    holder.kill()
    holder.wait()
    again: list[LeaderLock | None] = []
    wait_until(lambda: again.append(leader_lock.acquire(database_url)) or again[-1])  # a server has to notice it first
    assert again[-1] is not None
    again[-1].release()
    os.kill(int(child), signal.SIGTERM)
    holder.stdin.close()
    holder.stdout.close()


def test_releasing_a_hold_whose_server_has_gone_is_no_mistake(postgres, postgres_url):
    lock = leader_lock.acquire(postgres_url)
    name = sa.make_url(postgres_url).database
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert lock is not None
    lock.release()
    again = leader_lock.acquire(postgres_url)
    assert again is not None
    again.release()


def test_a_hold_on_a_database_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(DatabaseError):
        leader_lock.acquire(f"postgresql://nobody@/none?host={tmp_path}")


# --- the real process -------------------------------------------------------------------------------------------------


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in (1, 2)]
    async with Vendor({KEY: ["org-1", "org-2"]}, listed) as vendor:
        yield vendor


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_real_process_is_ready_after_its_first_poll_and_polls_when_it_is_due_after_a_restart(
    shell, vendor, sqlite_url, number
):
    shell.write(FILE.replace('deadline = "1s"', 'deadline = "1s"\nevery = "1h"'), url=sqlite_url, vendor=vendor.url)
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = KEY
    async with manager_of(shell) as told:
        for _ in range(2):
            process = shell.start("run")
            assert await told.heard("READY") == "READY=1"
            assert len(vendor.requests) == 2  # of the first start: the second one's poll is not due
            code, err = await ended(process, number)
            assert (code, await told.heard("STOPPING")) == (0, "STOPPING=1")
            assert "NOBODY WILL BE TOLD" in err
            assert "Traceback" not in err
            assert KEY not in err


async def test_a_vendor_that_hangs_delays_readiness_by_no_more_than_a_check_and_the_stop_not_at_all(
    shell, vendor, sqlite_url
):
    vendor.fault = Fault.HANG
    shell.write(FILE, url=sqlite_url, vendor=vendor.url)
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = KEY
    async with manager_of(shell) as told:
        process = shell.start("run")
        assert await told.heard("READY") == "READY=1"
        assert (await ended(process))[0] == 0

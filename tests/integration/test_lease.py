"""Who leads on one PostgreSQL, and that nobody else writes in the leader's name."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from wait import wait_until

from monitor import query
from monitor.errors import DatabaseError, LeaseLost
from monitor.store import lease
from monitor.store.engines import open_reader
from monitor.store.lease import Lease, boot_clock, is_dead, own_id
from monitor.store.tables import accounts, compatibility, daemons, leases
from monitor.store.writer import Store


@pytest.fixture
def lead(postgres_url) -> Iterator[Lease]:
    claim = Lease(postgres_url)
    yield claim
    claim.release()


@pytest.fixture
def other(postgres_url) -> Iterator[Lease]:
    claim = Lease(postgres_url)
    yield claim
    claim.release()


@pytest.fixture
def opened(postgres_url) -> Iterator[Store]:
    opened = Store(postgres_url)
    yield opened
    opened.close()


def run_out(opened: Store) -> None:
    """The lease's time is over, as the database sees it."""
    past = {"expires_at": sa.func.clock_timestamp() - timedelta(seconds=1)}
    opened.write_now(lambda tx: tx.execute(leases.update().values(past)), fenced=False)


def add_account(opened: Store, name: str) -> None:
    values = {"name": name, "base_url": "https://a.example", "generation": "v1"}
    opened.write_now(lambda tx: tx.execute(accounts.insert().values(values)))


def names(opened: Store) -> list[str]:
    return opened.write_now(lambda tx: list(tx.execute(sa.select(accounts.c.name)).scalars()), fenced=False)


def test_a_program_older_than_the_schema_allows_finds_the_lead_taken(lead, opened):
    older = leases.update().values(term=leases.c.term + 1, daemon="older", expires_at=sa.func.clock_timestamp())
    assert opened.write_now(lambda tx: tx.execute(older).rowcount, fenced=False) == 0
    opened.write_now(lambda tx: tx.execute(compatibility.update().values(oldest="")), fenced=False)
    assert opened.write_now(lambda tx: tx.execute(older).rowcount, fenced=False) == 1


def test_one_leads_and_another_only_once_it_is_given_back(lead, other):
    assert lead.acquire()
    assert not other.acquire()
    assert (lead.leads, other.leads) == (True, False)
    lead.release()
    assert other.acquire()


def test_a_lease_that_has_run_out_is_taken_with_a_new_term_and_its_holder_writes_nothing(lead, other, opened):
    lead.acquire()
    opened.fence = lead.fence
    add_account(opened, "studio")
    run_out(opened)
    assert other.acquire()
    with pytest.raises(LeaseLost):
        add_account(opened, "late")
    assert names(opened) == ["studio"]
    assert not lead._renew()


def test_a_lease_that_has_run_out_is_no_right_to_write_but_may_be_renewed_while_nobody_took_it(lead, opened):
    lead.acquire()
    opened.fence = lead.fence
    run_out(opened)
    with pytest.raises(LeaseLost):
        add_account(opened, "studio")
    assert lead._renew()
    add_account(opened, "studio")
    assert names(opened) == ["studio"]


def test_a_successor_waits_for_a_transaction_of_the_leader_and_renewing_waits_for_nobody(lead, other, opened):
    lead.acquire()
    opened.fence = lead.fence
    taken: list[float] = []

    def take() -> None:
        assert other.acquire()
        taken.append(time.monotonic())

    def work(tx: sa.Connection) -> float:
        assert lead._renew()
        past = leases.update().values(expires_at=sa.func.clock_timestamp() - timedelta(seconds=1))
        with lead._engine.begin() as beside:
            beside.execute(past)
        thread.start()
        time.sleep(0.5)
        tx.execute(accounts.insert().values(name="studio", base_url="https://a.example", generation="v1"))
        return time.monotonic()

    thread = threading.Thread(target=take)
    done = opened.write_now(work)
    thread.join()
    assert taken[0] >= done
    assert names(opened) == ["studio"]


def test_the_renewing_thread_keeps_the_lease_and_notices_that_it_is_lost(lead, other, opened, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    lead.acquire()
    began = lead.until
    wait_until(lambda: lead.until > began)
    opened.write_now(lambda tx: tx.execute(leases.update().values(term=leases.c.term + 1)))
    wait_until(lambda: not lead.leads)


def test_nobody_renews_in_the_name_of_a_process_that_hangs(postgres_url, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.02)
    hung = Lease(postgres_url)
    hung.loop_turned_at = time.monotonic() - lease.HUNG_AFTER
    hung.acquire()
    began = hung.until
    time.sleep(0.2)
    assert (hung.until, hung.leads) == (began, True)
    hung.release()


def test_what_is_done_as_the_leader_is_to_be_done_before_the_database_thinks_it_over(lead, opened):
    lead.acquire()
    left = sa.type_coerce(leases.c.expires_at - sa.func.clock_timestamp(), sa.Interval)
    remaining = opened.write_now(lambda tx: tx.execute(sa.select(left)).scalar_one())
    assert 0 < lead.until - boot_clock() < remaining.total_seconds()


def test_a_leader_that_steps_back_is_followed_at_once_and_may_lead_again_itself(lead, other):
    lead.acquire()
    lead.give_back()
    assert not lead.leads
    assert other.acquire()
    lead.give_back()  # of a term that has passed: the other one is not disturbed
    assert other._renew()
    other.release()
    assert lead.acquire()


def test_what_is_dropped_while_the_database_is_away_may_be_given_back_later(lead, other):
    lead.acquire()
    lead.drop()
    assert not other.acquire()
    lead.give_back()
    assert other.acquire()


def test_a_renewal_under_way_takes_nothing_back_that_was_given_back(lead, other):
    lead.acquire()
    term = lead._term
    lead.give_back()
    lead._term = term  # as the renewing thread had read it
    assert not lead._renew()
    assert other.acquire()


def test_after_a_failover_that_lost_a_term_two_leaders_with_the_same_number_are_told_apart(lead, other, opened):
    lead.acquire()
    opened.fence = lead.fence
    # The new server never heard of it: it counts from the term before, and gives the number again.
    lost = leases.update().values(term=leases.c.term - 1, daemon="", expires_at=sa.func.clock_timestamp())
    opened.write_now(lambda tx: tx.execute(lost), fenced=False)
    assert other.acquire()
    assert other._term == lead._term
    with pytest.raises(LeaseLost):
        add_account(opened, "late")
    assert not lead._renew()


def test_who_has_dropped_the_lead_sends_nothing_any_more(lead):
    lead.acquire()
    lead.drop()
    assert lead.until <= boot_clock()


STALLED = """
import sys, time
import psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as one, one.pipeline() as pipeline:
    one.execute("BEGIN")
    one.execute("SELECT term FROM leases FOR KEY SHARE")
    one.pgconn.send_flush_request()
    one.pgconn.flush()
    print("sent", flush=True)
    time.sleep(600)
"""
STALLING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'ClientRead'"


def test_a_session_that_stalls_in_a_pipeline_is_ended_because_no_timeout_of_the_server_does_it(
    lead, postgres, postgres_url, monkeypatch
):
    command = [sys.executable, "-c", STALLED, postgres_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: postgres.execute(STALLING) == (1,))
        monkeypatch.setattr(lease, "_END_STALLED", lease._END_STALLED.bindparams(limit=0))
        assert lead.acquire()
        assert postgres.execute(STALLING) == (0,)
        process.kill()


DEAF = """
import sys, time
import psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as one:
    one.execute("BEGIN")
    one.execute(sys.argv[2])
    one.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
    one.pgconn.flush()
    print("sent", flush=True)
    time.sleep(600)
"""
WRITING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'ClientWrite'"


@pytest.mark.parametrize(
    ("first", "left"), [("SELECT term FROM leases FOR KEY SHARE", 0), ("SELECT term FROM leases", 1)]
)
def test_a_leader_that_takes_no_answer_is_ended_and_a_slow_reader_is_not(
    lead, postgres, postgres_url, monkeypatch, first, left
):
    command = [sys.executable, "-c", DEAF, postgres_url, first]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: postgres.execute(WRITING) == (1,))
        monkeypatch.setattr(lease, "_END_STALLED", lease._END_STALLED.bindparams(limit=0))
        assert lead.acquire()
        assert postgres.execute(WRITING) == (left,)
        process.kill()


# --- a holder that has died -------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from monitor.store.lease import Lease
one = Lease(sys.argv[1])
assert one.acquire()
print(one.id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(postgres_url) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that leads."""
    command = [sys.executable, "-c", HOLDER, postgres_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_leader_that_was_killed_on_this_machine_is_followed_at_once(holder, lead):
    process, key = holder
    assert not is_dead(key)
    assert not lead.acquire()
    process.kill()  # a process that nobody has waited for yet is as dead
    wait_until(lambda: is_dead(key))
    assert lead.acquire()


def test_a_leader_that_was_stopped_is_not_dead(holder, lead):
    process, key = holder
    process.send_signal(signal.SIGSTOP)
    assert not is_dead(key)
    assert not lead.acquire()


@pytest.mark.parametrize("key", ["", "-", "x.y.z", "another.1.1.1", "a.b", "....", f"another.{2**70}.1.1"])
def test_what_cannot_be_seen_from_here_is_alive(key):
    assert not is_dead(key)


def test_a_number_that_another_process_has_now_is_no_sign_of_life():
    machine, pid, _, number = own_id().split(".")
    assert pid == str(os.getpid())
    assert is_dead(f"{machine}.{pid}.1.{number}")
    assert not is_dead(own_id())


# --- who is there -----------------------------------------------------------------------------------------------------


def test_everybody_sees_who_leads_and_who_stands_by(lead, other, postgres_url, opened):
    lead.acquire()
    other.acquire()
    reader = open_reader(postgres_url)
    first, second = query.daemons(reader) or []
    assert (first.pid, first.leads_since is not None, second.leads_since) == (os.getpid(), True, None)
    assert (lead.others, other.others) == (0, 1)
    run_out(opened)
    assert [daemon.leads_since for daemon in query.daemons(reader) or []] == [None, None]
    lead.release()
    other.release()
    assert query.daemons(reader) == []
    reader.dispose()


def test_daemons_that_were_not_seen_for_a_week_are_forgotten(lead, opened):
    old = sa.func.clock_timestamp() - timedelta(days=8)
    row = {"id": "old", "host": "h", "pid": 1, "version": "0", "started_at": old, "seen_at": old}
    opened.write_now(lambda tx: tx.execute(daemons.insert().values(row)))
    lead.acquire()
    assert lead.others == 0
    assert opened.write_now(lambda tx: tx.execute(sa.select(daemons.c.id)).scalars().all()) == [lead.id]


def test_a_lease_on_a_server_that_is_not_there_is_an_error_of_ours(tmp_path):
    unreachable = Lease(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(DatabaseError):
        unreachable.acquire()
    unreachable.release()

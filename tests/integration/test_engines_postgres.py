import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from broken import SECRET, problem
from wait import LONG, until

from monitor.errors import DatabaseError
from monitor.store.engines import SILENT_AFTER, open_writer, transaction
from monitor.store.writer import Store


def test_postgres_connections_are_ours_in_utc_and_patient_for_a_while_only(postgres_url):
    engine = open_writer(postgres_url)
    with engine.connect() as connection:
        names = ("application_name", "TimeZone", "statement_timeout", "lock_timeout")
        settings = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
    assert settings == ["credit-monitor", "UTC", "1min", "10s"]
    engine.dispose()


def test_a_connection_that_the_server_closed_is_replaced(postgres, postgres_url):
    engine = open_writer(postgres_url)
    with transaction(engine) as connection:
        connection.exec_driver_sql("SELECT 1")
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'credit-monitor'")
    with transaction(engine) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_a_connection_that_is_cut_in_the_middle(postgres, postgres_url):
    engine = open_writer(postgres_url)
    assert "AdminShutdown" not in problem(engine, "SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_server_that_hangs_is_an_outage_and_no_wedge(postgres, postgres_url):
    opened = Store(postgres_url)
    pid = await opened.write(lambda tx: int(tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
    os.kill(pid, signal.SIGSTOP)
    try:
        writing = asyncio.create_task(opened.write(lambda tx: tx.exec_driver_sql("SELECT 1").scalar()))
        await until(lambda: opened.turned_at is not None)
        opened.sever_if_silent(time.monotonic() + SILENT_AFTER - LONG)
        await asyncio.sleep(0.2)
        assert not writing.done()
        opened.sever_if_silent(time.monotonic() + SILENT_AFTER)
        # The pool may find it lost before it is used, and take another one: that is as good.
        assert await writing == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await opened.write(lambda tx: tx.exec_driver_sql("SELECT 1").scalar()) == 1
    opened.close()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_a_server_that_hangs_in_the_middle_of_a_transaction_is_an_outage(postgres_url):
    opened = Store(postgres_url)

    def stopped(tx: sa.Connection) -> None:
        pids.append(int(tx.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
        os.kill(pids[0], signal.SIGSTOP)
        tx.exec_driver_sql("SELECT 1")

    pids: list[int] = []
    writing = asyncio.create_task(opened.write(stopped))
    await until(lambda: pids and is_stopped(pids[0]))
    opened.sever_if_silent(time.monotonic() + SILENT_AFTER)
    with pytest.raises(DatabaseError, match="the connection failed or was lost"):
        await writing
    os.kill(pids[0], signal.SIGCONT)
    assert await opened.write(lambda tx: tx.exec_driver_sql("SELECT 1").scalar()) == 1
    opened.close()


def test_a_server_that_is_not_there():
    engine = open_writer(f"postgresql://me:{SECRET}@127.0.0.1:1/credits")
    assert problem(engine) == (
        "PostgreSQL database credits at 127.0.0.1:1: cannot be reached: connection refused (is it running there?)"
    )


def test_a_host_that_does_not_exist():
    assert "unknown host" in problem(open_writer(f"postgresql://me:{SECRET}@no.such.host.invalid/credits"))


def test_a_socket_that_is_not_there(tmp_path):
    assert "no such socket" in problem(open_writer(f"postgresql://me:{SECRET}@/credits?host={tmp_path}"))


def test_an_option_that_does_not_exist():
    engine = open_writer(f"postgresql://me:{SECRET}@127.0.0.1:1/credits?sslmode={SECRET}")
    assert problem(engine).endswith("database.url: holds an option or a value the driver does not know")


def test_an_unknown_postgres_database(postgres):
    assert problem(open_writer(postgres.url("nowhere"))).endswith("the server has no database of this name")


def test_an_unknown_postgres_user(postgres):
    url = postgres.url("postgres").replace("postgres@", f"nobody:{SECRET}@")
    assert problem(open_writer(url)).endswith("the server does not accept this user")


def test_a_wrong_password(postgres):
    hba = Path(postgres.execute("SHOW hba_file")[0])
    postgres.execute("DROP ROLE IF EXISTS guarded")
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    hba.write_text("local all guarded scram-sha-256\n" + hba.read_text())
    postgres.execute("SELECT pg_reload_conf()")
    wrong = postgres.url("postgres").replace("postgres@", f"guarded:{SECRET}@")
    without = postgres.url("postgres").replace("postgres@", "guarded@")
    assert problem(open_writer(wrong)).endswith("the server does not accept this user and password")
    assert problem(open_writer(without)).endswith("the server asks for a password and none is configured")


def test_a_server_without_a_free_connection(postgres, postgres_url):
    name = sa.make_url(postgres_url).database
    postgres.execute("DO $$ BEGIN CREATE ROLE lonely LOGIN CONNECTION LIMIT 0; EXCEPTION WHEN others THEN END $$")
    url = postgres.url(str(name)).replace("postgres@", "lonely@")
    assert problem(open_writer(url)).endswith("the server has no connection left")


def test_a_privilege_that_is_missing(postgres, postgres_url):
    postgres.execute("DO $$ BEGIN CREATE ROLE reads_nothing LOGIN; EXCEPTION WHEN others THEN END $$")
    url = postgres_url.replace("postgres@", "reads_nothing@")
    assert "missing privilege" in problem(open_writer(url), "SELECT * FROM accounts")


def test_a_table_that_somebody_locked(postgres_url, monkeypatch):
    monkeypatch.setattr("monitor.store.engines.LOCK_WAIT", 0.1)
    holder, other = open_writer(postgres_url), open_writer(postgres_url)
    with transaction(holder) as connection:
        connection.exec_driver_sql("LOCK TABLE accounts")
        assert "is locked by another program" in problem(other, "SELECT * FROM accounts")
    holder.dispose()


def test_a_query_without_end(postgres_url, monkeypatch):
    monkeypatch.setattr("monitor.store.engines.STATEMENT_LIMIT", 0.1)
    assert "took longer" in problem(open_writer(postgres_url), "SELECT pg_sleep(5)")


def test_postgres_without_its_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"install credit-monitor\[postgres\]"):
        open_writer(f"postgresql://me:{SECRET}@host/credits")

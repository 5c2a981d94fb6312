import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from broken import SECRET, problem
from wait import LONG

from monitor.errors import DatabaseError, SchemaOutdated
from monitor.store import tables
from monitor.store.engines import explain, open_reader, open_writer, transaction

INSERT = sa.text("INSERT INTO accounts (id, name, base_url, generation) VALUES (1, :name, 'https://x', 'v1')")


def path_of(url: str) -> Path:
    return Path(str(sa.make_url(url).database))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- SQLite -----------------------------------------------------------------------------------------------------------


def test_a_missing_sqlite_file_is_made_for_its_owner_alone(empty_sqlite_url):
    engine = open_writer(empty_sqlite_url)
    with transaction(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        path = path_of(empty_sqlite_url)
        assert [mode(path), mode(Path(f"{path}-wal")), mode(path.parent)] == [0o600, 0o600, 0o700]
    engine.dispose()


def test_a_missing_state_directory_is_made_for_its_owner_alone(tmp_path):
    open_writer(f"sqlite:///{tmp_path / 'new' / 'state' / 'monitor.db'}").dispose()
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700


def test_the_writer_writes_safely(sqlite_url):
    engine = open_writer(sqlite_url)
    with engine.connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names] == ["wal", 2, 1, 10_000]
    engine.dispose()


def test_a_connection_may_be_used_by_one_thread_after_another(sqlite_url):
    engine = open_writer(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(INSERT, {"name": "a"})
    thread = threading.Thread(target=lambda: problem(engine, "INSERT INTO nowhere VALUES (1)"))
    thread.start()
    thread.join()
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(tables.accounts.c.name)) == "a"
    engine.dispose()


INCREMENT = """
import sys, sqlalchemy as sa
from monitor.store.engines import open_writer, transaction
engine = open_writer(sys.argv[1])
for _ in range(100):
    with transaction(engine) as connection:
        seen = connection.scalar(sa.text("SELECT id FROM accounts"))
        connection.execute(sa.text("UPDATE accounts SET id = :n"), {"n": seen + 1})
"""


def test_no_update_is_lost_between_processes(sqlite_url):
    engine = open_writer(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(INSERT, {"name": "a"})
    children = [subprocess.Popen([sys.executable, "-c", INCREMENT, sqlite_url]) for _ in range(3)]
    assert [child.wait(timeout=LONG) for child in children] == [0, 0, 0]
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(tables.accounts.c.id)) == 301
    engine.dispose()


def test_a_reader_does_not_make_a_missing_file(empty_sqlite_url):
    assert "there is none yet" in problem(open_reader(empty_sqlite_url))
    assert not path_of(empty_sqlite_url).exists()


def test_a_locked_file(sqlite_url, monkeypatch):
    monkeypatch.setattr("monitor.store.engines.LOCK_WAIT", 0.05)
    with sqlite3.connect(path_of(sqlite_url), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert problem(open_writer(sqlite_url)).endswith("is locked by another program")
        other.execute("ROLLBACK")
    other.close()


def test_a_connection_that_somebody_keeps(sqlite_url, monkeypatch):
    monkeypatch.setattr("monitor.store.engines.LOCK_WAIT", 0.05)
    engine = open_writer(sqlite_url)
    with engine.connect():
        assert problem(engine).endswith("all connections are busy")


def test_a_full_disk(sqlite_url):
    engine = open_writer(sqlite_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    assert problem(engine, "CREATE TABLE big AS SELECT zeroblob(1000000) AS b").endswith("the disk is full")


def test_a_reader_cannot_write(sqlite_url):
    assert "may not be written" in problem(open_reader(sqlite_url), "DELETE FROM accounts")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "x.db").write_bytes(b"To whom it may concern, " * 100)
    assert problem(open_writer(f"sqlite:///{tmp_path}/x.db")).endswith("is not a SQLite database")


def test_a_damaged_file(sqlite_url):
    with path_of(sqlite_url).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    assert "is damaged" in problem(open_writer(sqlite_url), "SELECT * FROM accounts, organizations, snapshots")


def test_a_directory_in_place_of_the_file(tmp_path):
    assert "a file this user may read and write is expected" in problem(open_writer(f"sqlite:///{tmp_path}"))


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(DatabaseError, match=r"cannot be created in .*/state: not a directory"):
        open_writer(f"sqlite:///{tmp_path}/state/x.db")


WITHOUT_RIGHTS = """
import os, sys
sys.path.insert(0, os.getcwd())
from monitor.errors import DatabaseError
from monitor.store.engines import open_writer
if os.geteuid() == 0:
    os.setuid(65534)
try:
    open_writer(sys.argv[1])
except DatabaseError as error:
    print(error)
"""


def test_a_directory_that_is_not_ours_to_write():
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, f"sqlite:///{directory}/x.db"]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONG).stdout
    assert f": permission denied; {directory}" in output
    assert ": sudo credit-monitor …" in output or ": chmod u+rwX " in output


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://me@host/x", f"postgres{SECRET}", ""])
def test_a_url_that_names_no_database_of_ours_is_not_repeated(url):
    with pytest.raises(DatabaseError, match=r"^database\.url: ") as caught:
        open_writer(url)
    assert SECRET not in str(caught.value)


def test_a_mistake_in_a_query_shows_no_parameter(engine):
    with pytest.raises(DatabaseError) as caught, transaction(engine) as connection:
        connection.execute(INSERT, [{"name": SECRET}] * 2)
    assert SECRET not in str(caught.value)


# --- both -------------------------------------------------------------------------------------------------------------


def test_a_reader_refuses_to_write_on_both(reader):
    assert "may not be written" in problem(reader, "UPDATE accounts SET name = 'x'")


def test_a_reader_sees_one_state_for_a_whole_transaction(engine, reader):
    with transaction(reader) as reading:
        count = sa.select(sa.func.count()).select_from(tables.accounts)
        before = reading.scalar(count)
        with transaction(engine) as writing:
            writing.execute(INSERT, {"name": "a"})
        assert reading.scalar(count) == before == 0
    with transaction(reader) as reading:
        assert reading.scalar(count) == 1


def test_an_error_undoes_the_whole_transaction(engine):
    with pytest.raises(DatabaseError), transaction(engine) as connection:
        connection.execute(INSERT, [{"name": "a"}] * 2)
    with transaction(engine) as connection:
        assert connection.scalar(sa.select(tables.accounts.c.id)) is None


@pytest.mark.parametrize("statement", ["SELECT * FROM accounts", "SELECT no_such_column FROM t"])
def test_missing_tables_and_columns_name_the_command(empty_database_url, statement):
    engine = open_writer(empty_database_url)
    with transaction(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INTEGER)")
    with pytest.raises(SchemaOutdated, match="run `credit-monitor db upgrade`"), transaction(engine) as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_our_own_errors_pass_as_they_are(engine):
    with pytest.raises(ZeroDivisionError), transaction(engine):
        raise ZeroDivisionError


def test_every_other_error_of_sqlalchemy_has_a_sentence():
    error = explain(sa.exc.InvalidRequestError(f"about {SECRET}"), sa.make_url(f"postgresql://me:{SECRET}@db:1/x"))
    assert str(error) == "PostgreSQL database x at db:1: InvalidRequestError"

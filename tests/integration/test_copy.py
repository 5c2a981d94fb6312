"""Backups and copies: whole, proven equal, and nothing of either where something is wrong."""

import re
import sqlite3
import stat
import threading
from contextlib import closing, suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from broken import broken
from command import DEAD, FILE, Shell
from filled import NOON, fill

from monitor.cli.db_copy import _fill, _writing
from monitor.config import Database
from monitor.errors import DatabaseError
from monitor.model import Snapshot
from monitor.store import copy, leader_lock
from monitor.store.engines import open_writer, transaction
from monitor.store.installation import installation_id, record_host
from monitor.store.organizations import ensure_organization
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import incidents, leases, metadata, organizations, pages, snapshots
from monitor.store.writer import Store, read

SECRET = "hunter2-tiger"
CARRIED = [table for table in metadata.sorted_tables if table.name not in {"leases", "daemons", "compatibility"}]


def image(url: str) -> dict[str, list[Any]]:
    """Every row of every table that is carried along."""
    engine = open_writer(url)
    with transaction(engine) as tx:
        by_table = {table.name: tx.execute(sa.select(table).order_by(*table.primary_key)).all() for table in CARRIED}
    engine.dispose()
    return {name: [tuple(row) for row in rows] for name, rows in by_table.items()}


@pytest.fixture
def filled(shell, engine, database_url) -> Shell:
    fill(engine)
    with transaction(engine) as tx:
        points = [Snapshot(NOON + timedelta(minutes=5 * n, microseconds=n), Decimal("-9e11") + n) for n in range(7000)]
        insert_snapshots(tx, [(2, snapshot) for snapshot in points])
        tx.execute(organizations.update().where(organizations.c.id == 2).values(title="Ünïcode 試 'quoted'\t\\N\n"))
        installation_id(tx)
        record_host(tx, "farm-1", at=NOON)
        tx.execute(pages.insert().values(channel="pager", incident_id=1, opened_at=NOON))
    shell.write(FILE, url=database_url, vendor=DEAD)
    return shell


@pytest.fixture
def empty_urls(database_url, tmp_path, request) -> list[str]:
    """An empty database of each kind."""
    return [f"sqlite:///{tmp_path / 'other' / 'new.db'}", str(request.getfixturevalue("empty_postgres_url"))]


# --- backup -----------------------------------------------------------------------------------------------------------


def test_a_backup_has_every_row_and_is_for_its_owner_alone(filled, database_url, tmp_path):
    file = tmp_path / "backup.db"
    done = filled("db", "backup", str(file))
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("rows of 12 tables, verified\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup.db"]
    assert image(f"sqlite:///{file}") == image(database_url)


def test_a_backup_writes_over_nothing_and_leaves_nothing_when_it_fails(filled, tmp_path, monkeypatch):
    there = tmp_path / "there.db"
    there.write_text("dear diary")
    done = filled("db", "backup", str(there))
    assert (done.code, done.err) == (64, f"{there}: exists already, and is left as it is\n")
    assert there.read_text() == "dear diary"
    assert "cannot be written: no such file" in filled("db", "backup", str(tmp_path / "no" / "x.db")).err
    monkeypatch.setattr(copy, "totals", lambda tx: {"snapshots": [id(tx)]})
    done = filled("db", "backup", str(tmp_path / "x.db"))
    assert (done.code, "table snapshots is not what it should be" in done.err) == (75, True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["there.db"]


def test_a_backup_is_of_one_instant_while_others_write(filled, database_url, tmp_path, monkeypatch):
    """Each transaction keeps two snapshots; no backup has one without the other, and none takes for ever."""
    monkeypatch.setattr("monitor.store.backup.PAGES_AT_ONCE", 1)
    monkeypatch.setattr(copy, "ROWS_AT_ONCE", 50)
    stopped = threading.Event()
    opened = Store(database_url)

    def write() -> None:
        minutes = 100_000
        while not stopped.is_set():
            minutes += 1
            snapshot = Snapshot(NOON + timedelta(minutes=minutes), Decimal(minutes))
            opened.write_now(lambda tx, snapshot=snapshot: insert_snapshots(tx, [(1, snapshot), (3, snapshot)]))

    writer = threading.Thread(target=write)
    writer.start()
    done = [filled("db", "backup", str(tmp_path / f"{n}.db")) for n in range(3)]
    stopped.set()
    writer.join()
    opened.close()
    assert [result.code for result in done] == [0, 0, 0], done
    for n in range(3):
        with closing(sqlite3.connect(tmp_path / f"{n}.db")) as connection:
            late = "SELECT count(*) FROM snapshots WHERE organization_id = ? AND credits >= 100000000000"
            (first,), (third,) = (connection.execute(late, (id_,)).fetchone() for id_ in (1, 3))
            assert first == third - 1  # which had a balance before


# --- copy -------------------------------------------------------------------------------------------------------------


def test_everything_moves_from_either_kind_to_either_kind(filled, database_url, empty_urls):
    expected = image(database_url)
    for url in empty_urls:
        done = filled("db", "copy", "--to", url)
        assert (done.code, done.err) == (0, "")
        assert image(url) == expected
        assert f'[database]\nurl = "{url}"' in done.out


def test_a_url_with_a_password_comes_from_a_file_or_is_warned_about(filled, empty_urls, tmp_path, caplog):
    url = empty_urls[1].replace("postgresql://postgres@", "postgresql://postgres:hunter2x@")
    done = filled("db", "copy", "--to", url)
    assert "everybody here can read this password in the list of processes" in caplog.text
    assert "hunter2x" not in done.out + done.err + caplog.text
    (tmp_path / "url").write_text(f"{empty_urls[0]}\n")
    done = filled("db", "copy", "--to-file", str(tmp_path / "url"))
    assert (done.code, done.err) == (0, "")
    for both in ([], ["--to", "sqlite:////x", "--to-file", str(tmp_path / "url")]):
        assert "expected --to URL or --to-file FILE" in filled("db", "copy", *both).err


def test_a_copy_goes_on_with_new_numbers(filled, empty_urls):
    for url in empty_urls:
        filled("db", "copy", "--to", url)
        engine = open_writer(url)
        with transaction(engine) as tx:
            made = ensure_organization(
                tx, base_url="https://a.example", vendor_id="new", name="new", account="studio", title=None
            )
            values = {"subject": "monitor", "subject_id": 0, "rule": "outage", "severity": "warning"}
            more = {"worst_severity": "warning", "opened_at": NOON, "topped_up_before": Decimal(0)}
            tx.execute(incidents.insert().values(**values, **more))
            assert (made.id, tx.execute(sa.select(sa.func.max(incidents.c.id))).scalar_one()) == (4, 5)
        engine.dispose()


def test_a_target_that_is_not_empty_is_left_as_it_is(filled, empty_urls):
    for url in empty_urls:
        assert filled("db", "copy", "--to", url).code == 0
        before = image(url)
        done = filled("db", "copy", "--to", url)
        assert (done.code, "is not empty (table accounts has 2 rows)" in done.err) == (64, True)
        assert image(url) == before


def test_a_copy_is_refused_while_a_daemon_has_either_database(filled, database_url, empty_urls):
    hold = leader_lock.acquire(database_url)
    assert hold
    for url in empty_urls:
        done = filled("db", "copy", "--to", url)
        assert (
            done.code,
            re.search(r"a credit-monitor.* runs on this database.*; stop it first", done.err) is not None,
        ) == (75, True)
    hold.release()
    filled("db", "copy", "--to", empty_urls[0])
    hold = leader_lock.acquire(empty_urls[0])
    assert hold
    assert filled("db", "copy", "--to", empty_urls[0]).code == 75
    hold.release()


def test_a_copy_broken_off_at_any_statement_leaves_the_target_empty(engine, reader, database_url, empty_urls):

    fill(engine)
    for url in empty_urls:
        with _writing(Database(url, "auto")) as opened:
            for at in range(1, 200):
                with broken(opened.engine, at) as here, suppress(DatabaseError):
                    read(reader, lambda source: opened.write_now(lambda tx: _fill(source, tx, lambda _: print)))
                if here.seen < at:
                    break
                assert not any(image(url).values())
            assert at > 20
        assert image(url) == image(database_url)


def test_a_copy_that_is_not_equal_is_undone(filled, empty_urls, monkeypatch):
    totals = copy.totals

    def one_short(tx: sa.Connection) -> Any:
        if tx.engine.url.database in empty_urls[0] or tx.engine.url.database in empty_urls[1]:
            tx.execute(snapshots.delete().where(snapshots.c.organization_id == 3))
        return totals(tx)

    monkeypatch.setattr(copy, "totals", one_short)
    for url in empty_urls:
        done = filled("db", "copy", "--to", url)
        assert (done.code, "table snapshots is not what it should be after copying" in done.err) == (75, True)
        assert not any(image(url).values())


@pytest.mark.parametrize(
    "url", [f"mysql://me:{SECRET}@h/x", f"{SECRET}", "sqlite://", f"postgresql://me:{SECRET}@127.0.0.1:1/x"]
)
def test_no_password_is_repeated(filled, url):
    done = filled("db", "copy", "--to", url)
    assert done.code == (75 if url.startswith("postgresql") else 64)
    assert SECRET not in done.out + done.err


def test_the_password_is_not_in_what_is_to_be_put_into_the_configuration(filled, empty_urls):
    url = empty_urls[1].replace("postgres@", f"postgres:{SECRET}@")
    done = filled("db", "copy", "--to", url)
    assert (done.code, SECRET in done.out + done.err, "postgres:***@" in done.out) == (0, False, True)


def test_the_configured_database_itself_is_no_target(filled, database_url):
    assert filled("db", "copy", "--to", database_url).code == 64


def test_a_missing_database_is_not_made(shell, tmp_path):
    shell.write(FILE, url=f"sqlite:///{tmp_path}/none.db", vendor=DEAD)
    for arguments in (["backup", str(tmp_path / "b.db")], ["copy", "--to", f"sqlite:///{tmp_path}/c.db"], ["prune"]):
        done = shell("db", *arguments)
        assert (done.code, "there is none yet" in done.err) == (75, True)
    assert not list(tmp_path.glob("*.db"))


def test_the_lease_and_the_schemas_own_notes_stay_behind(filled, empty_urls):
    filled("db", "copy", "--to", empty_urls[1])
    engine = open_writer(empty_urls[1])
    with transaction(engine) as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(leases)).scalar_one() == 1
    engine.dispose()

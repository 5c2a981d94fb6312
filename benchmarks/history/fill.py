"""Makes the two databases that are compared: ours as version 0.1 left it, brought up to date; and the plain way.

Balances arrive poll by poll, as they do in life, not sorted by organization: that is what decides how full pages are.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import sqlalchemy as sa

import monitor
from benchmarks.history.incidents import fill_incidents
from benchmarks.history.year import EPOCH, Row, Year
from monitor.store import migrate
from monitor.store.engines import open_writer, transaction

SCRIPTS = Path(monitor.__file__).parents[1] / "migrations"
PLAIN = "CREATE TABLE balances (id {serial}, organization_id integer, taken_at text, credits {credits})"
PLAIN_INDEX = "CREATE INDEX balances_by_time ON balances (organization_id, taken_at)"

Took = Callable[[str, float], None]


def fill(url: str, plain_url: str, year: Year, took: Took) -> None:
    """Both databases of one kind."""
    _make_first_schema(url, year)
    for what, target, kept in (("ours", url, _ours), ("plain", plain_url, _plain)):
        with timed(f"fill {what}", took):
            kept(target, year)
    engine = open_writer(url)
    with timed("bring it up to date (every snapshot into its day)", took):
        migrate.upgrade(engine)
    with transaction(engine) as tx:
        fill_incidents(tx, year)
        _check(tx, year)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    for left in Path(sa.make_url(url).database or "").parent.glob("*.before-*"):
        left.unlink()


@contextmanager
def timed(what: str, took: Took) -> Iterator[None]:
    began = time.monotonic()
    yield
    took(what, time.monotonic() - began)


def _make_first_schema(url: str, year: Year) -> None:
    engine = open_writer(url)
    with tempfile.TemporaryDirectory() as folder:
        scripts = shutil.copytree(SCRIPTS, Path(folder) / "migrations", ignore=shutil.ignore_patterns("000[!1]_*.py"))
        migrate.upgrade(engine, scripts=scripts)
    with transaction(engine) as tx:
        _insert_subjects(tx, year)
    engine.dispose()


def _insert_subjects(tx: sa.Connection, year: Year) -> None:
    text = sa.text("INSERT INTO accounts (id, name, base_url, generation) VALUES (1, 'studio', 'https://x.test', 'v1')")
    tx.execute(text)
    row = sa.text(
        "INSERT INTO organizations (id, base_url, vendor_id, name, account, watched, used, topped_up) "
        "VALUES (:id, 'https://x.test', :name, :name, 'studio', true, 0, 0)"
    )
    tx.execute(row, [{"id": n, "name": f"org-{n:04}"} for n in range(1, year.organizations + 1)])


# --- balances ---------------------------------------------------------------------------------------------------------


def _ours(url: str, year: Year) -> None:
    if url.startswith("sqlite"):
        _into_sqlite(url, "INSERT INTO snapshots VALUES (?, ?, ?)", year.rows())
        return
    rows = (f"{id_}\t{_instant(at)}\t{credits_}e-6\n" for poll in year.rows() for id_, at, credits_ in poll)
    _into_postgres(url, "COPY snapshots FROM STDIN", rows)


def _plain(url: str, year: Year) -> None:
    if url.startswith("sqlite"):
        _make_plain(url, serial="integer PRIMARY KEY", credits="real")
        statement = "INSERT INTO balances (organization_id, taken_at, credits) VALUES (?, ?, ?)"
        _into_sqlite(url, statement, ([_as_text(row) for row in poll] for poll in year.rows()))
        return
    _make_plain(url, serial="bigserial PRIMARY KEY", credits="numeric")
    rows = (f"{id_}\t{_instant(at)}\t{credits_}e-6\n" for poll in year.rows() for id_, at, credits_ in poll)
    _into_postgres(url, "COPY balances (organization_id, taken_at, credits) FROM STDIN", rows)


def _make_plain(url: str, **types: str) -> None:
    engine = open_writer(url)
    with transaction(engine) as tx:
        tx.exec_driver_sql(PLAIN.format(**types))
        tx.exec_driver_sql(PLAIN_INDEX)
    engine.dispose()


def _as_text(row: Row) -> tuple[int, str, float]:
    return row[0], _instant(row[1]), row[2] / 1_000_000


def _instant(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).isoformat()


def _into_sqlite(url: str, statement: str, polls: Iterator[list[tuple[int, ...]]]) -> None:
    connection = sqlite3.connect(sa.make_url(url).database or "", isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    for poll in polls:
        connection.executemany(statement, poll)
    connection.execute("COMMIT")
    connection.close()


def _into_postgres(url: str, statement: str, rows: Iterator[str]) -> None:
    with psycopg.connect(url) as connection:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[arg-type]
            for row in rows:
                copy.write(row)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM")


# --- is it what it is said to be? -------------------------------------------------------------------------------------


def _check(tx: sa.Connection, year: Year) -> None:
    """Current rows; and the days of every organization add up to its year, to the millionth."""
    from monitor.store.tables import balance_days, organizations, snapshots

    days, rows = balance_days.c, []
    count = tx.execute(sa.select(sa.func.count()).select_from(snapshots)).scalar_one()
    assert count == year.snapshots, count
    sums = (sa.func.sum(days.topped_up), sa.func.sum(days.used))
    question = sa.select(days.organization_id, *sums).group_by(days.organization_id)
    changes = {id_: topped_up - used for id_, topped_up, used in tx.execute(question)}
    for id_ in range(1, year.organizations + 1):
        first, last, before = (Decimal(year.balance(id_, n)).scaleb(-6) for n in (0, year.polls - 1, year.polls - 2))
        assert changes[id_] == last - first, (id_, changes[id_], last - first)
        rows.append({"key": id_, "credits": last, "previous_credits": before})
    here = organizations.c
    newest = {"taken_at": here.newest_at, "previous_at": here.newest_at, "checked_at": here.newest_at}
    values = {name: sa.bindparam(name) for name in ("credits", "previous_credits")} | newest
    tx.execute(organizations.update().where(here.id == sa.bindparam("key")).values(values), rows)


def newest(url: str) -> datetime:
    """When the last balance was taken."""
    from monitor.store.tables import organizations

    engine = open_writer(url)
    with transaction(engine) as tx:
        at: datetime = tx.execute(sa.select(sa.func.max(organizations.c.newest_at))).scalar_one()
    engine.dispose()
    return at

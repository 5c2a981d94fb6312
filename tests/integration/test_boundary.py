"""Whatever comes out of the database layer is a database error; a result that it does not take costs no other."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from raised import CLASSES, raising
from story import DOWN, TOML, of_credits

from monitor.errors import DatabaseError
from monitor.model import Check, Failure, FailureKind, Snapshot
from monitor.poll import batch as batches
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import accounts, checks, snapshots
from monitor.store.writer import Store

SECOND = timedelta(seconds=1)
THREE = TOML + "".join(f'[organizations.o{n}]\naccount = "studio"\nid = "org-{n}"\n' for n in (2, 3))
NAMES = ("farm", "o2", "o3")


@pytest.fixture(params=CLASSES)
def make(request):
    return CLASSES[request.param]


# --- the boundary -----------------------------------------------------------------------------------------------------


def test_every_class_of_exception_at_every_step_of_a_transaction_is_a_database_error(engine, make):
    """Begin, statements and commit."""

    def work() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.select(accounts)).all()
            connection.execute(accounts.update().values(polled_at=None))

    with raising(engine, make, 10_000) as counted:
        work()
    assert counted.seen >= 3
    for step in range(1, counted.seen + 1):
        with raising(engine, make, step), pytest.raises(DatabaseError) as caught:
            work()
        assert "\n" not in str(caught.value)
    work()


def test_what_the_callers_code_raises_stays_what_it_is(engine, make):
    """But for the classes of SQLAlchemy and of the driver, which nobody else raises."""
    error = make()
    theirs = (sa.exc.SQLAlchemyError, sqlite3.Error, engine.dialect.loaded_dbapi.Error)

    def work() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.select(accounts)).all()
            raise error

    with pytest.raises(DatabaseError if isinstance(error, theirs) else type(error)):
        work()


def test_an_exception_out_of_connect_is_a_database_error(database_url, make):
    engine = open_writer(database_url)

    @sa.event.listens_for(engine, "connect")
    def _connect(*_):
        raise make()

    with pytest.raises(DatabaseError), transaction(engine):
        pass
    engine.dispose()


def test_an_exception_out_of_fetch_is_a_database_error(engine):
    """A value that the driver, or a type of ours, cannot read."""
    beyond = "'infinity'" if engine.dialect.name == "postgresql" else str(10**18)
    insert = "INSERT INTO accounts (id, name, base_url, generation, polled_at) VALUES (1, 'a', 'https://x', 'v1', "
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"{insert}{beyond})")
    with pytest.raises(DatabaseError, match="a value that it cannot hold"), transaction(engine) as connection:
        connection.execute(sa.select(accounts.c.polled_at)).all()


def test_a_row_that_should_be_there_and_is_not_is_a_database_error(engine):
    with pytest.raises(DatabaseError), transaction(engine) as connection:
        connection.execute(sa.select(accounts)).one()


async def test_reading_says_nothing_of_whether_it_can_be_written(database_url):
    opened = Store(database_url)

    def fail(tx):
        raise DatabaseError("the disk is full", concerns_all=True)

    with pytest.raises(DatabaseError):
        await opened.write(fail)
    await opened.write(lambda tx: tx.execute(sa.select(accounts)).all())
    assert opened.trouble
    assert await opened.is_writable()
    assert opened.trouble is None
    opened.close()


# --- one poll ---------------------------------------------------------------------------------------------------------


def results(story, outcome: str) -> list[Check]:
    """One result of each organization."""
    checks = []
    for name in NAMES:
        story.now += SECOND
        checks.append(story.result(outcome, name))
    return checks


async def poll(story, results: list[Check]) -> None:
    for check in results:
        story.parts.batch.add(check)
    story.parts.batch.polled(1, story.now)
    await story.parts.batch.flush()


async def test_one_exception_of_each_class_at_each_step_of_a_poll_loses_nothing(story, make, monkeypatch):
    monkeypatch.setattr(batches, "TRY_AGAIN_EVERY", 0.0)
    await story.restart(THREE)
    engine, number = story.store.engine, 0
    while True:
        number += 1
        checks = results(story, str(5000 - number))
        with raising(engine, make, number) as here:
            await poll(story, checks)
        for _ in range(2):
            await story.parts.batch.flush()
        if here.left:
            break
    assert number > 8
    recorded = story.rows(snapshots)
    assert len(recorded) == 3 * number
    assert {row["credits"] for row in recorded} == {Decimal(5000 - n) for n in range(1, number + 1)}
    assert story.rows(accounts)[0]["polled_at"] == story.now
    assert story.parts.batch.trouble is None
    assert story.heard() == []


async def test_a_database_that_fails_in_whatever_way_is_held_for_and_the_fall_is_told(story, make, monkeypatch):
    monkeypatch.setattr(batches, "TRY_AGAIN_EVERY", 0.0)
    story.now += SECOND
    check = story.result("900")
    with raising(story.store.engine, make, 1, times=10_000):
        await poll(story, [check])
        assert story.parts.batch.failing or story.parts.batch.trouble
    for _ in range(2):
        await story.parts.batch.flush()
    assert [row["credits"] for row in story.rows(snapshots)] == [900]
    assert story.heard() == of_credits("ops", reason="opened", severity="warning")
    assert not story.parts.batch.failing


# --- poisoned results -------------------------------------------------------------------------------------------------


def failure(message: str) -> Failure:
    return Failure(FailureKind.UNAVAILABLE, message, 503)


async def test_a_message_that_cannot_be_stored_is_stored_escaped_and_costs_its_siblings_nothing(story):
    await story.restart(THREE)
    lone = "half a character: \ud83d"
    for name, outcome in (("farm", "900"), ("o2", failure(lone)), ("o3", "800")):
        story.now += SECOND
        story.parts.batch.add(story.result(outcome, name))
    await story.parts.batch.flush()
    assert sorted(row["credits"] for row in story.rows(snapshots)) == [800, 900]
    assert [row["message"] for row in story.rows(checks)] == [r"half a character: \ud83d"]
    assert [said[1:] for said in story.heard()] == [("credits", "opened", "warning")] * 2
    assert story.parts.batch.trouble is None


async def test_an_overflow_is_set_aside_told_and_tried_again_and_its_siblings_go_on(story, caplog, monkeypatch):
    await story.restart(THREE)
    story.now += SECOND
    poisoned = replace(story.result("1"), outcome=Snapshot(story.now, Decimal(10) ** 30))
    siblings = []
    for number in range(150):
        story.now += SECOND
        siblings.append(story.result(str(5000 + number), NAMES[number % 2 + 1]))
    for check in (*siblings[:70], poisoned, *siblings[70:]):
        story.parts.batch.add(check)
    await story.parts.batch.flush()
    assert len(story.rows(snapshots)) == 150
    trouble = story.parts.batch.trouble
    assert trouble
    assert trouble.what == "1 result"
    assert len([r for r in caplog.records if "cannot be recorded" in r.message]) == 1
    assert "Traceback" not in caplog.text
    monkeypatch.setattr(batches, "TRY_AGAIN_EVERY", 0.0)
    await story.parts.batch.flush()
    assert [check.carried_over for check in await story.parts.batch.give_up()] == [True]


async def test_a_table_that_may_not_be_written_is_told_by_its_name_and_nothing_is_dropped(story, monkeypatch):
    if story.store.engine.dialect.name == "sqlite":
        trigger = "CREATE TRIGGER no BEFORE INSERT ON snapshots BEGIN SELECT RAISE(ABORT, 'not into snapshots'); END"
        story.write(lambda tx: tx.exec_driver_sql(trigger))
        mend = "DROP TRIGGER no"
    else:
        function = "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE insufficient_privilege USING MESSAGE = "
        function += "'permission denied for table snapshots'; END $$ LANGUAGE plpgsql"
        trigger = "CREATE TRIGGER no BEFORE INSERT ON snapshots FOR EACH ROW EXECUTE FUNCTION no()"
        story.write(lambda tx: (tx.exec_driver_sql(function), tx.exec_driver_sql(trigger)))
        mend = "DROP TRIGGER no ON snapshots"
    await story.check("900")
    await story.check(DOWN)
    await story.check("800")
    assert story.parts.batch.trouble
    assert story.parts.batch.trouble.what == "2 results"
    assert "snapshots" in story.parts.batch.trouble.cause
    story.write(lambda tx: tx.exec_driver_sql(mend))
    monkeypatch.setattr(batches, "TRY_AGAIN_EVERY", 0.0)
    await story.parts.batch.flush()
    assert [row["credits"] for row in story.rows(snapshots)] == [900, 800]
    assert story.parts.batch.trouble is None


async def test_results_that_are_too_many_are_dropped_oldest_first_and_said_once_an_hour(story, outage, caplog):
    outage.begin(story.store.engine)
    batch = story.parts.batch
    monkey = pytest.MonkeyPatch()
    monkey.setattr(batches, "MAX_HELD", 50)
    try:
        one = Check(1, 1, story.now, DOWN)
        for _ in range(200):
            batch.add(one)
        await batch.flush()
    finally:
        monkey.undo()
        outage.end(story.store.engine)
    assert len([r for r in caplog.records if "were dropped so far" in r.message]) == 1
    await batch.flush()
    assert 40 <= len(story.rows(checks)) < 50


# --- titles -----------------------------------------------------------------------------------------------------------


def test_a_title_is_escaped_where_it_cannot_be_stored(postgres):
    """A database of an encoding that cannot hold it, and that has our schema already."""
    for encoding, kept in (("LATIN1", r"Ky\u014dto Müller"), ("SQL_ASCII", r"Ky\u014dto M\u00fcller")):
        url = postgres.new_encoded(encoding)
        engine = open_writer(url)
        with transaction(engine) as connection:
            values = {"name": "a", "base_url": "https://x", "generation": "Kyōto Müller"}
            connection.execute(accounts.insert().values(values))
        with transaction(engine) as connection:
            assert connection.execute(sa.select(accounts.c.generation)).scalar_one() == kept
        engine.dispose()
        postgres.drop(url)

"""What roles, databases, poolers and other programs do to a PostgreSQL database, and whose tables are in it."""

import re

import pytest
import sqlalchemy as sa
from broken import problem
from filled import fill
from pooler import pooled
from server import upgraded

from monitor.errors import DatabaseError
from monitor.store import integrity, migrate
from monitor.store.engines import open_reader, open_writer, transaction
from monitor.store.leader_lock import open_leader_lock
from monitor.store.tables import SCHEMA, accounts
from monitor.store.writer import Store, probe

ADD = {"base_url": "https://x", "generation": "v1"}


def name_of(url: str) -> str:
    return str(sa.make_url(url).database)


def refusal(url: str) -> str:
    engine = open_writer(url)
    with pytest.raises(DatabaseError) as caught:
        migrate.upgrade(engine)
    engine.dispose()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def role(postgres):
    """A role that owns nothing."""
    postgres.execute("DROP ROLE IF EXISTS clerk")
    postgres.execute("CREATE ROLE clerk LOGIN")
    yield "clerk"
    postgres.execute("ALTER ROLE clerk RESET ALL")


def as_role(url: str, role: str) -> str:
    return url.replace("postgres@", f"{role}@")


# --- what a role or a database sets -----------------------------------------------------------------------------------


def test_what_a_role_or_database_sets_does_not_change_what_a_connection_relies_on(postgres, postgres_url):
    sets = {
        "DateStyle": "'SQL, DMY'",
        "client_encoding": "'LATIN1'",
        "timezone": "'Asia/Tokyo'",
        "standard_conforming_strings": "off",
    }
    for setting, value in sets.items():
        postgres.execute(f"ALTER DATABASE {name_of(postgres_url)} SET {setting} = {value}")
    for engine in (open_writer(postgres_url), open_reader(postgres_url)):
        with transaction(engine) as connection:
            values = [str(connection.exec_driver_sql(f"SHOW {setting}").scalar()) for setting in sets]
        assert [value.partition(",")[0] for value in values] == ["ISO", "UTF8", "UTC", "on"]
        engine.dispose()
    engine = open_writer(postgres_url)
    fill(engine)
    migrate.require_current(engine)
    engine.dispose()


def test_an_administrators_read_only_is_respected_and_told(postgres, postgres_url):
    postgres.execute(f"ALTER DATABASE {name_of(postgres_url)} SET default_transaction_read_only = on")
    opened = Store(postgres_url)
    with pytest.raises(DatabaseError, match="default_transaction_read_only") as caught:
        opened.write_now(probe)
    assert caught.value.concerns_all
    opened.close()
    reader = open_reader(postgres_url)
    migrate.require_current(reader)
    ((found, _),) = integrity.write_obstacles(reader)
    assert "default_transaction_read_only is on" in found
    reader.dispose()


def test_nothing_keeps_the_owner_from_writing(postgres_url):
    reader = open_reader(postgres_url)
    assert list(integrity.write_obstacles(reader)) == []
    reader.dispose()


# --- missing rights and objects ---------------------------------------------------------------------------------------


def test_a_missing_grant_names_its_table_and_the_sequence(postgres, postgres_url, role):
    owner = open_writer(postgres_url)
    with transaction(owner) as connection:
        for grant in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE ON ALL SEQUENCES"):
            connection.exec_driver_sql(f"GRANT {grant} IN SCHEMA public TO {role}")
        connection.exec_driver_sql(f"REVOKE INSERT ON snapshots FROM {role}")
        connection.exec_driver_sql(f"REVOKE USAGE ON accounts_id_seq FROM {role}")
    engine = open_writer(as_role(postgres_url, role))
    assert "permission denied for table snapshots" in problem(engine, "INSERT INTO snapshots VALUES (1, now(), 5)")
    engine = open_writer(as_role(postgres_url, role))
    with pytest.raises(DatabaseError, match=r"sequence accounts_id_seq\); .*GRANT"), transaction(engine) as connection:
        connection.execute(accounts.insert().values(ADD | {"name": "a"}))
    engine.dispose()
    reader = open_reader(as_role(postgres_url, role))
    ((found, _),) = integrity.write_obstacles(reader)
    assert found.endswith("this user lacks INSERT on snapshots, USAGE on public.accounts_id_seq")
    reader.dispose()
    with transaction(owner) as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
    owner.dispose()


def test_the_grants_of_the_docs_are_enough(postgres_url, role, request):
    text = (request.config.rootpath / "docs" / "database.md").read_text()
    grants = re.findall(r"^GRANT .*?;$", text.partition("daemon needs to run")[2], re.MULTILINE)
    assert len(grants) == 3
    owner = open_writer(postgres_url)
    with transaction(owner) as connection:
        for grant in grants:
            connection.exec_driver_sql(grant.replace("monitor;", f"{role};"))
    reader = open_reader(as_role(postgres_url, role))
    assert list(integrity.write_obstacles(reader)) == []
    reader.dispose()
    with transaction(owner) as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
    owner.dispose()


def test_a_table_that_has_gone_is_named_and_an_upgrade_is_not_the_advice(engine):
    with transaction(engine) as connection:
        connection.exec_driver_sql("DROP TABLE attempts")
    with pytest.raises(DatabaseError, match="its table attempts has gone") as caught:
        migrate.warnings(engine)
    assert "put a backup back" in str(caught.value)
    said = problem(engine, "SELECT * FROM attempts")
    assert f"its table attempts has gone, or this user may not see it, though the schema says {SCHEMA}" in said


def test_a_table_that_is_not_ours_any_more_is_named(engine):
    with transaction(engine) as connection:
        connection.exec_driver_sql("DROP TABLE attempts")
        connection.exec_driver_sql("CREATE TABLE attempts (id INTEGER, score INTEGER)")
    with pytest.raises(
        DatabaseError, match="its table attempts is not ours, or was changed: it has no column delivery_"
    ):
        migrate.warnings(engine)


def test_a_missing_schema_is_named_as_that(postgres, empty_postgres_url):
    postgres.execute(f"ALTER DATABASE {name_of(empty_postgres_url)} SET search_path = credits")
    said = refusal(empty_postgres_url)
    assert "there is no schema for its tables" in said
    assert "CREATE SCHEMA" in said


# --- another program's database ---------------------------------------------------------------------------------------


def make_foreign(url: str, *statements: str) -> None:
    engine = open_writer(url)
    with transaction(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


VERSION = ("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",)


@pytest.mark.parametrize("revision", ["0002", SCHEMA, "9999", "3f2a9c81d0ab"])
def test_a_foreign_alembic_version_is_recognised_by_more_than_its_number(empty_database_url, revision):
    make_foreign(
        empty_database_url,
        *VERSION,
        f"INSERT INTO alembic_version VALUES ('{revision}')",
        "CREATE TABLE orders (id INTEGER)",
        "CREATE TABLE users (id INTEGER)",
    )
    said = refusal(empty_database_url)
    assert f"belongs to another program, it seems (its alembic_version says {revision}; " in said
    assert "its tables are orders, users)" in said
    assert "; choose another " in said
    reader = open_reader(empty_database_url)
    for ask in (migrate.current, migrate.is_current, migrate.require_current):
        with pytest.raises(DatabaseError, match="belongs to another program"):
            ask(reader)
    reader.dispose()


def test_foreign_tables_of_our_names_are_not_migrated_into(empty_database_url):
    make_foreign(empty_database_url, "CREATE TABLE accounts (id INTEGER, email TEXT)")
    said = refusal(empty_database_url)
    assert "belongs to another program, it seems" in said
    if empty_database_url.startswith("postgresql"):
        assert "its owner is postgres" in said
        assert "search_path" in said


def test_other_tables_beside_ours_disturb_nobody(empty_database_url):
    make_foreign(empty_database_url, "CREATE TABLE orders (id INTEGER)")
    upgraded(empty_database_url)


def test_a_schema_of_its_own_is_made_beside_another_programs(empty_postgres_url):
    make_foreign(
        empty_postgres_url,
        *VERSION,
        "INSERT INTO alembic_version VALUES ('3f2a9c81d0ab')",
        "CREATE TABLE accounts (id INTEGER)",
        "CREATE SCHEMA credit_monitor",
    )
    url = f"{empty_postgres_url}&options=-csearch_path%3Dcredit_monitor"
    upgraded(url)
    engine = open_writer(url)
    assert migrate.warnings(engine) == []
    fill(engine)
    engine.dispose()


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_new_database_that_cannot_hold_every_text_is_refused_with_the_remedy(postgres, encoding):
    url = postgres.new_encoded(encoding, schema=False)
    said = refusal(url)
    assert f"its encoding is {encoding}" in said
    assert "createdb -E UTF8 -T template0" in said
    postgres.drop(url)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_one_that_has_our_schema_runs_on_loudly_with_what_it_cannot_hold_escaped(postgres, encoding):
    url = postgres.new_encoded(encoding)
    engine = open_writer(url)
    (warning,) = migrate.warnings(engine)
    assert f"its encoding is {encoding}" in warning
    assert "escaped" in warning
    for name in ("Kyōto", "日本", "Müller", "plain", "€"):
        with transaction(engine) as connection:
            connection.execute(accounts.insert().values(ADD | {"name": name}))
            found = connection.execute(sa.select(accounts.c.name).where(accounts.c.name == name)).scalar_one()
        fits = name.isascii() or (encoding == "LATIN1" and name == "Müller")
        assert (found == name) == fits
        assert fits or found.startswith(("Ky\\u014d", "\\u65e5\\u672c", "M\\u00fc", "\\u20ac"))
    engine.dispose()
    postgres.drop(url)


# --- poolers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("sessions", [1, 4])
def test_a_pooler_that_shares_sessions_is_refused_with_the_remedy(postgres, postgres_url, mode, sessions):
    with pooled(postgres, name_of(postgres_url), mode=mode, sessions=sessions) as url:
        for opened in (open_writer(url), open_reader(url)):
            said = problem(opened)
            assert "pool_mode = session" in said
            assert "the server's own port" in said


def test_a_pooler_that_gives_each_connection_its_session_is_as_good_as_none(postgres, postgres_url):
    with pooled(postgres, name_of(postgres_url), mode="session") as url:
        opened, lock = Store(url), open_leader_lock(url)
        assert lock.acquire()
        opened.fence = lock.fence
        opened.write_now(probe)
        lock.release()
        opened.close()

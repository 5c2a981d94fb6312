import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from filled import HOUR, NOON, fill
from wait import LONG

from monitor.errors import DatabaseError, SchemaOutdated
from monitor.model import Snapshot
from monitor.store import migrate, tables
from monitor.store.engines import open_reader, open_writer, transaction
from monitor.store.snapshots import insert_snapshots

HERE = tables.SCHEMA
NEXT = f"{int(HERE) + 1:04}"
SCRIPTS = Path(migrate.__file__).parents[2] / "migrations"

FOLLOWING = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "@NEXT@", "@HERE@", None, None


def upgrade() -> None:
    for view in ("delivery_history", "incident_history", "balance_usage_daily", "balance_latest", "balance_history"):
        op.execute(f"DROP VIEW {view}")
    rebuild = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("organizations", recreate=rebuild) as batch:
        batch.add_column(sa.Column("note", sa.Text))
    op.execute("UPDATE organizations SET name = name || '!'")
    op.execute("UPDATE compatibility SET schema = '@NEXT@'")
    EXTRA
"""


@pytest.fixture
def empty(empty_database_url):
    engine = open_writer(empty_database_url)
    yield engine
    engine.dispose()


def next_version(directory: Path, extra: str = "") -> Path:
    """Our migrations and one more, that rebuilds a table other tables refer to."""
    scripts = Path(shutil.copytree(SCRIPTS, directory / "migrations"))
    text = FOLLOWING.replace("EXTRA", extra).replace("@NEXT@", NEXT).replace("@HERE@", HERE)
    (scripts / "versions" / f"{NEXT}_next.py").write_text(text)
    return scripts


def rows(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    with transaction(engine) as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in tables.metadata.sorted_tables
        }


def step(engine: sa.Engine, revision: str) -> None:
    """Down to an older revision."""
    with migrate._alone(engine) as connection:
        command.downgrade(migrate._config(connection, SCRIPTS), revision)


def test_an_empty_database_is_brought_up_to_date_once(empty):
    assert migrate.current(empty) is None
    assert not migrate.is_current(empty)
    assert migrate.upgrade(empty) == migrate.Upgrade(before=None, after=tables.SCHEMA)
    assert migrate.is_current(empty)
    assert migrate.upgrade(empty) == migrate.Upgrade(before=tables.SCHEMA, after=tables.SCHEMA)


def test_the_newest_migration_is_the_schema_the_tables_name():
    versions = sorted(path.name[:4] for path in (SCRIPTS / "versions").glob("*.py"))
    assert len(set(versions)) == len(versions)
    assert versions[-1] == tables.SCHEMA


def test_the_migrations_build_exactly_the_tables(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_the_migrations_build_what_the_tables_would_build_name_by_name(empty):
    tables.metadata.create_all(empty)
    wanted = structure(empty)
    tables.metadata.drop_all(empty)
    migrate.upgrade(empty)
    assert structure(empty) == wanted


def structure(engine: sa.Engine) -> list[tuple[str, ...]]:
    """Everything the database itself says of its tables: columns, constraints with their names, indexes, comments."""
    postgres = """
        SELECT table_name, column_name, ordinal_position::text, data_type, is_nullable, coalesce(column_default, ''),
               coalesce(numeric_scale::text, '') FROM information_schema.columns
        WHERE table_name IN (SELECT tablename FROM pg_tables) AND table_schema = 'public'
        UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', ''
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT tablename, indexname, indexdef, '', '', '', '' FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT objoid::regclass::text, objsubid::text, description, '', '', '', '' FROM pg_description
        WHERE classoid = 'pg_class'::regclass AND objoid::regclass::text = ANY (SELECT tablename FROM pg_tables
              WHERE schemaname = 'public')"""
    sqlite = "SELECT tbl_name, name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'index')"
    with transaction(engine) as connection:
        rows = connection.exec_driver_sql(sqlite if engine.dialect.name == "sqlite" else postgres)
        kept = [tuple(row) for row in rows if row[0] != "alembic_version"]
    if engine.dialect.name == "sqlite":  # it keeps the text of the statement, and puts an added column last
        kept = [(*row[:2], " ".join(sorted(re.split(r"[\s(),\"]+", row[2])))) for row in kept]
    return sorted(kept)


def test_up_down_and_up_on_a_filled_database(engine):
    fill(engine)
    step(engine, "base")
    assert migrate.current(engine) is None
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        assert (inspector.get_table_names(), inspector.get_view_names()) == (["alembic_version"], [])
    migrate.upgrade(engine)
    fill(engine)
    assert len(rows(engine)["snapshots"]) == 6


def test_the_next_migration_keeps_every_row(engine, tmp_path):
    fill(engine)
    before = rows(engine)
    result = migrate.upgrade(engine, scripts=next_version(tmp_path))
    after = rows(engine)
    names = [row[3] for row in after.pop("organizations")]
    before.pop("organizations")
    assert (before.pop("compatibility"), after.pop("compatibility")) == ([(HERE, "0007")], [(NEXT, "0007")])
    assert (result.before, result.after, migrate.current(engine)) == (HERE, NEXT, NEXT)
    assert after == before
    assert names == ["render-farm!", "video!", "old!"]


def test_on_sqlite_an_id_is_not_given_again_after_its_row_was_deleted(sqlite_url):
    engine = open_writer(sqlite_url)
    fill(engine)
    newest = max(row[0] for row in rows(engine)["deliveries"])
    with transaction(engine) as connection:
        connection.execute(sa.delete(tables.attempts))
        connection.execute(sa.delete(tables.deliveries).where(tables.deliveries.c.id == newest))
        row = dict(connection.execute(sa.select(tables.deliveries)).mappings().first()) | {"channel": "new"}
        del row["id"]
        added = connection.execute(tables.deliveries.insert().values(row)).inserted_primary_key
    engine.dispose()
    assert added[0] > newest


def test_a_copy_of_the_sqlite_file_is_kept_beside_it(sqlite_url, tmp_path):
    engine = open_writer(sqlite_url)
    fill(engine)
    copy = migrate.upgrade(engine, scripts=next_version(tmp_path)).copy
    engine.dispose()
    assert copy is not None
    assert sorted(path.name for path in copy.parent.iterdir()) == ["monitor.db", f"monitor.db.before-{NEXT}"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    old = open_reader(f"sqlite:///{copy}")
    assert migrate.current(old) == HERE
    assert [row[3] for row in rows(old)["organizations"]] == ["render-farm", "video", "old"]
    old.dispose()


def test_a_copy_that_cannot_be_made_stops_the_migration(sqlite_url, tmp_path):
    engine = open_writer(sqlite_url)
    (tmp_path / "state" / f"monitor.db.before-{NEXT}" / "in the way").mkdir(parents=True)
    with pytest.raises(DatabaseError, match="the copy before migrating cannot be made: is a directory"):
        migrate.upgrade(engine, scripts=next_version(tmp_path))
    assert migrate.current(engine) == HERE
    engine.dispose()


def test_a_migration_that_fails_changes_nothing(engine, tmp_path):
    fill(engine)
    before = rows(engine)
    with pytest.raises(RuntimeError):
        migrate.upgrade(engine, scripts=next_version(tmp_path, "raise RuntimeError"))
    assert migrate.is_current(engine)
    assert rows(engine) == before


def test_a_migration_that_orphans_rows_is_undone(sqlite_url, tmp_path):
    engine = open_writer(sqlite_url)
    fill(engine)
    scripts = next_version(tmp_path, 'op.execute("DELETE FROM accounts WHERE id = 1")')
    with pytest.raises(DatabaseError, match="rows of checks refer to rows of accounts that do not exist"):
        migrate.upgrade(engine, scripts=scripts)
    assert migrate.is_current(engine)
    with transaction(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    engine.dispose()


@pytest.mark.parametrize("gap", [1, 5, 4000])
def test_many_days_and_then_a_gap_are_migrated(engine, gap):
    fill(engine)
    with transaction(engine) as connection:
        far = [Snapshot(NOON + days * 24 * HOUR, Decimal(5000 - days)) for days in (*range(1, 1003), 1002 + gap)]
        insert_snapshots(connection, [(2, snapshot) for snapshot in far])
    before = rows(engine)["balance_days"]
    step(engine, "0001")
    migrate.upgrade(engine)
    assert rows(engine)["balance_days"] == before


def test_a_newer_schema_that_ends_older_programs_is_left_alone(engine, tmp_path):
    ends = """op.execute("UPDATE compatibility SET oldest = '@NEXT@'")"""
    migrate.upgrade(engine, scripts=next_version(tmp_path, ends))
    assert not migrate.is_current(engine)
    for touch in (migrate.upgrade, migrate.require_current):
        with pytest.raises(SchemaOutdated, match=rf"its schema is {NEXT}.* upgrade credit-monitor$"):
            touch(engine)


def test_a_newer_schema_that_says_nothing_is_left_alone(engine):
    with transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9000'")
    with pytest.raises(SchemaOutdated, match=r"its schema is 9000.* upgrade credit-monitor$"):
        migrate.require_current(engine)


def test_this_version_runs_beside_the_next_one_during_an_upgrade(engine, tmp_path):
    migrate.upgrade(engine, scripts=next_version(tmp_path))
    migrate.require_current(engine)
    assert migrate.is_current(engine)
    assert migrate.upgrade(engine) == migrate.Upgrade(before=NEXT, after=NEXT)


def test_the_history_so_far_is_in_the_days_after_the_migration(engine):
    fill(engine)
    with transaction(engine) as connection:
        far = [(1, Snapshot(NOON + 400 * HOUR, Decimal("1e-6"))), (1, Snapshot(NOON + 401 * HOUR, Decimal(7)))]
        insert_snapshots(connection, far)
    before = rows(engine)
    step(engine, "0001")
    migrate.upgrade(engine)
    after = rows(engine)
    assert after["balance_days"] == before["balance_days"]
    assert after["organizations"] == before["organizations"]
    assert len(after["balance_days"]) > 15


def test_migrating_by_hand_names_the_command(empty):
    with pytest.raises(SchemaOutdated, match="run `credit-monitor db upgrade`"):
        migrate.require_current(empty)
    migrate.upgrade(empty)
    migrate.require_current(empty)


UPGRADE = """
import sys
from monitor.store import migrate
from monitor.store.engines import open_writer
print(migrate.upgrade(open_writer(sys.argv[1])).before)
"""


def test_of_four_processes_one_migrates_and_all_succeed(empty_database_url):
    run = [sys.executable, "-c", UPGRADE, empty_database_url]
    children = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [child.communicate(timeout=LONG)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0]
    assert sorted(outputs) == [HERE, HERE, HERE, "None"]


def test_alembic_is_imported_only_when_there_is_something_to_migrate(sqlite_url):
    program = f"{UPGRADE}\nassert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, sqlite_url], check=True, capture_output=True, timeout=LONG)


def test_what_goes_in_comes_out_exactly(engine):
    at, amount = datetime(2026, 3, 29, 1, 0, 0, 1, tzinfo=UTC), Decimal("-999999999999.999999")
    fill(engine)
    with transaction(engine) as connection:
        connection.execute(sa.insert(tables.snapshots).values(organization_id=2, taken_at=at, credits=amount))
        row = connection.execute(sa.select(tables.snapshots).where(tables.snapshots.c.organization_id == 2)).one()
    assert tuple(row) == (2, at, amount)


def test_only_one_incident_of_a_rule_is_open_for_a_subject(engine):
    fill(engine)
    with pytest.raises(DatabaseError), transaction(engine) as connection:
        connection.execute(sa.update(tables.incidents).where(tables.incidents.c.id == 1).values(resolved_at=None))


def test_a_copy_is_one_that_sqlite_calls_whole(sqlite_url, tmp_path):
    engine = open_writer(sqlite_url)
    copy = migrate.upgrade(engine, scripts=next_version(tmp_path)).copy
    engine.dispose()
    with sqlite3.connect(str(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()

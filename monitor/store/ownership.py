"""Recognise our own schema by more than a number: another program's tables are neither migrated nor read.

Alembic is common, and so are names such as `accounts`; what our first schema has, and keeps, tells whose a database is.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import gone, location
from monitor.store.sessions import holds_every_text
from monitor.store.tables import SCHEMA, metadata
from monitor.text import mask

VERSION: Final = "alembic_version"
_MARKS: Final = {  # columns that nobody else's table of the name has together
    "accounts": {"name", "base_url", "generation"},
    "organizations": {"base_url", "vendor_id", "account"},
    "snapshots": {"organization_id", "taken_at", "credits"},
    "incidents": {"subject", "subject_id", "rule"},
    "deliveries": {"notification_id", "channel", "give_up_at"},
}
_NAMED: Final = 5  # tables of another program that are named

_COLUMNS: Final = {
    "postgresql": (
        "SELECT c.relname, a.attname, pg_get_userbyid(c.relowner) FROM pg_class AS c"
        " LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind IN ('r', 'p') AND c.relname IN :names AND pg_table_is_visible(c.oid)"
    ),
    "sqlite": (
        "SELECT m.name, c.name, NULL FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
        " WHERE m.type = 'table' AND m.name IN :names"
    ),
}
_TABLES: Final = {
    "postgresql": (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
        " AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY 1"
    ),
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1",
}


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of our schema; None where there is none yet.

    Raise `DatabaseError` where another program's tables, or remains of ours, are in its place.
    """
    columns, owners = _columns(connection)
    versions = []
    if "version_num" in columns.get(VERSION, ()):
        versions = list(connection.execute(sa.text("SELECT version_num FROM alembic_version ORDER BY 1")).scalars())
    if any(marks <= columns.get(table, set()) for table, marks in _MARKS.items()):
        if len(versions) != 1:
            raise gone(connection.engine.url, f"the row of {VERSION}", SCHEMA)
        return str(versions[0])
    if versions or columns.keys() - {VERSION}:
        raise _foreign(connection, [str(version) for version in versions], sorted(columns), owners)
    return None


def require_whole(connection: sa.Connection) -> None:
    """Raise `DatabaseError` where tables of the present schema are missing, or are another program's."""
    columns, _ = _columns(connection)
    missing = [name for name in metadata.tables if name not in columns]
    if missing:
        raise gone(connection.engine.url, f"its table {', '.join(missing)}", SCHEMA)
    for name, table in metadata.tables.items():
        if lacking := [column.name for column in table.columns if column.name not in columns[name]]:
            raise DatabaseError(
                f"{location(connection.engine.url)}: its table {name} is not ours, or was changed: it has no column "
                f"{', '.join(lacking)}; put a backup back (docs/operations.md, Backup)"
            )


def encoding_problem(connection: sa.Connection) -> str | None:
    """Return why a PostgreSQL database cannot hold every text, and what helps; None where it can."""
    if connection.dialect.name != "postgresql":
        return None
    encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar())
    if holds_every_text(encoding):
        return None
    return (
        f"{location(connection.engine.url)}: its encoding is {encoding}, which cannot hold every name and message; "
        "createdb -E UTF8 -T template0 --lc-collate C --lc-ctype C NAME, and use that one"
    )


def _columns(connection: sa.Connection) -> tuple[Mapping[str, set[str]], Mapping[str, str | None]]:
    """Return the columns of each table that has a name of ours, and its owner, where there are any."""
    question = sa.text(_COLUMNS[connection.dialect.name]).bindparams(sa.bindparam("names", expanding=True))
    columns: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, str | None] = {}
    for table, column, owner in connection.execute(question, {"names": [VERSION, *metadata.tables]}):
        owners[table] = owner
        columns[table].add(column)
    return columns, owners


def _foreign(
    connection: sa.Connection, versions: list[str], ours: list[str], owners: Mapping[str, str | None]
) -> DatabaseError:
    """Return the error for another program's database: whose it seems to be, and how to choose another."""
    names = connection.exec_driver_sql(_TABLES[connection.dialect.name]).scalars()
    tables = [name for name in names if name != VERSION]
    signs = [f"its {VERSION} says {', '.join(versions)}"] if versions else []
    if owner := next((owners[name] for name in ours if owners[name]), None):
        signs.append(f"its owner is {owner}")
    named = ", ".join(tables[:_NAMED]) + (f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else "")
    signs.append(f"its tables are {named}" if tables else "it has no other table")
    if connection.dialect.name == "postgresql":
        remedy = (
            "choose another database (createdb -E UTF8 -T template0 NAME), or a schema of its own: CREATE SCHEMA "
            "credit_monitor, and ?options=-csearch_path%3Dcredit_monitor at the end of database.url"
        )
    else:
        remedy = "choose another file in database.url"
    return DatabaseError(
        f"{location(connection.engine.url)}: belongs to another program, it seems ({mask('; '.join(signs))}); {remedy}"
    )

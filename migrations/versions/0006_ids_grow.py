"""On SQLite an id is never given again, even after the newest row was deleted: what is on its way names rows by id.

PostgreSQL's sequences only grow anyway.
"""

import re

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("accounts", "organizations", "checks", "incidents", "deliveries", "attempts", "silences")
PLAIN = (r"\bid INTEGER NOT NULL,", "id INTEGER NOT NULL,")
GROWING = (r"\bid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,", "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        rebuild(grow=True)
    op.execute(f"UPDATE compatibility SET schema = '{revision}'")  # noqa: S608 -- our own words


def downgrade() -> None:
    op.execute(f"UPDATE compatibility SET schema = '{down_revision}'")  # noqa: S608 -- likewise
    if op.get_bind().dialect.name == "sqlite":
        rebuild(grow=False)


def rebuild(*, grow: bool) -> None:
    """Make each table anew from its own statement, so that whatever other migrations added stays as it is."""
    views = statements("type = 'view'")
    for name, _ in reversed(views):
        op.execute(f'DROP VIEW "{name}"')
    for table in TABLES:
        ((_, made),) = statements(f"type = 'table' AND name = '{table}'")
        indexes = statements(f"type = 'index' AND tbl_name = '{table}' AND sql IS NOT NULL")
        op.execute(escaped(renamed(growing(made, table) if grow else plain(made, table), table)))
        op.execute(f"INSERT INTO new_{table} SELECT * FROM {table}")  # noqa: S608 -- likewise
        op.execute(f"DROP TABLE {table}")
        op.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
        for _, index in indexes:
            op.execute(escaped(index))
    for _, view in views:
        op.execute(escaped(view))


def statements(which: str) -> list[tuple[str, str]]:
    question = f"SELECT name, sql FROM sqlite_master WHERE {which} ORDER BY rowid"  # noqa: S608 -- likewise
    rows = op.get_bind().exec_driver_sql(question)
    return [(name, sql) for name, sql in rows]


def growing(made: str, table: str) -> str:
    made, keys = re.subn(rf",\s*CONSTRAINT pk_{table} PRIMARY KEY \(id\)", "", made)
    made, ids = re.subn(PLAIN[0], GROWING[1], made)
    return checked(made, table, keys, ids)


def plain(made: str, table: str) -> str:
    made, ids = re.subn(GROWING[0], PLAIN[1], made)
    made, keys = re.subn(r"\)\s*$", f", CONSTRAINT pk_{table} PRIMARY KEY (id))", made)
    return checked(made, table, keys, ids)


def checked(made: str, table: str, *changes: int) -> str:
    if set(changes) != {1}:
        raise RuntimeError(f"table {table} is not as it was made: {made}")
    return made


def renamed(made: str, table: str) -> str:
    return re.sub(rf'^CREATE TABLE "?{table}"?', f"CREATE TABLE new_{table}", made)


def escaped(sql: str) -> str:
    """A colon begins a parameter for SQLAlchemy."""
    return sql.replace(":", r"\:")

"""Rollups by day and hour; the lease of the leader; which older programs may run beside this schema."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLDEST = "0002"  # a program of 0001 writes no rollups and would leave gaps in them

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
Credits = sa.BigInteger().with_variant(sa.Numeric(20, 6), "postgresql")

DAY = 86_400_000_000  # microseconds
POINTS_AT_ONCE = 10_000
DAYS_AT_ONCE = 1_000


def upgrade() -> None:
    op.add_column(
        "organizations",
        sa.Column("newest_at", Instant, comment="the latest taken_at of its snapshots, in whatever order they arrived"),
    )
    _create_rollups("balance_days", "UTC days: every snapshot ever recorded is in one")
    _create_rollups("balance_hours", "UTC hours: of the snapshots that retention has removed")
    op.create_index(
        "ix_deliveries_given_up",
        "deliveries",
        ["ended_at"],
        sqlite_where=sa.text("state = 'given_up'"),
        postgresql_where=sa.text("state = 'given_up'"),
    )
    _create_leader_tables()
    op.execute(
        "UPDATE organizations SET newest_at ="
        " (SELECT max(s.taken_at) FROM snapshots AS s WHERE s.organization_id = organizations.id)"
    )
    for (organization_id,) in op.get_bind().execute(sa.text("SELECT id FROM organizations ORDER BY id")).all():
        _roll_up(organization_id)
    _replace_daily_view("0002_views")


def _create_rollups(name: str, of: str) -> None:
    op.create_table(
        name,
        sa.Column("organization_id", Id, primary_key=True, autoincrement=False),
        sa.Column("starts_at", Instant, primary_key=True, comment=of),
        sa.Column("used", Credits, nullable=False, comment="shared out by time where a change spans stretches"),
        sa.Column("topped_up", Credits, nullable=False),
        sa.Column("snapshots", sa.Integer, nullable=False),
        sa.Column("first", Credits),
        sa.Column("first_at", Instant),
        sa.Column("last", Credits),
        sa.Column("last_at", Instant),
        sa.Column("lowest", Credits),
        sa.Column("highest", Credits),
        sa.PrimaryKeyConstraint("organization_id", "starts_at", name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=f"fk_{name}_organization_id"),
        sqlite_with_rowid=False,
    )


def _create_leader_tables() -> None:
    leases = op.create_table(
        "leases",
        sa.Column("term", sa.BigInteger, autoincrement=False, nullable=False, comment="grows with every leader"),
        sa.Column("daemon", sa.Text, nullable=False, comment="the leader's id in daemons; empty: given back"),
        sa.Column("acquired_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False, comment="by the database's clock"),
        sa.PrimaryKeyConstraint("term", name="pk_leases"),
        comment="one row: which daemon leads; PostgreSQL only",
    )
    long_ago = sa.text("to_timestamp(0)") if op.get_context().dialect.name == "postgresql" else sa.text("0")
    op.execute(leases.insert().values(term=0, daemon="", acquired_at=long_ago, expires_at=long_ago))
    op.create_table(
        "daemons",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False, comment="by the database's clock"),
        sa.PrimaryKeyConstraint("id", name="pk_daemons"),
        comment="the leader and who stands by; PostgreSQL only",
    )
    compatibility = op.create_table(
        "compatibility",
        sa.Column("schema", sa.Text, nullable=False, comment="the newest schema that says so"),
        sa.Column("oldest", sa.Text, nullable=False, comment="the oldest schema whose programs work with this one"),
        sa.PrimaryKeyConstraint("schema", name="pk_compatibility"),
        comment="one row",
    )
    op.execute(compatibility.insert().values(schema=revision, oldest=OLDEST))


# --- rolling up the history, in whole microseconds and millionths -----------------------------------------------------


def _roll_up(organization_id: int) -> None:
    """Insert the daily rollups of one organization, many days at a time, in constant memory."""
    days: dict[int, list[Any]] = {}
    before: tuple[int, int] | None = None
    for point in _points(organization_id):
        today = point[0] // DAY * DAY
        if before and len(days) > DAYS_AT_ONCE:
            begun = before[0] // DAY * DAY  # its share of the change to this point is still to be added
            _write(organization_id, {start: days.pop(start) for start in list(days) if start < begun})
        _add_point(days.setdefault(today, _empty()), *point)
        for start, change in _shared(before, point) if before else ():
            day = days.setdefault(start, _empty())
            day[0 if change < 0 else 1] += abs(change)
        before = point
    _write(organization_id, days)


def _points(organization_id: int) -> Iterator[tuple[int, int]]:
    columns = "taken_at, credits"
    if op.get_context().dialect.name == "postgresql":
        columns = "(extract(epoch FROM taken_at) * 1000000)::bigint, (credits * 1000000)::bigint"
    question = sa.text(f"SELECT {columns} FROM snapshots WHERE organization_id = :id ORDER BY taken_at")  # noqa: S608
    with op.get_bind().execute(question, {"id": organization_id}) as found:
        for block in found.partitions(POINTS_AT_ONCE):
            for row in block:
                yield row[0], row[1]


def _empty() -> list[Any]:
    return [0, 0, 0, *[None] * 6]  # used, topped_up, snapshots, first, first_at, last, last_at, lowest, highest


def _add_point(day: list[Any], at: int, amount: int) -> None:
    if day[2] == 0:
        day[3:5] = (amount, at)
        day[7:9] = (amount, amount)
    day[2] += 1
    day[5:7] = (amount, at)
    day[7:9] = (min(day[7], amount), max(day[8], amount))


def _shared(before: tuple[int, int], after: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the change between two points prorated to UTC days: differences of running totals, rounded towards zero."""
    (begin, old), (end, new) = before, after
    change = new - old
    edges = [begin, *range(begin // DAY * DAY + DAY, end, DAY), end]
    reached = [abs(change) * (edge - begin) // (end - begin) for edge in edges]
    for (edge, _), (done, now) in zip(pairwise(edges), pairwise(reached), strict=True):
        yield edge // DAY * DAY, (now - done) if change > 0 else done - now


def _write(organization_id: int, days: dict[int, list[Any]]) -> None:
    if not days:
        return
    names = ("used", "topped_up", "snapshots", "first", "first_at", "last", "last_at", "lowest", "highest")
    instants, plain = {"starts_at", "first_at", "last_at"}, {"organization_id", "snapshots"}

    def value(name: str) -> str:
        if op.get_context().dialect.name != "postgresql" or name in plain:
            return f":{name}"
        if name in instants:
            return f"to_timestamp(0) + CAST(:{name} AS bigint) * interval '1 microsecond'"
        return f"CAST(:{name} AS numeric) / 1000000"

    columns = ("organization_id", "starts_at", *names)
    statement = sa.text(
        f"INSERT INTO balance_days ({', '.join(columns)}) VALUES ({', '.join(map(value, columns))})"  # noqa: S608
    )
    rows = [dict(zip(columns, (organization_id, start, *row), strict=True)) for start, row in days.items()]
    op.get_bind().execute(statement, rows)


# --- the view ---------------------------------------------------------------------------------------------------------


def _replace_daily_view(script: str) -> None:
    op.execute("DROP VIEW balance_usage_daily")
    folder = Path(__file__).parent.parent / "sql"
    text = (folder / f"{script}.{op.get_context().dialect.name}.sql").read_text(encoding="utf-8")
    for statement in text.split(";\n"):
        if "CREATE VIEW balance_usage_daily" in statement:
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    _replace_daily_view("0001_views")
    for table in ("compatibility", "daemons", "leases", "balance_hours", "balance_days"):
        op.drop_table(table)
    op.drop_index("ix_deliveries_given_up", "deliveries")
    op.drop_column("organizations", "newest_at")

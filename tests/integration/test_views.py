import re
import shutil
import subprocess
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from filled import HOUR, NOON, fill, organization, snapshot, take
from wait import LONG

from monitor import query
from monitor.errors import DatabaseError
from monitor.store import tables
from monitor.store.engines import open_reader, transaction

DOCS = Path(__file__).parents[2] / "docs" / "database.md"
VIEWS = ("balance_history", "balance_latest", "balance_usage_daily", "incident_history", "delivery_history")


@pytest.fixture
def filled(engine):
    fill(engine)
    return engine


def ask(engine: sa.Engine, question: str) -> list[dict[str, Any]]:
    with transaction(engine) as connection:
        return [dict(row) for row in connection.exec_driver_sql(question).mappings()]


def instant(value: Any) -> Any:
    """What either database gives for an instant, as a `datetime`."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def test_balance_history_has_every_snapshot_with_its_change(filled):
    rows = ask(filled, "SELECT * FROM balance_history WHERE organization = 'render-farm' ORDER BY taken_at")
    assert [instant(row["taken_at"]) for row in rows] == [NOON + h * HOUR for h in (-37, -13, -11, -1, 0)]
    assert [str(row["credits"]).rstrip("0").rstrip(".") for row in rows] == [
        "300",
        "200.5",
        "100.25",
        "250",
        "148.200001",
    ]
    changes = [None, Decimal("-99.5"), Decimal("-100.25"), Decimal("149.75"), Decimal("-101.799999")]
    assert [row["change"] if row["change"] is None else Decimal(str(row["change"])) for row in rows] == changes
    assert {(row["vendor_id"], row["account"]) for row in rows} == {("org-1", "studio")}


def test_sqlite_prints_instants_in_utc_and_balances_to_the_last_place(sqlite_url, tmp_path):
    engine = sa.create_engine(sqlite_url)
    fill(engine)
    (row,) = ask(engine, "SELECT * FROM balance_history WHERE organization = 'old'")
    engine.dispose()
    assert (row["taken_at"], row["credits"]) == ("2026-11-21T12:00:00.123456Z", 999999999.999999)
    assert row["taken_us"] == int((NOON - 48 * HOUR).timestamp()) * 1_000_000 + 123456


def test_balance_latest_is_one_row_for_each_watched_organization(filled):
    render_farm, video = ask(filled, "SELECT * FROM balance_latest ORDER BY organization")
    assert (render_farm["organization"], render_farm["title"]) == ("render-farm", "Render Farm Ltd")
    assert instant(render_farm["taken_at"]) == instant(render_farm["checked_at"]) == NOON
    assert Decimal(str(render_farm["change"])) == Decimal("-101.799999")
    assert (video["credits"], video["failure"], video["failure_message"]) == (None, "unavailable", "HTTP 503")
    assert instant(video["failing_since"]) == NOON - HOUR


def test_balance_latest_and_status_agree_on_the_state(filled, reader):
    states = {
        row["organization"]: row["state"] for row in ask(filled, "SELECT organization, state FROM balance_latest")
    }
    assert (
        states
        == {row.name: row.state for row in query.status(reader)}
        == {"render-farm": "critical", "video": "unknown"}
    )
    ask_nothing = "UPDATE incidents SET resolved_at = opened_at WHERE severity = 'critical' AND resolved_at IS NULL"
    for state, change in (
        ("warning", ask_nothing),
        ("ok", "UPDATE incidents SET resolved_at = opened_at WHERE resolved_at IS NULL"),
    ):
        with transaction(filled) as connection:
            connection.exec_driver_sql(change)
        (row,) = ask(filled, "SELECT state FROM balance_latest WHERE organization = 'render-farm'")
        assert row["state"] == query.status(reader)[0].state == state


def test_usage_is_shared_out_over_the_utc_days_it_spans(filled):
    rows = ask(filled, "SELECT * FROM balance_usage_daily WHERE organization = 'render-farm' ORDER BY day")
    keys = ("used", "topped_up", "first", "last", "min", "max", "snapshots")
    days = [(str(row["day"]), *(Decimal(str(row[key])) for key in keys)) for row in rows]
    d = Decimal
    assert [(day, first, last, low, high, count) for day, _, _, first, last, low, high, count in days] == [
        ("2026-11-21", d(300), d(300), d(300), d(300), 1),
        ("2026-11-22", d("200.5"), d("200.5"), d("200.5"), d("200.5"), 1),
        ("2026-11-23", d("100.25"), d("148.200001"), d("100.25"), d(250), 3),
    ]
    used = [use for _, use, *_ in days]
    assert sum(used) == d("99.5") + d("100.25") + d("101.799999")
    assert used[0] == d("4.145691")  # of 99.5 in 24 hours, the last 59 min 59.876544 s of the 21st
    assert [topped_up for _, _, topped_up, *_ in days] == [d(0), d(0), d("149.75")]


def test_a_day_begins_at_midnight_utc_whatever_the_session_says(filled):
    midnight = (datetime(2026, 12, 1, tzinfo=UTC) - NOON) / HOUR
    with transaction(filled) as connection:
        take(connection, [snapshot(2, midnight, "10"), snapshot(2, midnight - 0.001, "20")])
        if filled.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        rows = connection.exec_driver_sql(
            "SELECT day FROM balance_usage_daily WHERE organization = 'video' ORDER BY day"
        )
        assert [str(day) for (day,) in rows] == [str(date(2026, 11, 30)), str(date(2026, 12, 1))]


def test_two_organizations_of_one_name_stay_apart(filled):
    with transaction(filled) as connection:
        other = organization(9, "render-farm", base_url="https://proxy.example")
        connection.execute(sa.insert(tables.organizations), other)
        take(connection, [snapshot(9, 0, "7")])
    rows = ask(filled, "SELECT * FROM balance_usage_daily WHERE organization = 'render-farm' AND day = '2026-11-23'")
    assert sorted(row["max"] for row in rows) == [7, 250]


def test_incidents_read_by_name(filled):
    rows = {row["incident"]: row for row in ask(filled, "SELECT * FROM incident_history")}
    assert (rows[1]["organization"], rows[1]["account"], rows[1]["rule"]) == ("render-farm", "studio", "credits")
    assert (instant(rows[1]["resolved_at"]), rows[1]["resolved_reason"]) == (NOON - HOUR, "resolved")
    assert (rows[4]["organization"], rows[4]["account"], rows[4]["resolved_at"]) == (None, "lab", None)


def test_deliveries_read_by_name(filled):
    rows = ask(filled, "SELECT * FROM delivery_history ORDER BY delivery")
    keys = ("organization", "account", "rule", "reason", "channel", "state", "attempts", "last_error")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("render-farm", "studio", "credits", "opened", "ops", "delivered", 1, None),
        ("render-farm", "studio", "credits", "opened", "mail", "pending", 3, "no answer"),
        (None, "lab", "credential", "opened", "mail", "given_up", 40, "refused"),
    ]
    assert [instant(row["created_at"]) for row in rows] == [NOON] * 3


def test_both_databases_have_the_same_columns(engine):
    with engine.connect() as connection:
        columns = {view: [column["name"] for column in sa.inspect(connection).get_columns(view)] for view in VIEWS}
    documented = {view: documented_columns(view) for view in VIEWS}
    if engine.dialect.name == "sqlite":
        columns["balance_history"].remove("taken_us")
    assert columns == documented


@pytest.mark.parametrize("view", ["balance_history", "balance_usage_daily"])
def test_an_organization_is_found_by_key_and_not_by_reading_everything(sqlite_url, view):
    engine = open_reader(sqlite_url)
    steps = ask(engine, f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE organization = 'render-farm'")
    engine.dispose()
    snapshots_steps = [step["detail"] for step in steps if re.search(r"\b(SCAN|SEARCH) [spd]\b", step["detail"])]
    assert snapshots_steps
    assert all("USING PRIMARY KEY (organization_id=?" in step for step in snapshots_steps)


# --- the documentation ------------------------------------------------------------------------------------------------


def documented_columns(view: str) -> list[str]:
    (line,) = re.findall(rf"^\| `{view}` \| (.*?) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return re.findall(r"`(\w+)`", line)


def examples(kind: str) -> list[str]:
    """The statements of the document's `sql` blocks for one database; those marked with neither run on both."""
    statements = []
    for marks, block in re.findall(
        r"^```sql ?(.*?)\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        if marks in {"", kind}:
            statements += [statement for statement in re.split(r";\s*(?:--[^\n]*)?\n", block) if statement.strip()]
    return statements


def test_every_example_of_the_documentation_runs_and_finds_something(filled):
    kind = filled.dialect.name
    answers = {example: ask(filled, example) for example in examples(kind)}
    assert len(answers) >= 8
    assert [example for example, rows in answers.items() if not rows] == []


def test_the_documentation_names_every_table_column():
    text = DOCS.read_text(encoding="utf-8")
    lines = {table: re.findall(rf"^\| `{table}` \| (.*?) \|", text, re.MULTILINE) for table in tables.metadata.tables}
    documented = {table: re.findall(r"`(\w+)`", names[0]) if names else [] for table, names in lines.items()}
    assert documented == {name: list(table.columns.keys()) for name, table in tables.metadata.tables.items()}


def test_the_examples_run_in_the_databases_own_shells_where_installed(sqlite_url, postgres_url):
    sqlite, postgres = sa.make_url(sqlite_url), sa.make_url(postgres_url)
    psql = ["psql", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", postgres.database, "-h", postgres.query["host"]]
    shells = {sqlite: ["sqlite3", "-readonly", "-bail", sqlite.database], postgres: psql}
    for url, command in shells.items():
        if shutil.which(command[0]):
            fill(sa.create_engine(url, poolclass=sa.NullPool))
            sql = ";\n".join(examples(url.get_backend_name())) + ";\n"
            result = subprocess.run(command, input=sql, capture_output=True, text=True, check=False, timeout=LONG)
            assert (result.returncode, result.stderr) == (0, "")
            assert "148.200001" in result.stdout


def test_the_documented_role_reads_the_views_and_nothing_else(postgres, postgres_url):
    script, *_ = re.findall(r"psql -v ON_ERROR_STOP=1 -d credits <<'SQL'\n(.*?)\nSQL\n", DOCS.read_text(), re.DOTALL)
    owner = sa.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    fill(owner)
    with owner.connect() as connection:
        for statement in script.split(";\n"):
            connection.exec_driver_sql(statement)
    role = open_reader(postgres_url.replace("postgres@", "grafana@"))
    try:
        for view in VIEWS:
            assert ask(role, f"SELECT * FROM {view}")
        tried = [f"SELECT * FROM {table}" for table in tables.metadata.tables]
        tried += ["INSERT INTO balance_latest (credits) VALUES (1)", "CREATE TABLE mine (a int)"]
        for statement in tried:
            with pytest.raises(DatabaseError, match=r"missing privilege|may not be written"):
                ask(role, f"SET TRANSACTION READ WRITE; {statement}")
    finally:
        role.dispose()
        with owner.connect() as connection:
            connection.exec_driver_sql("DROP OWNED BY grafana")
            connection.exec_driver_sql("DROP ROLE grafana")
        owner.dispose()

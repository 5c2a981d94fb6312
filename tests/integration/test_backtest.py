"""The rules over recorded history: what the daemon would have said, from the database and from a CSV file."""

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from story import Story
from wait import LONG

from monitor import backtest, config
from monitor.errors import UsageError
from monitor.model import Check, Failure, FailureKind, Reason, Rule, Severity, Snapshot, Subject
from monitor.poll import ForecastCache, named, rules_of
from monitor.store import engines, organizations
from monitor.store.snapshots import record_checks
from monitor.store.tables import incidents, notifications

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FILE = """
[rules]
credits = {{ warning = 1000, critical = 200 }}
runway = {{ warning = "7d", critical = "2d" }}
spend = "60/1h"
confirm_checks = {confirm}
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.farm]
id = "org-farm"
[channels.ops]
"""
KINDS = tuple(FailureKind)


def configured(folder: Path, url: str = "sqlite:////nowhere.db", *, confirm: int = 1, more: str = ""):
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "{url}"\n{FILE.format(confirm=confirm)}{more}')
    return config.load(path, {"HOME": str(folder)})


def history(seed: int, *, checks: int = 700) -> list[Check]:
    """Checks of one organization: use, top-ups, bursts, gaps, and failures of every kind that come in runs."""
    chance = random.Random(seed)
    at, balance, failing, found = START, Decimal(4000), 0, []
    for _ in range(checks):
        at += chance.choice((5, 20, 30, 30, 60, 240)) * MINUTE
        if not failing and chance.random() < 0.02:
            failing, kind = chance.randint(1, 8), chance.choice(KINDS)
        if failing:
            failing -= 1
            found.append(Check(1, 1, at, Failure(kind, "no answer")))
            continue
        balance -= Decimal(chance.randint(0, 40_000_000)).scaleb(-6) * (5 if chance.random() < 0.02 else 1)
        if balance < 150 and chance.random() < 0.1:
            balance += chance.choice((500, 3000, 6000))
        found.append(Check(1, 1, at, Snapshot(at, balance)))
    return found


def told(course: backtest.Course, checks: list[Check]) -> list[backtest.ReplayedMessage]:
    return [one for check in checks for one in course.settle(check)]


class Recorder(Story):
    """A story that is told in batches of checks, with restarts."""

    def record(self, checks: list[Check], *, restarts: random.Random | None = None) -> None:
        left = list(checks)
        while left:
            batch, left = left[:37], left[37:]
            if restarts and restarts.random() < 0.3:
                self.forecasts = ForecastCache()
            self.settle_checks(batch)

    def said(self) -> list[tuple]:
        """What stands in `notifications` about organizations, in the order it was written."""
        question = (
            sa.select(notifications.c.created_at, incidents.c.rule, notifications.c.reason, notifications.c.severity)
            .join(incidents, incidents.c.id == notifications.c.incident_id)
            .where(incidents.c.subject == Subject.ORGANIZATION.value)
            .order_by(sa.literal_column("notifications.rowid"))
        )
        return [tuple(row) for row in self.store.write_now(lambda tx: tx.execute(question).all())]


def brief(one: backtest.ReplayedMessage) -> tuple:
    return one.at, one.rule.value, one.reason.value, one.severity.label


# --- the daemon's words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "confirm"), [(1, 1), (2, 1), (3, 2), (4, 3)])
async def test_a_replay_says_what_the_daemon_wrote(sqlite_url, tmp_path, seed, confirm):
    recorder = Recorder(tmp_path, sqlite_url, START).begin(FILE.format(confirm=confirm))
    rules_file = recorder.settings
    checks = history(seed)
    recorder.record(checks, restarts=random.Random(seed))
    written = recorder.said()
    await recorder.end()
    assert {row[1] for row in written} >= {"credits", "spend", "runway"}
    engine = engines.open_reader(sqlite_url)
    said = list(backtest.replay(engine, backtest.courses(engine, rules_file)))
    engine.dispose()
    assert [brief(one) for one in said] == written
    assert told(backtest.Course.begin("farm", rules_of(rules_file, named(rules_file, "farm"))), checks) == said


@examples(10)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_a_history_cut_anywhere_says_the_same(tmp_path_factory, seed, cuts):
    rules = configured(tmp_path_factory.getbasetemp()).rules
    checks = history(seed, checks=300)
    whole = told(backtest.Course.begin("farm", rules), checks)
    course, parts = backtest.Course.begin("farm", rules), []
    for begin, end in itertools.pairwise([0, *sorted(cuts), 300]):
        parts += told(course, checks[begin:end])
    assert parts == whole
    for rule in Rule:
        turns = [one.reason for one in whole if one.rule is rule and one.reason in (Reason.OPENED, Reason.RESOLVED)]
        assert turns == [(Reason.OPENED, Reason.RESOLVED)[n % 2] for n in range(len(turns))]


def test_a_replay_that_begins_later_knows_the_weeks_before(tmp_path):
    rules = configured(tmp_path).rules
    snapshots = [Snapshot(START + n * 30 * MINUTE, 2000 - n * Decimal("1.2")) for n in range(1600)]
    since = START + timedelta(days=30)
    said = list(backtest.replay_snapshots(backtest.Course.begin("farm", rules), snapshots, since=since))
    assert min(one.at for one in said) == since
    first = [one for one in said if one.at == since]
    assert [(one.rule, one.reason, one.severity) for one in first] == [
        (Rule.CREDITS, Reason.OPENED, Severity.WARNING),
        (Rule.RUNWAY, Reason.OPENED, Severity.WARNING),
    ]
    assert first[0].runway is not None


async def test_every_organization_has_its_own_rules_and_name_and_all_come_by_time(database_url, tmp_path):
    more = '[organizations.video]\nid = "org-video"\nrules.credits = "off"\nrules.spend = "off"\n'
    recorder = Recorder(tmp_path, database_url, START).begin(FILE.format(confirm=1) + more)
    ids = {row.vendor_id: row.id for row in recorder.store.write_now(organizations.organization_rows)}
    for one in (ids["org-farm"], ids["org-video"]):
        checks = [Check(1, one, c.ended_at, c.outcome) for c in history(9)]
        recorder.store.write_now(lambda tx, checks=checks: record_checks(tx, checks))
    await recorder.end()
    renamed = configured(tmp_path, database_url, more=more.replace("organizations.video", "organizations.film"))
    engine = engines.open_reader(database_url)
    said = list(backtest.replay(engine, backtest.courses(engine, renamed)))
    assert [one.at for one in said] == sorted(one.at for one in said)
    assert {one.organization for one in said} == {"farm", "film"}
    assert {one.rule for one in said if one.organization == "film"}.isdisjoint({Rule.CREDITS, Rule.SPEND})
    for name in ("film", "video", "org-video"):
        assert [one.organization.name for one in backtest.courses(engine, renamed, name).values()] == ["film"]
    with pytest.raises(UsageError, match=r"vidio.*did you mean video"):
        backtest.courses(engine, renamed, "vidio")
    engine.dispose()


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_a_csv_may_have_any_order_more_columns_a_bom_and_crlf(tmp_path):
    path = tmp_path / "h.csv"
    path.write_bytes(
        b"\xef\xbb\xbfnote,credits, taken_at\r\n"
        b'"a, b",1.23456789,2026-11-02T09:00:00+01:00\r\n\r\n'
        b"x,-5e-07,2026-11-02T07:00:00Z\r\n"
    )
    assert backtest.read_snapshots(path) == [
        Snapshot(START - 60 * MINUTE, Decimal(0)),
        Snapshot(START, Decimal("1.234568")),
    ]


GOOD = b"taken_at,credits\n2026-11-02T07:00:00Z,1\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ":1: there is no column taken_at in the first line"),
        (b"taken_at,balance\n", ":1: there is no column credits in the first line; it has taken_at, balance"),
        (GOOD + b"2026-11-02T08:00:00,1\n", ":3: taken_at: '2026-11-02T08:00:00' has no offset"),
        (GOOD + b"yesterday,1\n", ":3: taken_at: 'yesterday' is not an instant"),
        (GOOD + b"0001-01-01T00:00:00+05:00,1\n", ":3: taken_at: '0001-01-01T00:00:00+05:00' lies outside"),
        (GOOD + b"2026-11-02T08:00:00Z,1_000\n", ":3: credits: '1_000' is not a number"),
        (GOOD + b"2026-11-02T08:00:00Z,NaN\n", ":3: credits: 'NaN' is not a number"),
        (GOOD + b"2026-11-02T08:00:00Z,1e12\n", ":3: credits: '1e12' is too much"),
        (GOOD + b"2026-11-02T08:00:00Z,\n", ":3: credits: is missing"),
        (GOOD + b"2026-11-02T08:00:00Z\n", ":3: has 1 cell and the first line has 2"),
        (GOOD + b"2026-11-02T08:00:00Z,1,234.75\n", ":3: has 3 cells and the first line has 2; write a decimal point"),
        (GOOD + b'2026-11-02T08:00:00Z,"5\n2026-11-02T09:00:00Z,4\n', ':3: a quote (") is opened and not closed'),
        (GOOD + b"2026-11-02T08:00:00+01:00,2\n", ": has two balances of 2026-11-02T07:00:00Z; remove one"),
        (GOOD + b"\n,5\n", ":4: taken_at: is missing"),
        (GOOD + b"\xff,5\n", ":3: is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said_with_its_line(tmp_path, content, said):
    path = tmp_path / "h.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        backtest.read_snapshots(path)
    assert str(error.value).startswith(f"{path}{said}")


@pytest.mark.parametrize("name", ["nothing.csv", "."])
def test_a_csv_that_cannot_be_read_is_said(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be read"):
        backtest.read_snapshots(tmp_path / name)


# --- the command ------------------------------------------------------------------------------------------------------


def run_backtest(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "monitor", "backtest", "--config", str(folder / "config.toml"), *arguments]
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=LONG, check=False)


def write_falling(path: Path) -> None:
    """Ten credits an hour for four days, then nothing used, then a top-up."""
    rows = [f"{START + n * 60 * MINUTE:%Y-%m-%dT%H:%M:%SZ},{max(1900 - 10 * n, 940)}" for n in range(120)]
    path.write_text("\n".join(["taken_at,credits", *rows, "2026-11-08T08:00:00Z,9000.5"]))


def test_the_command_prints_what_would_have_been_sent_and_touches_no_database(tmp_path):
    configured(tmp_path)
    write_falling(tmp_path / "h.csv")
    done = run_backtest(tmp_path, "--input", str(tmp_path / "h.csv"), "--organization", "farm", "--format", "json")
    rows = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "121 checks replayed.\n")
    assert list(rows[0]) == ["at", "organization", "rule", "reason", "severity", "credits", "runway_hours", "unit"]
    opened = next(row for row in rows if row["rule"] == "credits")
    assert list(opened.values())[:-2] == ["2026-11-06T03:00:00Z", "farm", "credits", "opened", "warning", 990]
    assert opened["runway_hours"] == pytest.approx(99, abs=15)
    assert [row["reason"] for row in rows if row["rule"] == "credits"][-1] == "resolved"
    assert rows[-1]["credits"] == 9000.5


def test_a_configured_organization_has_its_own_rules_any_other_name_those_for_all(tmp_path, shell):
    configured(tmp_path, more="[organizations.mild]\nid = 'm'\nrules.runway = 'off'\n")
    write_falling(tmp_path / "h.csv")
    file = ("--config", str(tmp_path / "config.toml"))
    lines = {
        name: shell("backtest", *file, name, "--input", str(tmp_path / "h.csv"), "--format", "csv").out.splitlines()
        for name in ("mild", "stranger")
    }
    assert {line.split(",")[2] for line in lines["mild"][1:]} == {"credits"}
    assert {line.split(",")[2] for line in lines["stranger"][1:]} == {"credits", "runway"}
    assert all(line.endswith(",,credits") for line in lines["mild"][1:])


def test_no_history_is_said_and_no_error(tmp_path, shell, sqlite_url):
    configured(tmp_path, sqlite_url)
    (tmp_path / "h.csv").write_text("taken_at,credits\n")
    file = ("--config", str(tmp_path / "config.toml"))
    for arguments in (["--input", str(tmp_path / "h.csv"), "--organization", "farm"], []):
        done = shell("backtest", *file, *arguments)
        assert (done.code, done.out) == (0, "No history to replay.\n")
    done = shell("backtest", *file, "--format", "json")
    assert (done.code, done.out, done.err) == (0, "[]\n", "No history to replay.\n")


def test_mistakes_on_the_command_line_end_with_64(tmp_path, shell, sqlite_url):
    asyncio.run(Recorder(tmp_path, sqlite_url, START).begin(FILE.format(confirm=1)).end())
    (tmp_path / "h.csv").write_text("taken_at,credits\nnow,1\n")
    csv = str(tmp_path / "h.csv")
    cases = {
        ("farn",): "farn: there is no such organization in the database; did you mean farm",
        ("--input", csv): "--input needs --organization NAME",
        ("--input", csv, "--organization", "farm"): "h.csv:2: taken_at",
        ("farm", "--organization", "video"): "two organizations are named",
        ("--since", "1d", "--until", "2d"): "is not before",
    }
    for arguments, said in cases.items():
        done = shell("backtest", "--config", str(tmp_path / "config.toml"), *arguments)
        assert (done.code, said in done.err) == (64, True), done.err


async def test_the_command_replays_the_database_as_it_was_recorded(tmp_path, sqlite_url):
    recorder = Recorder(tmp_path, sqlite_url, START).begin(FILE.format(confirm=1))
    recorder.record(history(5, checks=300))
    written = recorder.said()
    await recorder.end()
    done = run_backtest(tmp_path, "farm", "--since", "2026-11-01", "--format", "json")
    rows = [(row["rule"], row["reason"], row["severity"]) for row in json.loads(done.stdout)]
    assert rows == [row[1:] for row in written]

"""Every mistake is one clear line and the right exit code; never a traceback, and nothing is lost or left behind."""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from command import DEAD, FILE, Answer
from filled import fill
from story import key_of
from wait import LONG, STOP, until

from monitor.config import example
from monitor.sandbox import Fault, Vendor
from monitor.store import leader_lock
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import snapshots

KEY = {"CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": key_of("studio")}
OPS = "\n[channels.ops]\n"
PASSWORD = "canary-password-77ab"


def said(answer: Answer, code: int) -> str:
    """What went wrong, in a few lines at most, on standard error alone."""
    assert (answer.code, answer.out) == (code, ""), answer
    assert 1 <= len(answer.err.strip().splitlines()) <= 6, answer.err
    return answer.err


@pytest.fixture
def writer(sqlite_url) -> Iterator[sa.Engine]:
    engine = open_writer(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def filled(shell, writer, sqlite_url):
    """A small history on SQLite; what is wrong on a command line is wrong on any database."""
    fill(writer)
    shell.write(FILE, url=sqlite_url, vendor=DEAD)
    return shell


@pytest.fixture
def ready(shell, sqlite_url):
    """A configuration with a key, an empty database and a vendor that is not there."""
    shell.write(FILE + OPS, url=sqlite_url, vendor=DEAD)
    shell.environ |= KEY | {"CREDIT_MONITOR_CHANNELS__OPS__URL": "json://127.0.0.1:9/canary-path"}
    return shell


# --- 64: the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["history", "incidents"])
def test_an_unknown_organization_is_answered_with_the_nearest_name(filled, command):
    assert "did you mean render-farm?" in said(filled(command, "rendr-farm"), 64)


def test_check_of_an_unknown_organization_is_answered_with_the_nearest_name_and_exits_64(ready):
    assert "did you mean render-farm?" in said(ready("check", "rendr-farm"), 64)


@pytest.mark.parametrize(
    "arguments",
    [
        ("history", "--since", "yesterday"),
        ("history", "--since", "2026-13-01"),
        ("history", "--since", "999999w"),
        ("history", "--since", "0001-01-01T00:00+14:00"),
        ("history", "--until", "9999-12-31T23:59-14:00"),
        ("history", "--since", "2026-11-02", "--until", "2026-11-01"),
        ("history", "--since", "2026-11-02", "--until", "2026-11-02"),
        ("history", "--every", "0s"),
        ("history", "--every", "5"),
        ("history", "--every", "-1d"),
        ("status", "--format", "xml"),
        ("status", "render-farm"),
        ("status", "--color"),
        ("history", "a", "b"),
        ("stats",),
        ("notify",),
        ("demo", "--for", "soon"),
        ("db", "downgrade"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(filled, arguments):
    said(filled(*arguments), 64)


@pytest.mark.parametrize("every", ["1s", "999999w"])
@pytest.mark.parametrize("since", ["0001-01-01", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"])
def test_the_ends_of_the_calendar_are_no_mistake(filled, every, since):
    assert filled("history", "--since", since, "--every", every).code == 0
    assert filled("history", "--until", since).code == 0


def test_a_channel_that_does_not_exist_is_answered_with_the_nearest_name(ready):
    assert "did you mean ops?" in said(ready("notify", "opps"), 64)


# --- 69: the other side -----------------------------------------------------------------------------------------------


def test_a_test_message_that_is_not_taken_says_so_without_the_channels_url(ready):
    answer = ready("notify", "ops")
    assert answer.code == 69
    assert "ops: NOT delivered" in answer.out
    assert "canary-path" not in answer.out + answer.err


def test_a_vendor_that_is_not_there_is_said_for_each_account(ready):
    answer = ready("organizations", "--format", "json")
    assert (answer.code, answer.out) == (69, "[]\n")
    assert "account studio: " in answer.err


# --- 75: the database -------------------------------------------------------------------------------------------------

COMMANDS = [("status",), ("history",), ("incidents",), ("check",), ("run",), ("db", "upgrade")]
WRITING = [("check",), ("run",), ("db", "upgrade")]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_database_that_cannot_be_reached(ready, closed_port, arguments):
    ready.write(FILE, url=f"postgresql://me:{PASSWORD}@127.0.0.1:{closed_port}/credits", vendor=DEAD)
    message = said(ready(*arguments), 75)
    assert "cannot be reached" in message
    assert PASSWORD not in message


def test_a_rehearsal_needs_no_database(ready, closed_port):
    """It fails on the vendor, and judges without history."""
    ready.write(FILE, url=f"postgresql://me:{PASSWORD}@127.0.0.1:{closed_port}/credits", vendor=DEAD)
    answer = ready("check", "--dry-run")
    assert answer.code == 3
    assert PASSWORD not in answer.out + answer.err


@pytest.mark.parametrize("arguments", [("status",), ("history",), ("incidents",), ("db", "current")])
def test_no_database_yet(shell, tmp_path, arguments):
    shell.write(FILE, url=f"sqlite:///{tmp_path}/none/yet.db", vendor=DEAD)
    assert "credit-monitor check" in said(shell(*arguments), 75)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_schema_of_a_newer_version(ready, engine, database_url, arguments):
    ready.write(FILE, url=database_url, vendor=DEAD)
    with transaction(engine) as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9000'"))
    message = said(ready(*arguments), 75)
    assert "newer version" in message
    assert "9000" in message


@pytest.mark.parametrize("arguments", [("status",), ("check",), ("run",), ("db", "upgrade"), ("db", "current")])
def test_a_file_that_is_no_database_is_left_as_it_is(ready, tmp_path, arguments):
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 500)
    ready.write(FILE, url=f"sqlite:///{path}", vendor=DEAD)
    assert "not a SQLite database" in said(ready(*arguments), 75)
    assert path.read_text() == "Dear diary, " * 500


@pytest.mark.parametrize("arguments", WRITING)
def test_a_directory_that_cannot_be_made(ready, tmp_path, arguments):
    (tmp_path / "file").write_text("")
    ready.write(FILE, url=f"sqlite:///{tmp_path}/file/below/monitor.db", vendor=DEAD)
    assert "cannot be created" in said(ready(*arguments), 75)


@pytest.mark.parametrize("arguments", [("status",), ("check",)])
def test_a_directory_in_the_place_of_the_database(ready, tmp_path, arguments):
    (tmp_path / "folder").mkdir()
    ready.write(FILE, url=f"sqlite:///{tmp_path}/folder", vendor=DEAD)
    assert "cannot be opened" in said(ready(*arguments), 75)


@pytest.mark.parametrize("arguments", [("status",), ("check",), ("run",)])
def test_a_schema_that_is_missing_and_is_to_be_made_by_hand(shell, empty_database_url, arguments):
    shell.write(FILE.replace("[poll]", 'migrate = "manual"\n[poll]'), url=empty_database_url, vendor=DEAD)
    message = said(shell(*arguments, **KEY), 75)
    assert "credit-monitor db upgrade" in message or "there is none yet" in message


def test_a_sqlite_file_that_another_daemon_holds(ready, sqlite_url):
    ready.write(FILE, url=sqlite_url, vendor=DEAD)
    hold = leader_lock.acquire(sqlite_url)
    assert hold is not None
    message = said(ready("run"), 75)
    assert f"another credit-monitor (process {os.getpid()}, since 20" in message
    assert "runs on this database" in message
    hold.release()


# --- 78: the configuration --------------------------------------------------------------------------------------------


def test_no_configuration_at_all(shell):
    for arguments in [("check",), ("run",), ("organizations",), ("config", "validate")]:
        assert "accounts" in said(shell(*arguments), 78)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[poll\n", "config.toml:1"),
        ('[poll]\nevry = "5m"\n', "every"),
        ('[database]\nurl = "mysql://host/name"\n', "database.url"),
        ("\x00\xff", "config.toml"),
    ],
)
def test_a_file_that_cannot_be_used(shell, text, expected):
    shell.write(text)
    for arguments in [("check",), ("status",), ("config", "validate")]:
        answer = shell(*arguments, **KEY)
        assert (answer.code, expected in answer.err) == (78, True)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_named_file_that_cannot_be_read(shell, tmp_path, name):
    assert "cannot be read" in said(shell("status", "--config", str(tmp_path / name)), 78)


@pytest.mark.parametrize("arguments", [("check",), ("run",), ("organizations",)])
def test_an_account_without_a_key(shell, sqlite_url, arguments):
    shell.write(FILE, url=sqlite_url, vendor=DEAD)
    assert "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY" in said(shell(*arguments), 78)


@pytest.mark.parametrize("arguments", [("status",), ("history",), ("incidents",)])
def test_questions_need_no_secret(shell, sqlite_url, arguments):
    text = FILE.replace("[accounts.studio]", '[accounts.studio]\napi_key_file = "/nonexistent/key"')
    shell.write(text + '[channels.ops]\nurl_file = "/nonexistent/url"\n', url=sqlite_url, vendor=DEAD)
    assert shell(*arguments).code == 0


def test_a_channel_url_that_no_service_knows(ready):
    environ = {"CREDIT_MONITOR_CHANNELS__OPS__URL": "smoke-signal://canary-path"}
    assert "channels.ops.url" in said(ready("config", "validate", **environ), 78)
    answer = ready.process("run", **environ)
    assert (answer.code, "channels.ops.url" in answer.err) == (78, True)
    assert "canary-path" not in answer.err


EVERY_STAGE = """\
timezone = "Mars/Olympus"
[accounts.studio]
base_url = "ftp://x"
api_key_file = "/nonexistent/key"
ca_file = "/nonexistent/ca"
[accounts.lab]
organisations = "all"
[organizations.video]
account = "stduio"
[channels.ops]
url = "smoke-signal://canary-path"
min_severity = "awful"
"""


def test_the_mistakes_of_every_stage_are_told_at_once_and_nothing_that_follows_from_them(shell):
    shell.write(EVERY_STAGE)
    answer = shell("config", "validate")
    assert answer.code == 78
    file = f"{shell.home / 'config.toml'}:"
    lines = [line.removeprefix(file) for line in answer.err.splitlines() if not line.startswith("warning: ")]
    assert [": ".join(line.strip().split(": ")[:2]) for line in lines] == [
        "accounts.studio.ca_file: /nonexistent/ca",
        "1: timezone",
        "3: accounts.studio.base_url",
        "4: accounts.studio.api_key_file",
        "7: accounts.lab.organisations",
        "9: organizations.video.account",
        "11: channels.ops.url",
        "12: channels.ops.min_severity",
    ]
    assert "canary-path" not in answer.err


def test_a_file_without_an_account_says_how_to_begin(shell):
    shell.write('[poll]\nevery = "1m"\n')
    for arguments in [("check",), ("run",), ("config", "validate")]:
        assert 'begin with [accounts.NAME], api_key_file = "…" and organizations = "all"' in said(shell(*arguments), 78)


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_reader_of_our_output_that_leaves_is_no_mistake(filled, writer):
    """As with `credit-monitor history | head -1`, for every size of output."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"organization_id": 2, "taken_at": start + n * timedelta(seconds=1), "credits": Decimal(n)} for n in range(5000)
    ]
    with transaction(writer) as tx:
        tx.execute(snapshots.insert(), rows)
    for arguments in [("history", "--format", "csv"), ("history",), ("status",)]:
        with filled.start(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            if arguments[0] == "history":
                process.stdout.readline()
            process.stdout.close()
            assert (process.wait(LONG), process.stderr.read()) == (0, "")


def test_what_a_command_makes_only_its_user_may_read(shell, tmp_path):
    answer = shell.process("config", "init", str(tmp_path / "new.toml"))
    assert answer.code == 0
    assert stat.S_IMODE((tmp_path / "new.toml").stat().st_mode) == 0o600
    assert "exists already" in said(shell("config", "init", str(tmp_path / "new.toml")), 64)


def test_a_configuration_may_begin_on_standard_output(shell, tmp_path):
    shown = shell("config", "init", "-")
    assert (shown.code, shown.out, shown.err) == (0, example(), "")
    assert not (tmp_path / "home" / "-").exists()


async def test_a_check_that_is_interrupted_leaves_quietly(ready, sqlite_url):
    async with Vendor({}, []) as vendor:
        vendor.fault = Fault.HANG
        ready.write(FILE.replace('"1s"', '"60s"'), url=sqlite_url, vendor=vendor.url)
        process = ready.start("check")
        await until(lambda: vendor.requests)
        process.send_signal(2)
        out, err = await asyncio.to_thread(process.communicate, timeout=STOP)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err

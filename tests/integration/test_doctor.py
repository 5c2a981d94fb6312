"""`credit-monitor doctor` on real parts: what it finds, what it says to do, and that no look prevents another."""

import asyncio
import csv
import io
import json
import os
import re
import socket
import sqlite3
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from command import Shell
from receivers import silence
from wait import LONG

from monitor.config import secrets as config_secrets
from monitor.config import service as of_service
from monitor.config.checks import in_thread
from monitor.doctor import Finding, State, examine, service
from monitor.doctor.findings import look, ok
from monitor.model import Message
from monitor.sandbox import Received, Receiver, Reply, SandboxOrganization, Vendor
from monitor.store import integrity, leader_lock, outbox
from monitor.store.writer import Store

KEY = "sk-" + "canarydoctor".ljust(48, "0")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FILE = """
[database]
url = "{url}"
[poll]
deadline = "2s"
[accounts.studio]
api_key_file = "studio.key"
base_url = "{vendor}"
organizations = "all"
[channels.ops]
url_file = "ops.url"
"""


class Ward:
    """A configuration that is in good health."""

    def __init__(self, folder: Path, url: str, vendor: Vendor, receiver: Receiver) -> None:
        self.folder, self.url, self.vendor, self.receiver = folder, url, vendor, receiver
        self.file = folder / "config.toml"
        self.text = FILE
        self.environ: dict[str, str] = {"HOME": str(folder)}
        self.give("studio.key", KEY)
        self.give("ops.url", receiver.url())

    def give(self, name: str, content: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return path

    async def examine(self, *, send: bool = False, now: datetime = NOW) -> list[Finding]:
        self.give("config.toml", self.text.replace("{url}", self.url).replace("{vendor}", self.vendor.url))
        found = await examine(self.file, self.environ, clock=lambda: now, send=send)
        assert "canary" not in str(found).lower()
        return found


def by_what(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if finding.what == what]


def of(findings: list[Finding], what: str) -> Finding:
    (one,) = by_what(findings, what)
    return one


def bad(findings: list[Finding]) -> dict[str, str]:
    """What is not well, with what was found; all of it says what to do."""
    worse = [finding for finding in findings if finding.state is not State.OK]
    assert all(finding.todo for finding in worse)
    return {finding.what: finding.found for finding in worse}


@pytest.fixture
async def ward(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Ward]:
    received: list[Received] = []
    organizations = [SandboxOrganization("org-1", "Render Farm", Decimal(100))]
    async with Vendor({KEY: ["org-1"]}, organizations) as vendor, Receiver(received.append) as receiver:
        yield Ward(tmp_path, sqlite_url, vendor, receiver)


def dated(at: datetime, status: int = 200, body: Any = None) -> Reply:
    """An answer of the account endpoint with the vendor's clock in it."""
    listed = {"id": "u", "email": "x@y", "organizations": [{"id": "org-1", "name": "A", "is_default": True}]}
    headers = {"Content-Type": "application/json", "Date": format_datetime(at, usegmt=True)}
    return Reply(status, json.dumps(body or listed).encode(), headers)


async def test_what_keeps_the_database_from_being_written_is_named(ward: Ward, postgres: Any) -> None:
    ward.url = postgres.new_encoded("LATIN1")
    name = ward.url.partition("/test_")[2].partition("?")[0]
    postgres.execute(f"ALTER DATABASE test_{name} SET default_transaction_read_only = on")
    wrong = bad(await ward.examine())
    assert "default_transaction_read_only is on" in wrong["writing"]
    assert "its encoding is LATIN1" in wrong["database"]


async def test_another_programs_database_is_a_problem_with_its_remedy(ward: Ward, tmp_path: Path) -> None:
    ward.url = f"sqlite:///{tmp_path}/another.db"
    opened = Store(ward.url)
    opened.write_now(lambda tx: tx.exec_driver_sql("CREATE TABLE accounts (id INTEGER, email TEXT)"))
    opened.close()
    finding = of(await ward.examine(), "database")
    assert finding.state is State.PROBLEM
    assert "belongs to another program, it seems" in finding.found
    assert finding.todo == "choose another file in database.url"


async def test_what_waits_and_was_never_tried_is_a_problem(ward: Ward) -> None:
    before = NOW - timedelta(hours=1)
    opened = Store(ward.url)
    opened.write_now(lambda tx: outbox.enqueue_message(tx, "a" * 16, Message("", "", "", ""), "ops", at=before))
    opened.close()
    assert "ops: 1 waiting since" in bad(await ward.examine())["outbox"]


# --- all is well ------------------------------------------------------------------------------------------------------


async def test_a_healthy_monitor_is_called_healthy_and_nothing_is_sent(ward: Ward) -> None:
    found = await ward.examine()
    assert bad(found) == {}
    said = {finding.what: finding.found for finding in found}
    assert said["configuration"] == f"{ward.file}: valid"
    assert said["accounts.studio.api_key_file"].endswith("studio.key is readable, mode 600")
    assert said["database"].endswith("answers, schema " + said["database"][-4:])
    assert said["integrity"] == "SQLite finds no fault in the file"
    assert said["daemon"] == "none runs on this database now"
    assert said["account studio"] == f"{ward.vendor.url} takes the key; it sees 1 organization"
    assert said["channel ops"] == "Apprise takes its URL; nothing was sent"
    assert said["telling"] == "1 channel would be told"
    path = ward.url.removeprefix("sqlite:///")
    assert said["database files"] == f"{path}: the database's files are for their owner alone"
    assert said["time zones"] == "data are here; messages give times in UTC"
    assert {"disk", "clock", "bytecode", "systemd"} <= said.keys()
    assert ward.receiver.attempts == 0


async def test_a_zone_of_ones_own_stands_beside_utc(ward: Ward) -> None:
    ward.text = f'timezone = "Europe/Berlin"\n{ward.text}'
    found = of(await ward.examine(), "time zones").found
    assert found == "data are here; messages give times in UTC and in Europe/Berlin"


async def test_a_test_message_is_sent_only_when_asked_for(ward: Ward) -> None:
    assert of(await ward.examine(send=True), "channel ops").found == "took a test message"
    assert ward.receiver.attempts == 1


async def test_a_database_on_postgresql_is_looked_at(ward: Ward, postgres_url: str) -> None:
    ward.url = postgres_url
    found = await ward.examine()
    assert bad(found) == {}
    assert "PostgreSQL server" in of(found, "disk").found
    hold = leader_lock.open_leader_lock(postgres_url)
    assert hold.acquire()
    assert " leads (process " in of(await ward.examine(), "daemon").found
    hold.release()


# --- what can be wrong ------------------------------------------------------------------------------------------------


async def test_a_rejected_key_is_a_problem_in_our_words(ward: Ward) -> None:
    ward.vendor.keys.clear()
    one = of(await ward.examine(), "account studio")
    assert (one.state, one.found) == (State.PROBLEM, "the vendor rejects the key (HTTP 401)")
    assert "renew the key" in (one.todo or "")


async def test_a_vendor_that_is_not_there_is_a_problem_and_the_rest_is_looked_at(ward: Ward) -> None:
    await ward.vendor.stop()
    found = await ward.examine()
    assert bad(found) == {
        "account studio": f"the connection to the vendor was refused ({urlsplit(ward.vendor.url).netloc})"
    }
    assert len(found) >= 12


async def test_everything_that_hangs_is_given_up_at_the_same_time(ward: Ward) -> None:
    async with silence() as port:
        ward.text = ward.text.replace("{vendor}", f"http://127.0.0.1:{port}")
        ward.url = f"postgresql://me@127.0.0.1:{port}/x?connect_timeout=2"
        ward.give("ops.url", f"json://127.0.0.1:{port}/")
        async with asyncio.timeout(LONG):
            wrong = bad(await ward.examine())
    assert wrong["account studio"] == f"the vendor did not answer within 2 s (127.0.0.1:{port})"
    assert "PostgreSQL database x" in wrong["database"]


@pytest.mark.parametrize(("seconds", "state"), [(-90, "warning"), (-50, "ok"), (0, "ok"), (59, "ok"), (61, "warning")])
async def test_a_clock_that_is_a_minute_off_is_warned_about(ward: Ward, seconds: int, state: str) -> None:
    ward.vendor.account_fault = dated(NOW)
    one = of(await ward.examine(now=NOW + timedelta(seconds=seconds)), "clock")
    assert one.state.value == state
    assert state == "ok" or one.found == f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} the vendor's"


async def test_a_refusal_tells_the_time_too(ward: Ward) -> None:
    ward.vendor.account_fault = dated(NOW, 401, {"name": "unauthorized", "message": f"no: {KEY}"})
    assert of(await ward.examine(now=NOW + timedelta(hours=1)), "clock").state is State.WARNING


async def test_a_key_that_sees_nothing_is_warned_about(ward: Ward) -> None:
    ward.vendor.account_fault = Reply(body=b'{"organizations": []}')
    finding = of(await ward.examine(), "account studio")
    assert (finding.state, finding.found.rpartition(": ")[2]) == (State.WARNING, "nothing of it is watched")


async def test_an_id_that_cannot_be_used_is_named(ward: Ward) -> None:
    ward.vendor.account_fault = Reply(body=b'{"organizations": [{"id": "org-1"}, {"id": "org 7"}]}')
    states = [(finding.state.value, finding.found[:36]) for finding in by_what(await ward.examine(), "account studio")]
    assert states[1:] == [("warning", "cannot be watched: the organization ")]


async def test_an_organization_that_the_key_does_not_see_is_warned_about(ward: Ward) -> None:
    ward.text += '[organizations.ghost]\nid = "org-9"\nnotify = []\n'
    found = by_what(await ward.examine(), "organization ghost")
    assert [one.found for one in found] == [
        "the key of account studio does not see it",
        "nobody is told of it: its notify is empty",
    ]


async def test_without_a_channel_nobody_is_told(ward: Ward) -> None:
    ward.text = ward.text.partition("[channels")[0]
    assert bad(await ward.examine()) == {"telling": "NOBODY WILL BE TOLD: no channel is configured"}


async def test_a_channel_that_apprise_does_not_take_is_a_problem(ward: Ward) -> None:
    ward.give("ops.url", "slack://canary")
    assert "Slack does not take the URL" in bad(await ward.examine())["channel ops"]


async def test_a_channel_that_takes_no_test_message_is_a_problem(ward: Ward) -> None:
    await ward.receiver.stop()
    found = bad(await ward.examine(send=True))["channel ops"]
    assert re.fullmatch(r"took no test message: connection refused \(127\.0\.0\.1:\d+\)", found)


# --- files ------------------------------------------------------------------------------------------------------------


async def test_files_that_are_open_to_others_are_warned_about_with_the_command_that_closes_them(ward: Ward) -> None:
    path = Path(ward.url.removeprefix("sqlite:///"))
    home = path.parent.parent / "credit-monitor"
    path.parent.rename(home)
    path = home / path.name
    ward.url = f"sqlite:///{path}"
    (home / "monitor.db.before-0002").touch(0o644)
    for one, mode in ((home, 0o755), (path, 0o666), (ward.folder / "studio.key", 0o644), (home / "x.db", 0o600)):
        one.touch() if not one.exists() else None
        one.chmod(mode)
    todo = {finding.todo for finding in await ward.examine() if finding.state is State.WARNING}
    assert todo == {
        f"chmod 700 {home}",
        f"chmod 600 {path}",
        f"chmod 600 {path}.before-0002",
        f"chmod 600 {ward.folder / 'studio.key'}",
    }


async def test_a_missing_key_is_a_problem_and_a_secret_of_others_says_who_may_look(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ward.folder / "studio.key").unlink()
    found = await ward.examine()
    assert bad(found)["accounts.studio.api_key_file"].endswith("studio.key: cannot be read: no such file or directory")
    assert "was not asked" in bad(found)["account studio"]
    key = ward.give("studio.key", KEY)
    real = config_secrets.open_regular

    def closed(path: Path) -> Any:
        if path == key:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(config_secrets, "open_regular", closed)  # root, as whom tests may run, reads everything
    monkeypatch.setattr(os, "access", lambda path, _, **__: path != key)
    todo = {finding.todo for finding in await ward.examine() if finding.state is State.PROBLEM}
    assert todo == {"run the doctor as root (sudo credit-monitor doctor) or as the service's user"}


async def test_a_pipe_in_the_place_of_a_key_file_is_a_problem_and_holds_up_nothing(ward: Ward) -> None:
    (ward.folder / "studio.key").unlink()
    os.mkfifo(ward.folder / "studio.key")
    wrong = bad(await ward.examine())
    assert wrong["accounts.studio.api_key_file"].endswith("cannot be read: it is no regular file (a pipe or a device)")
    assert "was not asked" in wrong["account studio"]


def damage_pages(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 3] + b"\xff" * 4096 * 4 + content[4096 * 7 :])


async def test_a_damaged_database_is_a_problem(ward: Ward) -> None:
    damage_pages(Path(ward.url.removeprefix("sqlite:///")))
    assert any("damage" in said or "malformed" in said for said in bad(await ward.examine()).values())


async def test_a_database_that_is_not_there_yet_is_no_problem_unless_it_cannot_be_made(ward: Ward) -> None:
    ward.url = f"sqlite:///{ward.folder}/new/cm.db"
    assert bad(await ward.examine()) == {}
    assert not (ward.folder / "new").exists()


async def test_an_empty_database_says_what_brings_it_up_to_date(ward: Ward) -> None:
    path = ward.folder / "empty.db"
    path.touch(0o600)
    ward.url = f"sqlite:///{path}"
    assert of(await ward.examine(), "database").todo == "credit-monitor db upgrade"
    ward.text = ward.text.replace("[poll]", 'migrate = "manual"\n[poll]')
    assert of(await ward.examine(), "database").state is State.PROBLEM


async def test_a_daemon_on_the_database_is_seen_and_not_disturbed(ward: Ward) -> None:
    hold = leader_lock.acquire(ward.url)
    assert hold
    assert of(await ward.examine(), "daemon").found.startswith(
        f"one runs on this database (process {os.getpid()}, since "
    )
    assert leader_lock.acquire(ward.url) is None
    hold.release()


# --- a configuration with mistakes ------------------------------------------------------------------------------------


async def test_mistakes_are_problems_and_what_they_do_not_touch_is_looked_at(ward: Ward) -> None:
    ward.text += '[accounts.other]\nbase_url = "http://vendor.example.org"\napi_key = "canary"\n[channels.x]\nurl = 5\n'
    found = await ward.examine()
    assert [one.found.partition(": ")[2] for one in by_what(found, "configuration")][:2] == [
        (
            "accounts.other.base_url: would send the key unencrypted; "
            "expected https:// (or allow_http = true, in a network you trust)"
        ),
        "channels.x.url: expected text in quotes",
    ]
    assert of(found, "account studio").state is State.OK
    assert of(found, "channel ops").state is State.OK
    assert not by_what(found, "account other")
    assert not by_what(found, "channel x")


async def test_a_file_that_is_no_toml_leaves_the_machine_to_look_at(ward: Ward) -> None:
    ward.text = f'x = "{KEY}'
    found = await ward.examine()
    assert of(found, "configuration").state is State.PROBLEM
    assert {"time zones", "bytecode", "systemd"} <= {one.what for one in found}


async def test_a_mistake_about_the_database_leaves_it_alone(ward: Ward) -> None:
    ward.text = ward.text.replace('url = "{url}"', 'url = "mysql://x"')
    found = await ward.examine()
    assert not by_what(found, "database")
    assert of(found, "account studio").state is State.OK


# --- the service ------------------------------------------------------------------------------------------------------


SYSTEMCTL = """#!/bin/sh
case "$1" in
--version) echo "systemd 252 (252.39-1)"; echo "+PAM +AUDIT" ;;
show) cat "{folder}/unit" ;;
esac
"""


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("LoadState=not-found\n", ("ok", "systemd 252 (252.39-1): there is no credit-monitor.service", None)),
        (
            (
                "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=2\n"
                "WatchdogUSec=1min\nStatusText=12 organizations, 1 critical\n"
            ),
            (
                "ok",
                (
                    "credit-monitor.service is active (running), watchdog 1min, 2 restarts, "
                    "systemd 252 (252.39-1): 12 organizations, 1 critical"
                ),
                None,
            ),
        ),
        ("LoadState=loaded\nActiveState=inactive\nSubState=dead\n", ("warning", None, "systemctl start")),
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\n", ("problem", None, "journalctl -u")),
    ],
)
async def test_the_state_of_the_unit_is_told(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, state: str, expected: tuple[str, str | None, str | None]
) -> None:
    program = ward.give("systemctl", SYSTEMCTL.replace("{folder}", str(ward.folder)), 0o700)
    ward.give("unit", state)
    monkeypatch.setattr(service, "SYSTEMD", str(ward.folder))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (one,) = await service.look_at_systemd()
    assert one.state.value == expected[0]
    assert expected[1] in {None, one.found}
    assert (one.todo or "").startswith(expected[2] or "")


async def test_root_looks_with_the_services_credentials_at_the_services_file(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = ward.folder / "credentials"
    credentials.mkdir()
    (credentials / "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY").write_text(KEY)
    monkeypatch.setattr(of_service, "CREDENTIALS_OF_UNIT", credentials)
    monkeypatch.setattr(of_service, "STATE", ward.folder / "state")
    ward.text = ward.text.replace('api_key_file = "studio.key"\n', "").replace('url = "{url}"\n', "")
    assert "is missing" in str(bad(await ward.examine()))
    monkeypatch.setattr(of_service, "FILE", ward.file)
    found = await ward.examine()
    assert of(found, "account studio").state is State.OK
    assert str(ward.folder / "state") in of(found, "database").found
    assert of(found, "service").found.startswith("looked at as the service sees it: CREDENTIALS_DIRECTORY=")


# --- looks ------------------------------------------------------------------------------------------------------------


async def test_whatever_a_look_raises_is_a_finding_without_its_text() -> None:
    async def broken() -> list[Finding]:
        raise RuntimeError("canary")

    (found,) = await look("thing", broken())
    assert (found.state, found.found) == (State.PROBLEM, "could not be looked at (RuntimeError)")


async def test_a_look_that_blocks_for_ever_is_given_up() -> None:
    ours, theirs = socket.socketpair()

    async def blocked() -> list[Finding]:
        return [ok("x", str(await in_thread(lambda: theirs.recv(1))))]

    (found,) = await look("thing", blocked(), hint="try again", within=0.2)
    assert (found.found, found.todo) == ("no answer within 0.2 s", "try again")
    ours.close()
    await asyncio.sleep(0.05)
    theirs.close()


# --- the command ------------------------------------------------------------------------------------------------------


async def test_the_command_prints_a_line_for_each_finding_and_exits_by_the_worst(ward: Ward, shell: Shell) -> None:
    await ward.examine()
    shell.environ["CREDIT_MONITOR_CONFIG"] = str(ward.file)
    good = await asyncio.to_thread(shell.process, "doctor")
    assert (good.code, good.err) == (0, "")
    assert all(line.startswith("ok       ") for line in good.out.splitlines())
    (ward.folder / "studio.key").chmod(0o644)
    warned = await asyncio.to_thread(shell, "doctor", "--format", "csv")
    assert (warned.code, warned.err) == (1, "")
    assert [row["todo"] for row in csv.DictReader(io.StringIO(warned.out)) if row["state"] == "warning"] == [
        f"chmod 600 {ward.folder / 'studio.key'}"
    ]
    ward.vendor.keys.clear()
    broken = await asyncio.to_thread(shell, "doctor", "--format", "json")
    assert (broken.code, broken.err) == (2, "")
    rows = json.loads(broken.out)
    assert {"state", "what", "found", "todo"} == rows[0].keys()
    assert [row["what"] for row in rows if row["state"] == "problem"] == ["account studio"]
    assert "canary" not in (good.out + warned.out + broken.out).lower()


def test_the_command_makes_nothing(shell: Shell) -> None:
    answer = shell("doctor")
    assert answer.code == 2
    assert "problem  accounts: there is none" in answer.out
    assert not [path for path in shell.home.rglob("*") if path.is_file()]


def test_a_file_of_the_database_is_made_for_its_owner_alone(sqlite_url: str, request: pytest.FixtureRequest) -> None:
    before = os.umask(0)
    request.addfinalizer(lambda: os.umask(before))
    opened = Store(sqlite_url)
    hold = leader_lock.acquire(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE x (y)")
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"monitor.db", "monitor.db-wal", "monitor.db-shm", "monitor.db.lock"} <= modes.keys()
    assert list(integrity.lax_modes(sqlite_url)) == []
    assert hold
    hold.release()
    opened.close()


def test_a_group_that_lets_a_container_in_is_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "credit-monitor"
    folder.mkdir()
    url = f"sqlite:///{folder}/monitor.db"
    group = folder.stat().st_gid
    for mode, is_lax in ((0o770, group != 0), (0o777, True), (0o750, group != 0), (0o700, False)):
        folder.chmod(mode)
        assert bool(list(integrity.lax_modes(url))) is is_lax, oct(mode)
    assert integrity.lets_in_by_group(folder) is (group == 0)
    assert not integrity.lets_in_by_group(tmp_path / "gone")

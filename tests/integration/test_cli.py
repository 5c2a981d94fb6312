"""The commands that answer: the same rows as table, JSON and CSV; `check` with the exit codes of monitoring plugins."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from command import DEAD, FILE, Answer, Shell
from filled import fill, snapshot
from story import key_of

from monitor.sandbox import Fault, Receiver, Reply, SandboxOrganization, Vendor
from monitor.store.engines import transaction
from monitor.store.tables import deliveries, notifications, organizations, snapshots

EXACT = "123456789012.000001"
KEY = key_of("studio")


def parsed(answer: Answer) -> list[dict]:
    """JSON with its numbers as they are written."""
    rows = json.loads(answer.out, parse_float=Decimal, parse_int=Decimal)
    assert isinstance(rows, list)
    return rows


def table(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.out)))


@pytest.fixture
def filled(shell, engine, database_url) -> Shell:
    """A database with a small history, and a file that names it; no key, no channel."""
    fill(engine)
    shell.write(FILE, url=database_url, vendor=DEAD)
    return shell


def test_dates_and_instants_without_an_offset_are_of_the_configured_zone_in_every_command(filled, tmp_path):
    """Noon in UTC, where the history ends, is one o'clock in Berlin."""
    listed = tmp_path / "h.csv"
    listed.write_text("taken_at,credits\n2026-11-23T12:00:00Z,1\n")
    offline = ("--input", str(listed), "--organization", "video", "--format", "json")
    for zone, since in (("UTC", "2026-11-23T12:00:00"), ("Europe/Berlin", "2026-11-23T13:00:00")):
        for words in (("history", "render-farm", "--format", "json"), ("backtest", *offline)):
            for at, count in ((since, 1), (since.replace(":00:00", ":00:01"), 0)):
                done = filled(*words, "--since", at, CREDIT_MONITOR_TIMEZONE=zone)
                assert (done.code, len(parsed(done))) == (0, count), (zone, words, at, done)


# --- questions --------------------------------------------------------------------------------------------------------


def test_status_in_every_format(filled):
    shown, rows, cells = (filled("status", "--format", style) for style in ("table", "json", "csv"))
    assert {answer.code for answer in (shown, rows, cells)} == {0}
    by_name = {row["organization"]: row for row in parsed(rows)}
    assert set(by_name) == {"render-farm", "video"}
    farm = by_name["render-farm"]
    assert (farm["credits"], farm["change"], farm["state"]) == (
        Decimal("148.200001"),
        Decimal("-101.799999"),
        "critical",
    )
    assert (farm["taken_at"], farm["account"], farm["open"]) == (
        "2026-11-23T12:00:00.123456Z",
        "studio",
        ["credits", "stale"],
    )
    assert (by_name["video"]["credits"], by_name["video"]["failure"]) == (None, "unavailable")
    assert [row["credits"] for row in table(cells)] == ["148.200001", ""]
    assert "148.20 " in shown.out
    assert "account lab" in shown.out
    assert "NOBODY WILL BE TOLD" in shown.out
    assert "NOBODY WILL BE TOLD" in rows.err


def test_history_in_every_format_is_exact_and_never_in_scientific_notation(filled, engine):
    with transaction(engine) as tx:
        for hours, amount in [(1, EXACT), (2, "0.000001"), (3, "-5"), (4, "0")]:
            tx.execute(snapshots.insert(), snapshot(2, hours, amount))
    rows = filled("history", "video", "--format", "json")
    assert [row["credits"] for row in parsed(rows)] == [Decimal(EXACT), Decimal("0.000001"), -5, 0]
    assert f'"credits": {EXACT},' in rows.out
    assert '"credits": 0.000001,' in rows.out
    cells = table(filled("history", "video", "--format", "csv"))
    assert [row["credits"] for row in cells] == [EXACT, "0.000001", "-5", "0"]
    assert cells[0]["taken_at"] == "2026-11-23T13:00:00.123456Z"
    assert "123,456,789,012.00" in filled("history", "video").out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), 6),
        (("render-farm",), 5),
        (("org-1",), 5),
        (("--since", "2026-11-23T12:00:00.123456Z"), 1),
        (("--until", "2026-11-23T12:00:00.123456Z"), 5),
        (("--until", "2026-11-23T13:00:00.123456+01:00"), 5),
        (("--since", "2026-11-22", "--until", "2026-11-23"), 1),
        (("--since", "2026-11-24"), 0),
        (("render-farm", "--every", "1d"), 3),
    ],
)
def test_history_of_a_period(filled, arguments, found):
    assert len(parsed(filled("history", *arguments, "--format", "json"))) == found


def test_a_period_may_be_given_as_a_time_ago(filled, engine):
    ago = datetime.now(UTC) - timedelta(hours=3)
    with transaction(engine) as tx:
        tx.execute(snapshots.insert(), {"organization_id": 2, "taken_at": ago, "credits": Decimal(1)})
    for since, count in [("4h", 1), ("2h", 0), ("100w", 1)]:
        assert len(parsed(filled("history", "video", "--since", since, "--format", "json"))) == count


def test_stretches_of_history_have_their_last_lowest_and_highest(filled):
    (_, _, last) = parsed(filled("history", "render-farm", "--every", "1d", "--format", "json"))
    assert (last["starts_at"], last["snapshots"]) == ("2026-11-23T00:00:00Z", 3)
    assert (last["credits"], last["lowest"], last["highest"]) == (Decimal("148.200001"), Decimal("100.25"), 250)


def test_incidents_in_every_format(filled):
    shown, rows, cells = (filled("incidents", "--format", style) for style in ("table", "json", "csv"))
    listed = parsed(rows)
    assert [row["id"] for row in listed] == [1, 2, 3, 4]
    assert (listed[0]["rule"], listed[0]["reason"], listed[0]["resolved_credits"]) == ("credits", "resolved", 250)
    assert (listed[1]["delivered"], listed[1]["pending"], listed[3]["given_up"]) == (1, 1, 1)
    assert (listed[3]["subject"], listed[3]["organization"], listed[3]["account"]) == ("account lab", None, "lab")
    assert [row["rule"] for row in table(cells)] == ["credits", "credits", "stale", "credential"]
    assert len(shown.out.splitlines()) == 5
    assert len(parsed(filled("incidents", "--open", "--format", "json"))) == 3
    assert len(parsed(filled("incidents", "video", "--format", "json"))) == 0


@pytest.mark.parametrize("command", ["status", "history", "incidents"])
def test_an_empty_answer_is_an_empty_array_a_head_line_or_a_sentence(shell, database_url, command):
    shell.write(FILE, url=database_url, vendor=DEAD)
    assert parsed(shell(command, "--format", "json")) == []
    assert "," in shell(command, "--format", "csv").out
    assert shell(command).out.strip().startswith("No")


def test_nothing_is_cut_when_the_output_is_no_terminal_and_control_characters_are_kept_off_it(filled, engine):
    long = "a-very-long-name-" * 20
    with transaction(engine) as tx:
        tx.execute(organizations.update().where(organizations.c.id == 2).values(name=long, title="red\x1b[31m\ntitle"))
    for style in ("table", "csv", "json"):
        assert long in filled("status", "--format", style, COLUMNS="40").out
    shown = filled("status").out + filled("status", "--format", "csv").out + filled("status", "--format", "json").out
    assert "\x1b" not in filled("status").out
    assert "\\u001b" in shown


# --- asking the vendor ------------------------------------------------------------------------------------------------


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in (1, 2)]
    async with Vendor({KEY: ["org-1", "org-2"]}, listed) as one:
        yield one


@pytest.fixture
def asking(shell, vendor, sqlite_url):
    """Runs a command beside the vendor."""
    shell.write(FILE, url=sqlite_url, vendor=vendor.url)
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = KEY

    async def ask(*arguments: str, **environ: str) -> Answer:
        return await asyncio.to_thread(shell, *arguments, **environ)

    return ask


@pytest.mark.parametrize(
    ("balances", "code", "states"),
    [
        (("5000", "5000"), 0, ["ok", "ok"]),
        (("999.999999", "5000"), 1, ["warning", "ok"]),
        (("900", "199"), 2, ["warning", "critical"]),
        (("5000", Fault.SERVER_ERROR), 3, ["ok", "unknown"]),
        (("900", Fault.HANG), 1, ["warning", "unknown"]),
        ((Fault.PAYMENT_REQUIRED, Fault.NULL), 2, ["critical", "unknown"]),
        ((Fault.FORBIDDEN, "5000"), 2, ["critical", "ok"]),
        ((Fault.UNAUTHORIZED, Fault.UNAUTHORIZED), 2, ["unknown", "unknown"]),
    ],
)
async def test_check_exits_with_the_worst_level(asking, vendor, balances, code, states):
    for one, given in zip(vendor.organizations.values(), balances, strict=True):
        one.fault = given if isinstance(given, Fault) else None
        one.credits = Decimal(0) if isinstance(given, Fault) else Decimal(given)
    answer = await asking("check", "--format", "json")
    rows = parsed(answer)
    assert (answer.code, [row["state"] for row in rows]) == (code, states)
    for row, given in zip(rows, balances, strict=True):
        assert row["credits"] == (None if isinstance(given, Fault) else Decimal(given))
        assert (row["failure"] is not None) == isinstance(given, Fault)
    assert KEY not in answer.out + answer.err


async def test_why_a_key_is_rejected_is_said_once(asking, vendor):
    def lines(answer: Answer) -> list[str]:
        return [line.partition(" (HTTP")[0] for line in answer.err.splitlines() if "HTTP" in line or "account" in line]

    vendor.fault = Fault.UNAUTHORIZED
    for _ in range(2):
        assert lines(await asking("check")) == ["account studio: the vendor rejects the API key"]
    vendor.fault = Fault.SERVER_ERROR  # which says nothing of the key: what stands is said, and what is now
    assert lines(await asking("check")) == [
        "account studio: the vendor rejected its API key, and has given no balance since",
        "render-farm: the vendor has a fault",
        "video: the vendor has a fault",
    ]


async def test_check_of_one_organization_asks_for_it_alone(asking, vendor):
    answer = await asking("check", "video", "--format", "json")
    assert [row["organization"] for row in parsed(answer)] == ["video"]
    assert [one.headers["organization"] for one in vendor.requests] == ["org-2"]


async def test_check_shows_the_change_since_the_last_one_and_judges_by_it(asking, vendor):
    await asking("check")
    vendor.organizations["org-1"].credits = Decimal("4999.5")
    rows = parsed(await asking("check", "--format", "json"))
    assert [row["change"] for row in rows] == [Decimal("-0.5"), 0]


async def test_a_dry_run_tells_the_same_and_keeps_and_sends_nothing(asking, vendor, engine_of):
    messages: list = []
    async with Receiver(messages.append) as receiver:
        url = {"CREDIT_MONITOR_CHANNELS__OPS__URL": receiver.url()}
        vendor.organizations["org-1"].credits = Decimal(900)
        assert (await asking("check", "--dry-run", **url)).code == 1
        assert (messages, engine_of(snapshots), engine_of(deliveries)) == ([], 0, 0)
        assert (await asking("check", **url)).code == 1
        assert (len(messages), engine_of(snapshots), engine_of(deliveries)) == (1, 2, 1)
        assert (await asking("check", "--dry-run", **url)).code == 1
        assert (len(messages), engine_of(snapshots), engine_of(notifications)) == (1, 2, 1)


@pytest.fixture
def engine_of(sqlite_url):
    """Counts the rows of a table."""
    engine = sa.create_engine(sqlite_url)
    yield lambda of: engine.connect().execute(sa.select(sa.func.count()).select_from(of)).scalar_one()
    engine.dispose()


async def test_organizations_names_ids_that_cannot_be_used(asking, vendor):
    vendor.account_fault = Reply(body=b'{"organizations": [{"id": "org-1"}, {"id": "org 7", "name": "Video"}]}')
    done = await asking("organizations", "--format", "json")
    assert (done.code, [row["id"] for row in parsed(done)]) == (0, ["org-1"])
    assert "account studio: cannot be watched: the organization org 7 called Video has an id" in done.err


async def test_organizations_lists_what_each_key_sees(asking):
    rows = parsed(await asking("organizations", "--format", "json"))
    assert [(row["id"], row["title"], row["default"], row["organization"]) for row in rows] == [
        ("org-1", "Organization 1", True, "render-farm"),
        ("org-2", "Organization 2", False, "video"),
    ]
    assert "Organization 2" in (await asking("organizations")).out
    assert table(await asking("organizations", "--format", "csv"))[0]["account"] == "studio"


async def test_a_key_alone_is_a_working_configuration(shell, vendor):
    """As a process of its own, in an empty home: the state directory is made, the organizations are found."""
    environ = {"STABILITY_API_KEY": KEY, "CREDIT_MONITOR_ACCOUNTS__DEFAULT__BASE_URL": vendor.url}
    answer = await asyncio.to_thread(shell.process, "check", "--format", "json", **environ)
    assert (answer.code, [row["organization"] for row in parsed(answer)]) == (0, ["org-1", "org-2"])
    (database,) = (shell.home / ".local/state/credit-monitor").glob("*.db")
    assert database.stat().st_mode & 0o077 == 0
    assert (await asyncio.to_thread(shell, "status", **environ)).code == 0
    assert KEY not in answer.out + answer.err


@pytest.mark.parametrize("group", [(), ("db",), ("config",)])
def test_no_summary_of_a_command_is_cut(shell, group):
    answer = shell(*group, "--help")
    _, commands = answer.out.split("Commands:")
    assert not [line for line in commands.splitlines() if line.endswith(("...", "\u2026"))]

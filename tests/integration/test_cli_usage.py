"""`usage` and `history` as a person or a program meets them, before and after retention has removed something."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from command import DEAD, FILE, Answer, Shell
from filled import HOUR, fill, organization, remove
from wait import LONG

from monitor.model import Snapshot
from monitor.store.engines import transaction
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import organizations

DOCUMENT = Path(__file__).parents[2] / "docs" / "usage.md"
PERIOD = ("--since", "2026-11-21", "--until", "2026-11-24")
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def filled(shell, engine, database_url) -> Shell:
    fill(engine)
    shell.write(FILE, url=database_url, vendor=DEAD)
    return shell


@pytest.fixture
def hourly(shell, engine, database_url) -> Shell:
    """One organization with a balance every 20 minutes for ten days, until midnight of the 23rd."""
    shell.write(FILE, url=database_url, vendor=DEAD)
    taken = [Snapshot(MIDNIGHT - n * HOUR / 3, Decimal(n % 50)) for n in range(720)]
    with transaction(engine) as tx:
        tx.execute(organizations.insert(), organization(1, "farm"))
        insert_snapshots(tx, [(1, one) for one in reversed(taken)])
    return shell


def parsed(answer: Answer) -> list[dict]:
    assert answer.code == 0, answer
    rows: list[dict] = json.loads(answer.out, parse_float=Decimal, parse_int=Decimal)
    return rows


# --- usage ------------------------------------------------------------------------------------------------------------


def test_usage_adds_up_to_the_snapshots_in_every_format(filled):
    rows = parsed(filled("usage", "render-farm", *PERIOD, "--format", "json"))
    assert sum(row["used"] for row in rows) == Decimal("301.549999")
    assert sum(row["cost"] for row in rows) == Decimal("3.01549999")
    assert [(row["starts_at"], row["snapshots"], row["gap"]) for row in rows] == [
        ("2026-11-21T00:00:00Z", 1, False),
        ("2026-11-22T00:00:00Z", 1, False),
        ("2026-11-23T00:00:00Z", 3, False),
    ]
    cells = list(csv.DictReader(io.StringIO(filled("usage", "org-1", *PERIOD, "--format", "csv").out)))
    assert [Decimal(row["used"]) for row in cells] == [row["used"] for row in rows]
    assert list(cells[0]) == list(rows[0])
    assert filled("usage", "render-farm", *PERIOD).out.splitlines()[-1].split() == [
        *("total", "301.55", "149.75", "3.02", "100.0%")
    ]


def test_usage_of_all_has_those_that_are_no_longer_watched(filled):
    rows = parsed(filled("usage", "--by", "month", "--format", "json"))
    assert [(row["organization"], row["id"]) for row in rows] == [("old", "org-3"), ("render-farm", "org-1")]
    assert [row["share"] for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("by", "zone", "first"),
    [
        ("hour", "Europe/Berlin", "2026-11-22 00:00+01:00"),
        ("hour", "Asia/Kolkata", "2026-11-22 04:00+05:30"),
        ("day", "Europe/Berlin", "2026-11-22"),
        ("week", "UTC", "2026-11-16"),
        ("month", "UTC", "2026-11"),
    ],
)
def test_a_bucket_is_named_as_its_zone_has_it(filled, by, zone, first):
    answer = filled("usage", "render-farm", "--by", by, "--tz", zone, "--until", "2026-11-24")
    line = answer.out.splitlines()[1]
    assert line.startswith(f"render-farm   {first} ")


def test_dates_without_an_offset_are_the_zones(filled):
    dates = ("--since", "2026-11-22", "--until", "2026-11-23")
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        (row,) = parsed(filled("usage", "render-farm", *dates, "--tz", zone, "--format", "json"))
        assert row["starts_at"] != "2026-11-22T00:00:00Z"


def test_the_zone_and_the_price_are_the_configuration_s(filled, database_url):
    filled.write("timezone = 'Asia/Tokyo'\nprice_per_credit = 0.5\n" + FILE, url=database_url, vendor=DEAD)
    rows = parsed(filled("usage", "render-farm", "--until", "2026-11-24", "--format", "json"))
    assert rows[0]["starts_at"] == "2026-11-21T15:00:00Z"
    assert all(row["cost"] == row["used"] / 2 for row in rows if row["used"] is not None)


def test_gaps_are_marked_in_words(hourly):
    lines = hourly(
        "usage", "--by", "hour", "--since", "2026-11-22T23:00", "--until", "2026-11-23T02:00"
    ).out.splitlines()
    assert lines[1].endswith("100.0%")
    assert lines[-2].split(None, 3) == [
        "farm",
        "2026-11-23",
        "01:00+00:00",
        "-          -     -       -  gap, not known",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tz", "Europe/Belrin"), "did you mean Europe/Berlin?"),
        (("--tz", "Europe"), "is not a time zone"),
        (("--tz", "../etc/passwd"), "is not a time zone"),
        (("--tz", ""), "is empty"),
        (("--by", "year"), "is not one of"),
        (("--since", "2026-11-22", "--until", "2026-11-22"), "is not before"),
        (("renderfarm",), "did you mean render-farm?"),
    ],
)
def test_what_cannot_be_asked_is_refused(filled, arguments, told):
    answer = filled("usage", *arguments)
    assert (answer.code, answer.out) == (64, "")
    assert told in answer.err


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
@pytest.mark.parametrize("by", ["hour", "month"])
def test_the_ends_of_the_calendar_are_no_mistake(filled, zone, by):
    assert filled("usage", "--since", "0001-01-01", "--until", "9999-12-31", "--tz", zone, "--by", by).code == 0


def test_an_empty_database_has_nothing_to_tell(shell, engine, database_url):
    shell.write(FILE, url=database_url, vendor=DEAD)
    assert parsed(shell("usage", "--format", "json")) == []
    assert shell("usage", "--format", "csv").out.startswith("organization,id,account,starts_at")
    assert shell("usage").out == "Nothing yet.\n"
    assert shell("usage", "farm").code == 64


def test_the_documents_example_is_so(filled):
    (command, example) = re.findall(r"^\$ credit-monitor (.*)\n((?:.+\n)+)```", DOCUMENT.read_text(), re.MULTILINE)[0]
    assert filled(*command.split()).out == example


# --- history, where retention has been --------------------------------------------------------------------------------


def test_history_gives_what_is_left_and_says_so_once(hourly, engine):
    remove(engine, MIDNIGHT - timedelta(days=2))
    answer = hourly("history", "--format", "json")
    assert len(parsed(answer)) == 2 * 72 + 1
    assert answer.err == (
        "farm: balances before 2026-11-21 00:00 UTC are no longer kept one by one; --every 1h has them\n"
    )
    assert hourly("history", "--since", "2026-11-21", "--format", "json").err == ""


@pytest.mark.parametrize("every", ["1d", "7d", "1h", "36h"])
def test_stretches_are_the_same_before_and_after(hourly, engine, every):
    arguments = ("history", "--every", every, "--format", "json")
    before = parsed(hourly(*arguments))
    remove(engine, MIDNIGHT - timedelta(days=2))
    assert parsed(hourly(*arguments)) == before


def test_days_stay_when_hours_have_gone(hourly, engine):
    before = parsed(hourly("history", "--every", "1d", "--format", "json"))
    remove(engine, MIDNIGHT - timedelta(days=2), hours_before=MIDNIGHT - timedelta(days=4))
    assert parsed(hourly("history", "--every", "1d", "--format", "json")) == before


@pytest.mark.parametrize(
    ("every", "told"),
    [
        (
            "5m",
            "before 2026-11-21 00:00Z are no longer kept so finely; --every 1d or --since 2026-11-21T00:00:00Z works",
        ),
        (
            "1h",
            "before 2026-11-19 00:00Z are no longer kept so finely; --every 1d or --since 2026-11-19T00:00:00Z works",
        ),
    ],
)
def test_what_is_finer_than_what_is_left_is_refused_with_what_works(hourly, engine, every, told):
    remove(engine, MIDNIGHT - timedelta(days=2), hours_before=MIDNIGHT - timedelta(days=4))
    answer = hourly("history", "--every", every)
    assert (answer.code, answer.out) == (64, "")
    assert told in answer.err
    assert hourly("history", "--every", "5m", "--since", "2026-11-21").code == 0


def test_a_period_is_widened_to_whole_stretches(hourly):
    rows = parsed(
        hourly(
            "history", "--every", "1d", "--since", "2026-11-20T13:00", "--until", "2026-11-21T01:00", "--format", "json"
        )
    )
    assert [(row["starts_at"], row["snapshots"]) for row in rows] == [
        ("2026-11-20T00:00:00Z", 72),
        ("2026-11-21T00:00:00Z", 72),
    ]


# --- where a person watches -------------------------------------------------------------------------------------------


def watched(shell: Shell, *arguments: str, stream: str) -> str:
    """What a terminal shows that is this stream of a process."""
    ours, theirs = pty.openpty()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: theirs}
    environ = shell._environ({"COLUMNS": "100", "TERM": "xterm", "PYTHONIOENCODING": "utf-8"})
    with subprocess.Popen(
        [sys.executable, "-m", "monitor", *arguments], env=environ, cwd=Path(__file__).parents[2], **streams
    ) as process:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
        assert process.wait(LONG) == 0
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_gets_a_line_of_blocks_for_each_organization(filled):
    *_, empty, old, farm = watched(filled, "history", stream="stdout").splitlines()
    assert empty == ""
    assert old.split() == ["old", "▄", "1,000,000,000.00", "to", "1,000,000,000.00"]
    assert re.fullmatch("render-farm  █[▁▂▃▄▅▆▇█]{3}▂  100.25 to 300.00", farm)
    assert "▁" not in filled("history").out


def test_a_long_export_shows_how_far_it_is(hourly, engine):
    with transaction(engine) as tx:
        insert_snapshots(tx, [(1, Snapshot(MIDNIGHT + n * HOUR / 60, Decimal(n))) for n in range(1, 2000)])
    assert "2719" in watched(hourly, "history", "--format", "csv", stream="stderr")
    assert watched(hourly, "history", "--until", "2026-11-20", "--format", "csv", stream="stderr") == ""


# --- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", ["-1", "'dear'", "nan", "inf", "true", "1000000", "0.0000000000001"])
def test_a_price_that_is_none_is_a_mistake(filled, database_url, price):
    filled.write(f"price_per_credit = {price}\n" + FILE, url=database_url, vendor=DEAD)
    answer = filled("usage")
    assert answer.code == 78
    assert "price_per_credit" in answer.err


def test_a_price_of_nothing_is_one(filled, database_url):
    filled.write("price_per_credit = 0\n" + FILE, url=database_url, vendor=DEAD)
    assert {row["cost"] for row in parsed(filled("usage", "render-farm", *PERIOD, "--format", "json"))} == {0}

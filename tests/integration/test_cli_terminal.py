"""Nothing wraps on a terminal of 80 columns, times are of the configured zone, and elsewhere nothing is cut."""

import csv
import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command import DEAD, FILE, Shell
from filled import NOON, fill, snapshot, take
from terminal import in_terminal

from monitor.cli.table import Table, display_width
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import organizations

LONG = "the-long-name-of-an-organization-that-renders-pictures-all-night"
WIDE = "渲染農場" * 15
BERLIN = "Europe/Berlin"


@pytest.fixture
def filled(shell: Shell, sqlite_url: str) -> Shell:
    """A history with names that are too long, a silence, and settings that are warned about."""
    engine = open_writer(sqlite_url)
    fill(engine)
    with transaction(engine) as tx:
        tx.execute(organizations.update().where(organizations.c.id == 2).values(name=LONG, title=WIDE))
        tx.execute(organizations.update().where(organizations.c.id == 3).values(name=WIDE, watched=True))
        take(tx, [snapshot(2, hours, "123456789012.25") for hours in range(-30, -20)])
    engine.dispose()
    shell.write(FILE + '[channels.ops]\nurl = "json://127.0.0.1:9/x"\n', url=sqlite_url, vendor=DEAD)
    shell.environ |= {"CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": "sk-x", "CREDIT_MONITOR_TIMEZONE": BERLIN}
    reason = "a long reason, which somebody wrote who had a lot of time for it, and then some more words"
    assert shell("silence", "render-farm", "--for", "2d", "--reason", reason, "--author", "anna").code == 0
    return shell


def seen(shell: Shell, *arguments: str, columns: int = 80) -> list[str]:
    environ = {"HOME": str(shell.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    environ |= {"LANG": "C.UTF-8"} | shell.environ
    _, lines = in_terminal([sys.executable, "-m", "monitor", *arguments], environ, columns=columns)
    assert not [line for line in lines if display_width(line) > columns], "\n".join(lines)
    return lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("incidents",),
        ("silences", "--all"),
        ("usage", "--since", "2026-11-21", "--until", "2026-11-24"),
        ("backtest",),
        ("history",),
        ("doctor",),
        ("check",),
        ("config", "show"),
        ("--help",),
        ("backtest", "--help"),
    ],
    ids=" ".join,
)
def test_nothing_wraps(filled, arguments):
    for columns in (80, 60):
        lines = seen(filled, *arguments, columns=columns)
        assert not [line for line in lines if "Traceback" in line]


def test_the_least_telling_column_goes_first_and_long_cells_end_in_an_ellipsis(filled):
    lines = seen(filled, "status")
    lines = lines[next(at for at, line in enumerate(lines) if line.startswith("ORGANIZATION")) :]
    assert lines[0].split() == ["ORGANIZATION", "CREDITS", "RUNWAY", "STATE"]
    assert [line for line in lines if line.startswith(LONG[:20]) and "… " in line]
    wide = seen(filled, "status", columns=200)
    assert [line for line in wide if "TAKEN AT" in line]
    assert [line for line in wide if line.startswith(LONG + " ")]


def test_times_are_of_the_configured_zone_and_it_is_named(filled):
    at = f"{NOON.replace(microsecond=0) + timedelta(hours=1):%Y-%m-%d %H:%M:%S} CET"
    for arguments in (("status",), ("incidents",), ("history", "render-farm")):
        answer = filled(*arguments)
        assert at in answer.out, answer
    assert BERLIN in filled("usage").out
    assert f"{NOON:%Y-%m-%d %H:%M:%S} UTC" in filled("status", CREDIT_MONITOR_TIMEZONE="UTC").out


def test_where_nobody_watches_nothing_is_cut(filled):
    assert LONG in filled("status").out
    assert "TAKEN AT" in filled("status").out
    rows = list(csv.DictReader(io.StringIO(filled("silences", "--format", "csv").out)))
    assert rows[0]["reason"].endswith("some more words")


def test_a_table_of_many_pages_keeps_its_columns():
    table = Table(("name", "at"), UTC, least=("at",), width=40)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    first = list(table.lines([{"name": "a", "at": at}]))
    later = list(table.lines([{"name": "b" * 100, "at": at}]))
    assert first == ["NAME  AT", "a     2026-01-01 00:00:00 UTC"]
    assert later == ["b" * 14 + "…" + "  2026-01-01 00:00:00 UTC"]


def test_the_demo_fits_into_eighty_columns(shell):
    lines = seen(shell, "demo", "--for", "12s")
    assert any(line.startswith(">> ") for line in lines)
    assert any("render-farm" in line and "lab" in line and "archive" in line for line in lines)

"""Alive and ready: what each means, in trouble and while another one leads."""

import asyncio
import logging
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from story import NOON, Story
from visitor import Site, settings_of

from monitor.web import reader
from monitor.web.pages import late_polls

LIMIT = 3 * timedelta(minutes=5) + timedelta(seconds=15)
LIMIT = timedelta(minutes=15, seconds=15)


@pytest.mark.parametrize(
    ("polled", "late"),
    [
        ({"a": NOON}, 0),
        ({"a": NOON - LIMIT}, 0),
        ({"a": NOON - LIMIT - timedelta(seconds=1)}, 1),
        ({"a": None}, 1),
        ({"a": NOON, "b": None, "c": NOON - 2 * LIMIT}, 2),
        ({"a": NOON + timedelta(days=1)}, 0),  # the clock was stepped back: the poll is no older for it
        ({}, 0),
    ],
)
def test_an_account_is_late_after_three_intervals_and_a_deadline(polled, late) -> None:
    reasons = [f"polls: {late} of {len(polled)} account(s) without a completed poll within 15m15s"] if late else []
    assert late_polls(polled, dict.fromkeys(polled, LIMIT), now=NOON) == reasons


async def test_the_daemon_is_alive_until_what_the_watchdog_sees_hangs(site: Site) -> None:
    assert (await site.ask("/healthz")).body == "ok\n"
    site.hangs = "the delivery loop"
    answer = await site.ask("/healthz")
    assert (answer.status, answer.body) == (503, "the delivery loop hangs\n")


async def test_it_is_ready_once_every_account_was_polled_and_as_long_as_it_is(tmp_path: Path, story: Story) -> None:
    async with Site(settings_of(tmp_path, story.url)).serve() as site:
        assert (await site.ask("/readyz")).status == 503
        story.parts.batch.polled(1, NOON)
        await story.parts.batch.flush()
        assert (await site.ask("/readyz")).body == "ok\n"
        site.now = NOON + LIMIT + timedelta(seconds=1)
        answer = await site.ask("/readyz")
        assert answer.status == 503
        assert answer.body == "polls: 1 of 1 account(s) without a completed poll within 15m15s\n"


async def test_a_database_that_is_away_is_told_of_without_its_place_and_logged_once(
    tmp_path: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    shutil.copy(path, tmp_path / "kept.db")
    async with Site(settings_of(tmp_path, sqlite_url)).serve() as site:
        shutil.copy(Path(__file__), path)
        for _ in range(3):
            answer = await site.ask("/readyz")
            assert (answer.status, answer.body) == (503, "database: it cannot be read\n")
        assert (await site.ask("/healthz")).status == 200
        assert "credit_monitor_database_up 0.0" in (await site.ask("/metrics")).body
        shutil.copy(tmp_path / "kept.db", path)
        assert "polls: " in (await site.ask("/readyz")).body
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"not ready: SQLite file {path}: is not a SQLite database"
    ]


async def test_another_schema_is_not_ready(tmp_path: Path, story: Story) -> None:
    story.write(lambda tx: tx.execute(sa.text("UPDATE alembic_version SET version_num = '0000'")))
    async with Site(settings_of(tmp_path, story.url)).serve() as site:
        answer = await site.ask("/readyz")
        assert (answer.status, answer.body) == (503, "database: its schema is not the one of this version\n")


async def test_a_database_that_does_not_answer_holds_up_nothing_and_is_asked_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, release = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: object) -> None:
        asked.append(1)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    monkeypatch.setattr("monitor.query.last_polls", hang)
    monkeypatch.setattr(reader, "ANSWER_TIMEOUT", 0.3)
    answers = await asyncio.gather(*(site.ask("/readyz") for _ in range(10)))
    assert {answer.body for answer in answers} == {"database: it cannot be read\n"}
    assert (await site.ask("/healthz")).status == 200
    assert (await site.ask("/metrics")).status == 200
    release.set()
    assert len(asked) == 1

"""A channel's daily or weekly summary: when it is due, that it comes once, and what it says, on both databases."""

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Self
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from story import START, THREE, Story

from monitor.config import Database, DigestTime
from monitor.model import Failure, FailureKind, OpenLine, Rule, Severity
from monitor.notify.digest import Digests, gather, last_due
from monitor.store import engines
from monitor.store.tables import deliveries, notifications

BERLIN = ZoneInfo("Europe/Berlin")
NINE = DigestTime(time(9), BERLIN)  # 08:00 UTC in winter; the desk starts on a Monday at 08:00 UTC
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "now", "due"),
    [
        (NINE, "2026-11-02T09:00+01:00", "2026-11-02T09:00+01:00"),
        (NINE, "2026-11-02T08:59+01:00", "2026-11-01T09:00+01:00"),
        (NINE, "2026-10-25T12:00+01:00", "2026-10-25T09:00+01:00"),  # the night before, clocks went back
        (NINE, "2026-10-25T08:30+01:00", "2026-10-24T09:00+02:00"),
        (DigestTime(time(9), BERLIN, 0), "2026-11-08T12:00+01:00", "2026-11-02T09:00+01:00"),
        (DigestTime(time(9), BERLIN, 0), "2026-11-09T08:59+01:00", "2026-11-02T09:00+01:00"),
        (DigestTime(time(2, 30), BERLIN), "2026-03-29T12:00+02:00", "2026-03-29T03:30+02:00"),  # a time that is skipped
        (DigestTime(time(2, 30), BERLIN), "2026-10-25T02:45+01:00", "2026-10-25T02:30+02:00"),  # one that is twice
        (DigestTime(time(0), ZoneInfo("Pacific/Auckland")), "2026-11-02T11:30+00:00", "2026-11-02T11:00+00:00"),
    ],
)
def test_a_digest_is_due_at_its_local_time(when, now, due):
    assert last_due(when, at(now)) == at(due)


def test_over_a_year_of_changing_clocks_there_is_one_a_day():
    when = DigestTime(time(2, 30), BERLIN)
    moments = (at("2026-01-01T00:00+00:00") + minutes * timedelta(minutes=15) for minutes in range(365 * 96))
    assert len({last_due(when, moment) for moment in moments}) in (365, 366)


# --- once -------------------------------------------------------------------------------------------------------------


class Digesting(Story):
    """Three organizations with digests on `ops`, and a daemon that is started anew at will."""

    def begin(self, toml: str = THREE) -> Self:
        super().begin(toml)
        self.configure(ops=NINE)
        self.start()
        return self

    def configure(self, **digests: DigestTime) -> None:
        changed = {name: replace(self.settings.channels[name], digest=when) for name, when in digests.items()}
        self.settings = self.settings.model_copy(update={"channels": {**self.settings.channels, **changed}})

    def start(self) -> None:
        self.digests = Digests(self.store, self.settings, started_at=self.now)

    async def tick(self, later: timedelta = timedelta(0)) -> int:
        """Let time pass; gives how many digests were written by then on `ops`."""
        self.now += later
        await self.digests.tick(self.now)
        return len(self.words())

    def words(self, channel: str = "ops") -> list[str]:
        """The text of every digest on its way to a channel."""
        of_channel = (deliveries.c.channel == channel) & (notifications.c.reason == "digest")
        question = sa.select(notifications.c.facts).join(deliveries).where(of_channel).order_by(deliveries.c.id)
        return [json.loads(row.facts)[1] for row in self.store.write_now(lambda tx: tx.execute(question).all())]

    def gather(self, since: datetime, channel: str = "ops", *, weekly: bool = False):
        reader = engines.open_reader(self.settings.database.url)
        try:
            return gather(reader, self.settings, channel, weekly=weekly, since=since, until=self.now)
        finally:
            reader.dispose()


@pytest.fixture
async def desk(database_url, tmp_path):
    story = Digesting(tmp_path, database_url, START).begin()
    yield story
    await story.end()


async def test_the_first_digest_is_the_next_that_comes_due_and_then_there_is_one_a_day(desk):
    assert [await desk.tick(step * HOUR) for step in (0, 12, 11, 1, 1, 22, 1, 0)] == [0, 0, 0, 1, 1, 1, 2, 2]


async def test_a_restart_repeats_none(desk):
    assert await desk.tick(DAY) == 1
    for _ in range(3):
        desk.start()
        assert await desk.tick(timedelta(minutes=1)) == 1
    desk.start()
    assert await desk.tick(DAY) == 2


async def test_what_was_missed_while_down_comes_once_and_late(desk):
    await desk.tick(DAY)
    desk.now += 5 * DAY + 3 * HOUR
    desk.start()
    assert await desk.tick() == 2
    assert await desk.tick(HOUR) == 2
    assert desk.words()[1].count("2026-11-03 08:00 UTC") == 1
    assert await desk.tick(20 * HOUR) == 3


async def test_a_clock_stepped_back_repeats_none(desk):
    await desk.tick(DAY)
    assert await desk.tick(-3 * DAY) == 1
    desk.start()
    assert await desk.tick(2 * DAY) == 1


async def test_a_digest_that_another_channel_stood_in_for_is_not_its_own(desk):
    desk.configure(pager=DigestTime(time(9), BERLIN, 2))
    desk.start()
    await desk.tick(DAY + HOUR)
    (group,) = desk.claim()
    desk.connect(ops="pager")
    desk.answer(group[0].id, "HTTP 404", retryable=False)
    assert len(desk.words("pager")) == 1
    desk.start()
    await desk.tick(23 * HOUR)
    assert len(desk.words("pager")) == 3  # its own, and another one of the channel that is down


async def test_a_database_that_is_away_makes_it_late_not_lost(desk, caplog):
    url = desk.settings.database.url
    away = desk.settings.model_copy(update={"database": Database("sqlite:////nowhere/at/all.db")})
    desk.digests._settings = away
    assert await desk.tick(DAY) == 0
    assert "ops: the digest has to wait" in caplog.text
    desk.digests._settings = away.model_copy(update={"database": Database(url)})
    assert await desk.tick(timedelta(minutes=1)) == 1


# --- what it says -----------------------------------------------------------------------------------------------------


def test_it_tells_balances_and_what_was_used_and_topped_up_in_the_period(desk):
    desk.settle(a=2000)
    since = desk.now
    desk.settle(a=1950, b=700)
    desk.settle(a=2950)
    desk.settle(a="2900.5")
    a, b, c = desk.gather(since).organizations
    assert (a.name, a.credits, a.used, a.topped_up) == ("a", Decimal("2900.5"), Decimal("99.5"), Decimal(1000))
    assert (b.credits, b.used, b.topped_up, b.runway_likely) == (Decimal(700), None, None, None)
    assert (c.credits, c.taken_at, c.failing) == (None, None, False)


def test_it_tells_the_runway_once_it_is_known(desk):
    for _ in range(50):
        desk.settle(60, a=10_000 - 10 * (desk.now - START) / HOUR)
    (a, *_) = desk.gather(START).organizations
    assert a.runway_low < a.runway_likely < a.runway_high
    assert 600 < a.runway_likely < 1100


def test_it_tells_what_is_open_and_what_did_not_arrive(desk):
    desk.settle(a=900, b=Failure(FailureKind.CREDENTIAL_REJECTED, "x"))
    ((one, _),) = [group for group in desk.claim() if len(group) == 2]
    desk.answer(one.id, "connection error")
    digest = desk.gather(START)
    assert set(digest.incidents) == {
        OpenLine("a", Rule.CREDITS, Severity.WARNING, desk.now),
        OpenLine("studio", Rule.CREDENTIAL, Severity.CRITICAL, desk.now),
    }
    assert (digest.lost, digest.waiting) == ({}, {"ops": 1})
    for _ in range(30):
        desk.now += HOUR
        desk.answer(one.id, "connection error")
    assert desk.gather(START).lost == {"ops": 1}
    assert desk.gather(desk.now + HOUR).lost == {}


def test_it_is_of_the_channel_s_organizations_that_are_not_paused(desk):
    desk.settle(a=1, b=1, c=1)
    a, b = (desk.settings.organizations[name] for name in "ab")
    changed = {"a": replace(a, notify=("pager",)), "b": replace(b, paused=True)}
    desk.settings = desk.settings.model_copy(update={"organizations": {**desk.settings.organizations, **changed}})
    found = {channel: desk.gather(START, channel) for channel in ("ops", "pager")}
    assert {channel: [line.name for line in one.organizations] for channel, one in found.items()} == {
        "ops": ["c"],
        "pager": ["a", "c"],
    }
    assert {line.name for line in found["ops"].incidents} == {"c"}

"""The one message that cannot wait in the outbox: that the database is away, and that it is back."""

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from on_call import on_call_services
from receivers import Web, web
from wait import until

from monitor.daemon.database_alert import DatabaseAlert
from monitor.daemon.state import ProcessState
from monitor.store.writer import Trouble

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Case:
    """An alert with a clock in hand and a database that is away, or is not; stands for the daemon's state, too."""

    def __init__(self, *receivers: Web) -> None:
        self.now = NOON
        self.since: datetime | None = None
        self.what = ""
        self.alert_after = 5 * MINUTE
        self.installation = "an-id"
        self.template = None
        self.settings = SimpleNamespace(
            channels={f"c{n}": receiver for n, receiver in enumerate(receivers)},
            channel_url=lambda name: f"json://127.0.0.1:{self.settings.channels[name].port}/hook",
            timezone=ZoneInfo("Europe/Berlin"),
        )
        self.alert = DatabaseAlert(cast("ProcessState", self))

    def clock(self) -> datetime:
        return self.now

    def database_trouble(self) -> Trouble | None:
        return Trouble("PostgreSQL database x at host: cannot be reached", 0.0, self.what) if self.since else None

    def began_at(self, _trouble: Trouble) -> datetime:
        assert self.since
        return self.since

    async def look(self, minutes: float) -> None:
        self.now += minutes * MINUTE
        await self.alert.look()


def titles(receiver: Web) -> list[str]:
    return [said["title"] for said in receiver.said]


def identity(said: dict[str, str]) -> str:
    return said["message"].rpartition("notification ")[2].strip()[:16]


async def test_an_outage_that_lasts_is_told_once_and_its_end_too():
    async with web() as receiver:
        case = Case(receiver)
        case.since = NOON
        for minutes in (1, 3.9):
            await case.look(minutes)
        assert titles(receiver) == []
        for minutes in (0.1, 1, 30):
            await case.look(minutes)
        case.since = None
        for _ in range(2):
            await case.look(1)
        first, second = titles(receiver)
        assert first.startswith("CRITICAL: credit-monitor on ")
        assert first.endswith(" has no database for 5 min")
        assert second.startswith("RESOLVED: credit-monitor on ")
        assert "cannot be reached" in receiver.said[0]["message"]
        assert identity(receiver.said[0]) == identity(receiver.said[1])


async def test_what_alone_cannot_be_written_is_told_as_that():
    async with web() as receiver:
        case = Case(receiver)
        case.since, case.what = NOON, "3 results"
        await case.look(6)
        assert titles(receiver)[0].endswith(" cannot write everything for 6 min")
        assert "does not take this: 3 results" in receiver.said[0]["message"]


async def test_an_on_call_service_has_one_incident_for_it_which_ends(monkeypatch):
    async with on_call_services() as services:
        for name, value in services.environ.items():
            monkeypatch.setenv(name, value)
        case = Case(Web())
        case.settings.channel_url = lambda _: services.urls["pagerduty"]
        case.alert.use(case.settings)
        case.since = NOON
        await case.look(6)
        assert services.open["pagerduty"] == [f"credit-monitor.an-id.database.{socket.gethostname()}"]
        case.since = None
        await case.look(6)
        assert services.open["pagerduty"] == services.lost == []


async def test_a_short_outage_is_told_to_nobody():
    async with web() as receiver:
        case = Case(receiver)
        case.since = NOON
        await case.look(4)
        case.since = None
        await case.look(4)
        assert titles(receiver) == []


async def test_a_channel_that_does_not_take_it_is_tried_again_with_the_same_id_and_the_others_are_not():
    async with web() as good, web("500", "ok") as late:
        case = Case(good, late)
        case.since = NOON
        for minutes in (5, 0.5, 0.6, 5):
            await case.look(minutes)
        assert (len(titles(good)), len(titles(late))) == (1, 2)
        assert identity(late.said[0]) == identity(late.said[1])


async def test_a_channel_that_takes_it_at_no_time_is_complained_of_once(caplog):
    async with web("500") as dead:
        case = Case(dead)
        case.since = NOON
        for _ in range(4):
            await case.look(6)
        assert len(titles(dead)) == 4
        assert len(caplog.messages) == 1


async def test_who_never_heard_of_it_does_not_hear_of_its_end():
    async with web("500") as dead:
        case = Case(dead)
        case.since = NOON
        await case.look(5)
        case.since = None
        await case.look(1)
        assert [title.split(":")[0] for title in titles(dead)] == ["CRITICAL"]


async def test_that_it_is_over_is_said_until_it_is_taken():
    async with web("ok", "500", "ok") as receiver:
        case = Case(receiver)
        case.since = NOON
        await case.look(5)
        case.since = None
        for minutes in (1, 0.5, 1, 1):
            await case.look(minutes)
        assert [title.split(":")[0] for title in titles(receiver)] == ["CRITICAL", "RESOLVED", "RESOLVED"]
        assert len({identity(said) for said in receiver.said}) == 1


async def test_a_second_outage_is_another_message():
    async with web() as receiver:
        case = Case(receiver)
        for _ in range(2):
            case.since = case.now
            await case.look(6)
            case.since = None
            await case.look(1)
        assert len({identity(said) for said in receiver.said}) == 2


async def test_a_process_that_was_stopped_tells_nothing_that_it_knew_from_before():
    asked: list[float] = []
    case = Case()
    case.database_trouble = lambda: asked.append(asyncio.get_running_loop().time())
    looking = asyncio.create_task(case.alert.run(every=timedelta(milliseconds=20)))
    await until(lambda: asked)
    before = len(asked)
    time.sleep(0.5)  # noqa: ASYNC251 -- as a process that is stopped
    woke = asyncio.get_running_loop().time()
    await until(lambda: len(asked) > before)
    assert asked[before] >= woke + 0.015
    looking.cancel()


@pytest.mark.parametrize("name", ["<!channel>\n*x*", "a\x1b[31m"])
async def test_the_host_is_one_harmless_line(monkeypatch, name):
    monkeypatch.setattr("socket.gethostname", lambda: name)
    async with web() as receiver:
        case = Case(receiver)
        case.since = NOON
        await case.look(6)
        assert "\n" not in titles(receiver)[0]
        assert "<!channel>" not in titles(receiver)[0]
        assert "\x1b" not in receiver.bodies[0]


def test_that_nothing_can_be_written_is_logged_once_also_where_nothing_was_fetched_meanwhile(caplog):
    trouble = Trouble("SQLite file x: is locked by another program", 0.0)
    store, leadership = SimpleNamespace(trouble=None), SimpleNamespace(holds_results=False)
    lock = SimpleNamespace(leads=True)
    state = SimpleNamespace(store=store, leadership=leadership, leader_lock=lock, _is_trouble_told=False)
    for store.trouble, leadership.holds_results in (
        *((None, False), (trouble, False), (trouble, False), (None, False), (None, False)),
        *((trouble, True), (trouble, True), (None, False)),  # said by those who hold what was fetched
    ):
        ProcessState.tell_trouble(cast("ProcessState", state))
    assert caplog.messages == [f"the database cannot be used: {trouble.cause}", "the database is back"]

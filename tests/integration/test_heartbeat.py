"""The dead man's switch: called after polls, told of failure in the words of its service, never in anybody's way."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from wait import until

from monitor.daemon.heartbeat import ATTEMPTS, INTERVAL, Heartbeat, address
from monitor.poll import PollResult
from monitor.providers.http import DEADLINE, ping
from monitor.sandbox.loopback import Loopback, Misbehaviour, Reply, Request

CANARY = "canary-uuid-0d9e"
WRONG = "studio: nothing could be fetched"


# --- the words of each service ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "well", "failed"),
    [
        ("https://hc-ping.com/uuid", "https://hc-ping.com/uuid", "https://hc-ping.com/uuid/fail"),
        ("https://hc/ping/key/slug/", "https://hc/ping/key/slug/", "https://hc/ping/key/slug/fail"),
        ("http://hc:8000/ping/u?create=1", "http://hc:8000/ping/u?create=1", "http://hc:8000/ping/u/fail?create=1"),
        (
            "https://kuma/api/push/T0k?status=up&msg=OK&ping=",
            "https://kuma/api/push/T0k?status=up&msg=OK&ping=1500",
            "https://kuma/api/push/T0k?status=down&msg=studio%3A+nothing+could+be+fetched&ping=1500",
        ),
        (
            "https://x/kuma/api/push/T0k?k=v",
            "https://x/kuma/api/push/T0k?k=v&status=up&msg=OK&ping=1500",
            "https://x/kuma/api/push/T0k?k=v&status=down&msg=studio%3A+nothing+could+be+fetched&ping=1500",
        ),
    ],
)
def test_each_service_is_told_in_its_own_words(url: str, well: str, failed: str) -> None:
    assert address(url, problem=None, seconds=1.5) == well
    assert address(url, problem=WRONG, seconds=1.5) == failed


def test_a_poll_is_worthless_when_all_of_it_failed_or_nothing_was_recorded() -> None:
    assert PollResult(3, 0, recorded=True, seconds=1).problem is None
    assert PollResult(1, 2, recorded=True, seconds=1).problem is None
    assert PollResult(0, 0, recorded=True, seconds=1).problem is None
    assert PollResult(0, 1, recorded=True, seconds=1).problem == "nothing could be fetched"
    assert PollResult(3, 0, recorded=False, seconds=1).problem == "its results could not be recorded"


# --- a real server ----------------------------------------------------------------------------------------------------


@dataclass
class Switch:
    """Takes calls, or misbehaves."""

    answer: Reply | Misbehaviour = field(default_factory=lambda: Reply(200, b"OK"))
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    def take(self, request: Request) -> Reply | Misbehaviour:
        self.requests.append(request)
        return self.answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{CANARY}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def heard(self, calls: int) -> list[str]:
        await until(lambda: len(self.requests) >= calls)
        return self.paths


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    switch = Switch()
    server = Loopback(switch.take)
    await server.start()
    switch.port = server.port
    yield switch
    await server.stop()


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX-Drip: " + b"x" * 1000:
        if not writer.transport.is_closing():
            writer.write(bytes([letter]))
            await asyncio.sleep(0.1)


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_one_get_without_cookies_or_body_is_all_there_is(switch: Switch) -> None:
    assert await ping(f"{switch.url}?a=b") is None
    (request,) = switch.requests
    assert (request.method, request.path, request.body) == ("GET", f"/{CANARY}?a=b", b"")
    assert request.headers["user-agent"] == "credit-monitor"
    assert "authorization" not in request.headers


async def test_a_login_in_the_address_is_sent_as_basic(switch: Switch) -> None:
    assert await ping(switch.url.replace("://", "://user:p%40ss@")) is None
    (request,) = switch.requests
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'user:p@ss').decode()}"
    assert "@" not in request.headers["host"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(404, b"not found"), "its server answered 404"),
        (Reply(500), "its server answered 500"),
        (
            Reply(301, headers={"Location": "http://127.0.0.1:9/"}),
            "its server redirects elsewhere, which is not followed",
        ),
        (hang, "no answer within 0 s"),
        (drip, "no answer within 0 s"),
        (reset, "its server closed the connection without an answer"),
    ],
)
async def test_what_goes_wrong_is_told_without_the_address(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, answer: Reply | Misbehaviour, error: str
) -> None:
    if error.startswith("no answer"):
        monkeypatch.setattr("monitor.providers.http.DEADLINE", 0.4)
    switch.answer = answer
    assert await ping(switch.url) == f"{error} ({urlsplit(switch.url).netloc})"


async def test_a_server_that_is_not_there_is_told_of() -> None:
    assert await ping(f"http://127.0.0.1:9/{CANARY}") == "the connection to its server was refused (127.0.0.1:9)"


# --- after polls ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def beating(switch: Switch) -> AsyncIterator[Callable[..., Heartbeat]]:
    begun: list[Heartbeat] = []

    def begin(path: str = "", *, interval: float = 0.05) -> Heartbeat:
        begun.append(Heartbeat(switch.url + path, interval=interval))
        return begun[-1]

    yield begin
    for heart in begun:
        await heart.stop()


async def test_a_poll_is_told_of_and_a_failed_one_as_failed(switch: Switch, beating) -> None:
    heart = beating()
    heart.poll_ended("studio", None)
    await switch.heard(1)
    heart.poll_ended("studio", "nothing could be fetched")
    await switch.heard(2)
    heart.poll_ended("studio", None)
    assert await switch.heard(3) == [f"/{CANARY}", f"/{CANARY}/fail", f"/{CANARY}"]


async def test_uptime_kuma_is_told_what_is_wrong(switch: Switch, beating) -> None:
    heart = beating("/api/push/T0k?status=up&msg=OK&ping=")
    heart.poll_ended("studio", "nothing could be fetched", seconds=0.25)
    (path,) = await switch.heard(1)
    assert parse_qs(urlsplit(path).query) == {"status": ["down"], "msg": [WRONG], "ping": ["250"]}


async def test_it_is_called_at_most_once_a_minute_and_then_with_what_is_true_by_then(switch: Switch, beating) -> None:
    assert INTERVAL == 60
    heart = beating(interval=3)
    heart.poll_ended("studio", None)
    await switch.heard(1)
    for problem in ("nothing could be fetched", None, "nothing could be fetched"):
        heart.poll_ended("studio", problem)
    assert await switch.heard(2) == [f"/{CANARY}", f"/{CANARY}/fail"]
    assert switch.requests[1].at - switch.requests[0].at >= 1
    await asyncio.sleep(0.5)
    assert len(switch.requests) == 2


async def test_an_account_that_cannot_be_polled_is_not_hidden_by_others(switch: Switch, beating) -> None:
    heart = beating("/api/push/T0k")
    heart.poll_ended("studio", "nothing could be fetched")
    await switch.heard(1)
    heart.poll_ended("lab", None)
    assert "status=down" in (await switch.heard(2))[1]
    heart.poll_ended("studio", None)
    assert "status=up" in (await switch.heard(3))[2]


async def test_a_call_that_is_not_taken_is_tried_again_a_few_times_and_logged_once(
    switch: Switch, beating, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    switch.answer = Reply(500)
    heart = beating(interval=0.5)
    heart.poll_ended("studio", None)
    await switch.heard(ATTEMPTS)
    await asyncio.sleep(0.7)
    assert len(switch.requests) == ATTEMPTS
    heart.poll_ended("studio", None)
    await switch.heard(ATTEMPTS + 1)
    switch.answer = Reply(200)
    await switch.heard(ATTEMPTS + 2)
    await until(lambda: "taken again" in caplog.text)
    assert [record.message for record in caplog.records if record.name == "monitor.daemon.heartbeat"] == [
        f"heartbeat: its server answered 500 ({urlsplit(switch.url).netloc})",
        "heartbeat: taken again",
    ]
    assert CANARY not in caplog.text


async def test_a_server_that_hangs_holds_up_neither_polls_nor_the_stop(switch: Switch, beating) -> None:
    switch.answer = hang
    heart = beating()
    began = time.monotonic()
    for _ in range(1000):
        heart.poll_ended("studio", None)
    assert time.monotonic() - began < DEADLINE / 2
    await switch.heard(1)
    await heart.stop()
    assert time.monotonic() - began < DEADLINE
    assert len(switch.requests) == 1


async def test_another_address_is_told_what_was_known_and_the_old_one_nothing_more(switch: Switch, beating) -> None:
    heart = beating(interval=3600)
    heart.poll_ended("studio", "nothing could be fetched")
    await switch.heard(1)
    heart.poll_ended("studio", "nothing could be fetched")  # waits for its minute
    await heart.call_instead(f"{switch.url}/new")
    assert (await switch.heard(2))[1] == f"/{CANARY}/new/fail"
    heart.interval = 0.05
    heart.poll_ended("lab", None)
    assert (await switch.heard(3))[2] == f"/{CANARY}/new/fail"
    heart.keep(["lab"])
    heart.poll_ended("lab", None)
    assert (await switch.heard(4))[3] == f"/{CANARY}/new"


async def test_an_address_that_was_taken_away_is_called_no_more(switch: Switch, beating) -> None:
    switch.answer = Reply(500)
    heart = beating(interval=0.1)
    heart.poll_ended("studio", None)
    await switch.heard(1)
    await heart.call_instead(None)
    heart.poll_ended("studio", None)
    await asyncio.sleep(0.3)
    assert len(switch.requests) == 1


async def test_without_an_address_nobody_is_called() -> None:
    heart = Heartbeat(None)
    heart.poll_ended("studio", None)
    assert len(asyncio.all_tasks()) == 1
    await heart.stop()


def test_the_address_is_in_no_representation() -> None:
    assert CANARY not in repr(Heartbeat(f"https://hc-ping.com/{CANARY}"))

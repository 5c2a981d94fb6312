"""Who may ask what over HTTP, and how every answer looks."""

import asyncio
import logging
import random
import socket
import time

import pytest
from visitor import Site, parsed, settings_of
from wait import STOP

from monitor.config import Address, Web
from monitor.errors import ListenError
from monitor.web import guard, serving
from monitor.web.guard import is_ours

LOOPBACK = Web(Address("127.0.0.1", 9464))
EVERYWHERE = Web(Address("0.0.0.0", 9464), hosts=("monitor.example.org",))
PATHS = ("/healthz", "/readyz", "/metrics", "/", "/nothing", "/healthz/")


@pytest.mark.parametrize(
    ("host", "web", "ours"),
    [
        ("127.0.0.1:9464", LOOPBACK, True),
        ("127.8.9.10", LOOPBACK, True),
        ("localhost:9464", LOOPBACK, True),
        ("LOCALHOST.", LOOPBACK, True),
        ("[::1]:9464", LOOPBACK, True),
        ("[::1]", LOOPBACK, True),
        ("", LOOPBACK, False),
        ("evil.example", LOOPBACK, False),
        ("localhost.evil.example", LOOPBACK, False),
        ("127.0.0.1.evil.example:9464", LOOPBACK, False),
        ("10.1.2.3", LOOPBACK, False),
        ("10.1.2.3:9464", EVERYWHERE, True),
        ("[2001:db8::1]:9464", EVERYWHERE, True),
        ("monitor.example.org:9464", EVERYWHERE, True),
        ("Monitor.Example.org", EVERYWHERE, True),
        ("other.example.org", EVERYWHERE, False),
        ("monitor", Web(Address("monitor", 9464)), True),
        ("monitor:80:80", Web(Address("monitor", 9464)), False),
        ("::", LOOPBACK, False),
    ],
)
def test_only_our_own_names_and_addresses_are_answered_to(host: str, web: Web, ours: bool) -> None:
    assert is_ours(host, web) is ours


async def test_a_page_of_a_stranger_that_points_a_browser_here_reads_nothing(site: Site) -> None:
    for path in PATHS:
        answer = await site.ask(path, Host="rebound.evil.example")
        assert answer.status == 421
        assert "credit" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
async def test_no_method_but_get_and_head_is_known(site: Site, method: str) -> None:
    for path in PATHS:
        answer = await site.ask(path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_head_tells_what_get_does_without_a_body(site: Site) -> None:
    for path in ("/healthz", "/metrics"):
        got, asked = await site.ask(path), await site.ask(path, "HEAD")
        assert (asked.status, asked.body) == (200, "")
        assert asked.headers["content-length"] == str(len(got.body.encode()))


@pytest.mark.parametrize("header", [{"Content_Length": "5"}, {"Transfer_Encoding": "chunked"}])
async def test_a_request_with_a_body_is_refused(site: Site, header: dict[str, str]) -> None:
    assert (await site.ask("/healthz", **header)).status == 413
    assert (await site.ask("/healthz", Content_Length="0")).status == 200


async def test_every_answer_is_strict_and_names_no_server(site: Site) -> None:
    answers = [await site.ask(path, method) for path in PATHS for method in ("GET", "POST")]
    answers.append(await site.ask("/healthz", Host="evil.example"))
    answers.append(parsed(await site.send(b"no HTTP at all\r\n\r\n")))
    for answer in answers:
        is_page = answer.headers["content-type"].startswith("text/html")
        for name, value in guard.STRICT.items():
            kept = "private, no-cache" if is_page and name == "Cache-Control" else value
            assert answer.headers[name.lower()] == kept
        assert "server" not in answer.headers
        assert is_page or answer.headers["content-type"].startswith("text/plain")
    assert answers[-1].status == 400
    assert answers[0].headers["date"].endswith(" GMT")


async def test_heads_that_are_too_long_and_requests_that_are_none_are_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    host = b"Host: localhost\r\n"
    for head in (
        b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 20_000,
        b"GET /" + b"a" * 20_000,
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + host * 2 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n" + host + b"\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    ):
        assert parsed(await site.send(head)).status == 400
    assert not caplog.records


async def test_what_follows_the_first_request_of_a_connection_is_not_answered(site: Site) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: localhost:{site.port}\r\n\r\n".encode()
    for rest in (request, b"garbage", b"\r\n\r\n\r\n", request[:20]):
        assert (await site.send(request + rest)).count(b"HTTP/1.1") == 1


async def test_an_upgrade_is_an_ordinary_request(site: Site) -> None:
    asked = await site.ask("/healthz", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13")
    assert (asked.status, asked.body) == (200, "ok\n")


async def test_a_fault_of_ours_is_told_without_its_trace(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("canary-of-the-trace")

    monkeypatch.setattr("monitor.web.pages.render", broken)
    answer = await site.ask("/metrics")
    assert answer.status == 500
    assert not {"Traceback", "RuntimeError", "canary"} & set(answer.body.replace("-", " ").split())
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "/metrics could not be answered")
    ]
    assert (await site.ask("/healthz")).status == 200


# --- addresses --------------------------------------------------------------------------------------------------------


async def test_a_port_in_use_is_an_error_of_one_line(site: Site) -> None:
    with pytest.raises(ListenError) as error:
        async with serving(site.settings, site.counters, clock=lambda: site.now):
            raise AssertionError("it must not come to this")
    assert str(error.value) == f"web.listen: 127.0.0.1:{site.port}: address already in use"
    assert error.value.exit_code == 75


@pytest.mark.parametrize(
    ("host", "problem"),
    [("192.0.2.1", "cannot assign requested address"), ("no-such-host.invalid", "there is no such host")],
)
async def test_an_address_that_is_not_ours_is_an_error_of_one_line(site: Site, host: str, problem: str) -> None:
    elsewhere = site.settings.model_copy(update={"web": Web(Address(host, site.port))})
    with pytest.raises(ListenError, match=problem):
        async with serving(elsewhere, site.counters, clock=lambda: site.now):
            pass


async def test_the_port_is_free_again_afterwards_whoever_is_connected(tmp_path, sqlite_url) -> None:
    site = Site(settings_of(tmp_path, sqlite_url))
    for _ in range(2):
        async with site.serve():
            _, idle = await asyncio.open_connection("127.0.0.1", site.port)
            assert (await site.ask("/healthz")).status == 200
            began = time.monotonic()
        assert time.monotonic() - began < STOP
        idle.close()


async def test_ipv6_is_listened_on_where_it_is_said(tmp_path, sqlite_url) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    site = Site(settings_of(tmp_path, sqlite_url))
    site.settings = site.settings.model_copy(update={"web": Web(Address("::1", site.port))})
    async with site.serve():
        reader, writer = await asyncio.open_connection("::1", site.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_nothing_is_served_and_nothing_loaded_where_it_is_off(tmp_path, sqlite_url) -> None:
    site = Site(settings_of(tmp_path, sqlite_url))
    port, site.settings = site.port, site.settings.model_copy(update={"web": None})
    async with site.serve():
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_no_bytes_whatever_bring_it_down_or_get_more_than_a_line(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.web.server.HEAD_TIMEOUT", 0.1)  # some of it is no whole request
    dice = random.Random(5)  # the same ones every time
    whole = (
        f"GET /metrics?a=%00 HTTP/1.1\r\nHost: localhost\r\nAccept: {'*/*,' * 20}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    for _ in range(200):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(broken))
            broken[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
        answer = await site.send(bytes(broken) + b"\r\n\r\n")
        assert not answer or answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4")), answer
        assert b"Traceback" not in answer
    assert (await site.ask("/healthz")).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

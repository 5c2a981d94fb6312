"""The libraries stay inside: their errors are mapped, the environment is not read, nothing is remembered."""

import asyncio
import errno
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from canary import KEY, Open, assert_no_key

from monitor.errors import ConfigError, FetchError, ProviderUnavailable
from monitor.model import Generation
from monitor.providers import Access
from monitor.providers.http import HTTPX, explain
from monitor.providers.redaction import redact, sanitize
from monitor.sandbox import Fault, Reply, Request, Vendor
from monitor.sandbox.loopback import Loopback

CERTIFICATE = Path(__file__).with_name("worthless.pem")


def tree(*roots: type[Exception]) -> Iterator[type[Exception]]:
    for root in roots:
        yield root
        yield from tree(*root.__subclasses__())


LIBRARY_ERRORS: set[type[Exception]] = {
    error for error in vars(httpx).values() if isinstance(error, type) and issubclass(error, Exception)
}
BY_NAME = sorted(LIBRARY_ERRORS | set(tree(aiohttp.ClientError)), key=lambda kind: kind.__name__)


def test_a_process_without_descriptors_says_so() -> None:
    error = httpx.ConnectError("no")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert "too many open files" in str(explain(error, where="vendor.example"))


def test_every_error_that_httpx_has_is_mapped() -> None:
    assert set(HTTPX) >= {kind for kind in tree(*LIBRARY_ERRORS) if kind.__module__.partition(".")[0] == "httpx"}


@pytest.mark.parametrize("kind", BY_NAME)
def test_every_library_error_becomes_a_sentence_without_the_key(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    error.args = (f"went wrong with {KEY}",)
    explained = explain(error, where="vendor.example")
    assert isinstance(explained, FetchError)
    assert KEY not in str(explained)
    assert explained.__context__ is explained.__cause__ is None


@pytest.mark.parametrize(
    "error",
    [OSError(KEY), ValueError(KEY), UnicodeEncodeError("ascii", KEY, 0, 1, "no"), RuntimeError(KEY), KeyError(KEY)],
)
def test_even_an_unforeseen_error_is_one_of_ours(error: Exception) -> None:
    assert KEY not in str(explain(error, where="vendor.example"))


async def test_a_refused_connection_says_so(open_: Open, vendor: Vendor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    provider = open_(seconds=1)
    await vendor.stop()
    with pytest.raises(ProviderUnavailable, match="refused") as caught:
        await provider.fetch_balance(None)
    assert_no_key(caught.value, caplog)


@asynccontextmanager
async def secure_vendor() -> AsyncIterator[str]:
    """The URL of a server with TLS whose balance is 3."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(Reply(body=b'{"credits": 3}').encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield url


async def test_a_certificate_nobody_vouches_for_is_refused_and_a_ca_file_helps(open_: Open) -> None:
    async with secure_vendor() as url:
        with pytest.raises(ProviderUnavailable, match="certificate is not trusted"):
            await open_(base_url=url, seconds=1).fetch_balance(None)
        assert await open_(base_url=url, ca_file=CERTIFICATE).fetch_balance(None) == 3


async def test_a_proxy_is_used_when_configured_and_its_password_kept(
    open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Reply:
        seen.append(request)
        return Reply(body=b'{"credits": 4}')

    proxy = Loopback(answer)
    await proxy.start()
    provider = open_(base_url="http://vendor.invalid", proxy=f"http://me:canary-pw@127.0.0.1:{proxy.port}", seconds=1)
    assert await provider.fetch_balance(None) == 4
    assert seen[0].path == "http://vendor.invalid/v1/user/balance"
    assert seen[0].headers["proxy-authorization"].startswith("Basic ")
    await proxy.stop()
    with pytest.raises(ProviderUnavailable, match="proxy") as caught:
        await provider.fetch_balance(None)
    assert_no_key(caught.value, caplog)


async def test_a_secure_connection_goes_through_a_tunnel_of_the_proxy(open_: Open) -> None:
    asked: list[bytes] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        port = int(asked[-1].split(b" ")[1].rpartition(b":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    async with secure_vendor() as url, await asyncio.start_server(tunnel, "127.0.0.1", 0) as server:
        proxy = f"http://me:pw@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider = open_(base_url=url, proxy=proxy, ca_file=CERTIFICATE)
        assert await provider.fetch_balance(None) == 3
        await provider.aclose()
    assert b"proxy-authorization: basic" in asked[0].lower()
    assert KEY.encode() not in asked[0]


async def test_the_environment_is_not_read(
    vendor: Vendor, open_: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await open_().fetch_balance("org-2")
    assert vendor.requests[-1].headers["authorization"] == f"Bearer {KEY}"


async def test_cookies_are_not_kept(vendor: Vendor, open_: Open) -> None:
    provider = open_()
    vendor.fault = Reply(200, b'{"credits": 1}', {"Set-Cookie": "session=1; Path=/"})
    for _ in range(2):
        await provider.fetch_balance(None)
    assert "cookie" not in vendor.requests[-1].headers


async def test_connections_are_kept_open(vendor: Vendor, open_: Open) -> None:
    provider = open_()
    for _ in range(5):
        await provider.fetch_balance(None)
    assert len(vendor._loopback._connections) == 1


async def test_a_broken_connection_is_not_tried_again_behind_the_limiters_back(
    vendor: Vendor, open_: Open, turns: list[float]
) -> None:
    provider = open_(seconds=1)
    await provider.fetch_balance(None)
    vendor.fault = Fault.RESET
    with pytest.raises(ProviderUnavailable, match="closed the connection"):
        await provider.fetch_balance(None)
    assert 2 <= len(vendor.requests) <= len(turns)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"base_url": "api.stability.ai"}, "base_url"),
        ({"base_url": "ftp://api.stability.ai"}, "base_url"),
        ({"base_url": "https://me:canary@api.stability.ai"}, "base_url"),
        ({"base_url": "https://api.stability.ai?x=1"}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"base_url": "http://x:99999999"}, "base_url"),
        ({"proxy": "socks5://me:canary@x"}, "proxy"),
        ({"proxy": "canary"}, "proxy"),
        ({"ca_file": Path("/nowhere/ca.pem")}, "ca_file"),
        ({"ca_file": Path(__file__)}, "ca_file"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "sk-canary\r\nX: y"}, "api_key"),
        ({"api_key": "sk-canary ö"}, "api_key"),
    ],
)
async def test_settings_that_cannot_work_are_named_and_not_shown(
    open_: Open, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_(**changes)
    assert [mistake.key for mistake in caught.value.mistakes] == [key]
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_nothing_that_holds_a_key_shows_it(open_: Open) -> None:
    access = Access("http://x", KEY, Generation.V1, None, timedelta(seconds=1), proxy="http://me:canary@x")
    assert "canary" not in f"{access!r}{open_()!r}".lower()


@pytest.mark.parametrize(
    "text",
    [
        f"provided: {KEY}.",
        f"x{KEY}y",
        KEY.lower(),
        KEY[:12],
        f"tail {KEY[-20:]}",
        f"%20{KEY}",
        "sk-CANARY***canary",
        f"Bearer%20{KEY}",
        f"{KEY[:10]} {KEY[10:]}",
    ],
)
def test_no_form_of_the_key_survives_redaction(text: str) -> None:
    assert "canary" not in redact(text, KEY).lower()


def test_any_secret_is_redacted_in_its_encoded_form_too() -> None:
    assert redact("http://me:p%40ss%2Fword@x and p@ss/word", "p@ss/word") == "http://me:[redacted]@x and [redacted]"


def test_redaction_leaves_other_words_alone() -> None:
    assert redact("the task-force asked desk-top users", KEY, "") == "the task-force asked desk-top users"


def test_a_quoted_text_is_one_short_printable_line() -> None:
    assert sanitize("a\r\n\tb\x00\x1b[31m\u202ec") == "a b[31mc"
    assert len(sanitize("x" * 10_000)) == 200

"""HTTP for one account: requests with a size limit, and the libraries' errors as `FetchError`.

No redirects, no cookies, no proxy from the environment, and no answer in memory beyond its limit.
"""

import asyncio
import base64
import errno
import logging
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import stamina.instrumentation
from httpx_aiohttp import AiohttpTransport

from monitor.errors import ConfigError, FetchError, Mistake, ProviderUnavailable, UnexpectedAnswer
from monitor.providers.base import Access
from monitor.text.redaction import remember

IN_FLIGHT = 64
_LAST_PORT = 65_535
_GZIP_OR_ZLIB = 47  # zlib's window size for "detect which of the two it is"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `defect` says why there is no usable body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: no secret of it is ever shown."""

    method: str
    url: httpx.URL = field(repr=False)
    headers: httpx.Headers = field(repr=False)
    content: bytes = field(default=b"", repr=False)


class HttpClient:
    """The connection pool of one account."""

    def __init__(self, access: Access) -> None:
        url = _base_url(access.base_url)
        self.base_url = str(url).rstrip("/")
        self.host = host_of(url)
        proxy = _proxy(access.proxy)
        # A CONNECT request has the proxy's own headers; a request without TLS must carry them itself.
        self._for_proxy = proxy.headers if proxy and self.base_url.startswith("http:") else None
        self._client = open_client(access.ca_file, proxy)
        self.date = ""  # header of the last answer

    async def send(self, request: Request, *, max_bytes: int) -> Answer | FetchError:
        """Send one request; return its answer, or the error, so that no library's exception becomes its context."""
        try:
            sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.content or None)
            if self._for_proxy:
                sent.headers.update(self._for_proxy)
            response = await self._client.send(sent, stream=True, auth=None, follow_redirects=False)
            self.date = response.headers.get("date", "")
            try:
                body = await _read(response, max_bytes=max_bytes)
            finally:
                await response.aclose()
        except Exception as error:  # noqa: BLE001 -- the libraries raise anything over malformed bytes
            return explain(error, where=self.host)
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if body is None:
            return Answer(response.status_code, response.headers, b"", f"the answer is longer than {max_bytes} bytes")
        if coding in {"identity", ""}:
            return Answer(response.status_code, response.headers, body)
        return _decompress(response, body, coding=coding, max_bytes=max_bytes)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def open_client(ca_file: Path | None = None, proxy: httpx.Proxy | None = None) -> httpx.AsyncClient:
    """Return an httpx client without cookies, environment or time-outs: callers set a deadline themselves."""
    context = _tls_context(ca_file, _version(ca_file))
    _silence_libraries()
    transport = AiohttpTransport(verify=context, proxy=proxy, client=lambda: _session(context))
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(transport=transport, cookies=no_cookies, timeout=None, trust_env=False)  # noqa: S113 -- callers set a deadline


def host_of(url: httpx.URL) -> str:
    """Return the host of an address, with its port where that is not the usual one: all that an error tells of it."""
    return f"{url.host}:{url.port}" if url.port else url.host


async def _read(response: httpx.Response, *, max_bytes: int) -> bytes | None:
    """Return the body as sent, or None when it is longer than allowed."""
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            return None
    return body


def _decompress(response: httpx.Response, body: bytes, *, coding: str, max_bytes: int) -> Answer:
    """Return the answer of a server that compresses although it was asked not to."""
    plain, defect = b"", None
    if coding in {"gzip", "x-gzip", "deflate"}:
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            plain = unpacker.decompress(body, max_bytes + 1)
        except zlib.error:
            defect = "the answer is compressed and damaged"
        if len(plain) > max_bytes:
            plain, defect = b"", f"the answer is longer than {max_bytes} bytes"
        elif not unpacker.eof:
            plain, defect = b"", "the answer is compressed and damaged"
    else:
        defect = "the answer has an encoding that was not asked for"
    return Answer(response.status_code, response.headers, plain, defect)


def _session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_send_once,))


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from retrying a broken connection by itself: retries belong to the check, which counts them."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise aiohttp.ClientConnectionError from error


def _version(file: Path | None) -> tuple[int, int] | None:
    """Return what changes when a file is replaced or rewritten."""
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino) if status else None


@lru_cache(maxsize=32)
def _tls_context(ca_file: Path | None, _version: tuple[int, int] | None) -> ssl.SSLContext:
    """Return the TLS context shared by all accounts with the same roots: each costs 48 ms and 0.8 MiB."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        if not ca_file.exists() or ca_file.is_file():  # a pipe without a writer would never answer
            return ssl.create_default_context(cafile=ca_file)
        problem = f"{ca_file}: is no regular file"
    except (OSError, ValueError) as error:
        problem = f"cannot be read as a file of PEM certificates: {ca_file} ({type(error).__name__})"
    raise ConfigError([Mistake("ca_file", problem)])


def _base_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.rstrip("/"))
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    usable = url.scheme in {"http", "https"} and url.host and (url.port or 0) <= _LAST_PORT
    if usable and not (url.userinfo or url.query or url.fragment):
        return url
    problem = "expected an address like https://api.stability.ai, without user, query or fragment"
    raise ConfigError([Mistake("base_url", problem)])


def _proxy(text: str | None) -> httpx.Proxy | None:
    if text is None:
        return None
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL()
    if url.scheme in {"http", "https"} and url.host:
        remember(text)
        headers = {"Proxy-Authorization": f"Basic {_login(url)}"} if url.userinfo else None
        return httpx.Proxy(url.copy_with(username=None, password=None), headers=headers)
    raise ConfigError([Mistake("proxy", "expected an address like http://proxy.example.org:3128")])


def _login(url: httpx.URL) -> str:
    return base64.b64encode(f"{url.username}:{url.password}".encode()).decode()


@cache
def _silence_libraries() -> None:
    """Turn off the libraries' log lines per request and retry, and stamina's metrics: failures are recorded here."""
    for name in ("httpx", "aiohttp", "aiohttp.client"):
        logging.getLogger(name).setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks([])


# --- errors -----------------------------------------------------------------------------------------------------------


_NO_CONNECTION = (ProviderUnavailable, "could not connect to the vendor")
_TOO_SLOW = (ProviderUnavailable, "the vendor did not answer in time")
_CUT_OFF = (ProviderUnavailable, "the connection to the vendor broke")
_NOT_HTTP = (ProviderUnavailable, "what answered does not speak HTTP")
_NO_PROXY = (ProviderUnavailable, "the proxy could not be used")
_BAD_REQUEST = (UnexpectedAnswer, "the request could not be made from these settings")
_BAD_ANSWER = (UnexpectedAnswer, "the answer could not be read")
_REDIRECTED = (UnexpectedAnswer, "the vendor redirects elsewhere, which is not followed")

HTTPX: Mapping[type[Exception], tuple[type[FetchError], str]] = {
    httpx.HTTPError: _CUT_OFF,
    httpx.RequestError: _CUT_OFF,
    httpx.TransportError: _CUT_OFF,
    httpx.TimeoutException: _TOO_SLOW,
    httpx.ConnectTimeout: _NO_CONNECTION,
    httpx.ReadTimeout: _TOO_SLOW,
    httpx.WriteTimeout: _TOO_SLOW,
    httpx.PoolTimeout: _TOO_SLOW,
    httpx.NetworkError: _CUT_OFF,
    httpx.ConnectError: _NO_CONNECTION,
    httpx.ReadError: _CUT_OFF,
    httpx.WriteError: _CUT_OFF,
    httpx.CloseError: _CUT_OFF,
    httpx.ProtocolError: _NOT_HTTP,
    httpx.LocalProtocolError: _BAD_REQUEST,
    httpx.RemoteProtocolError: _NOT_HTTP,
    httpx.ProxyError: _NO_PROXY,
    httpx.UnsupportedProtocol: _BAD_REQUEST,
    httpx.DecodingError: _BAD_ANSWER,
    httpx.TooManyRedirects: _REDIRECTED,
    httpx.HTTPStatusError: _BAD_ANSWER,
    httpx.InvalidURL: _BAD_REQUEST,
    httpx.CookieConflict: _BAD_ANSWER,
    httpx.StreamError: _CUT_OFF,
    httpx.StreamConsumed: _CUT_OFF,
    httpx.StreamClosed: _CUT_OFF,
    httpx.ResponseNotRead: _CUT_OFF,
    httpx.RequestNotRead: _CUT_OFF,
}
# The transport reports a refusal, a reset and an unknown host alike; the cause tells them apart.
_ROOT_CAUSES: tuple[tuple[type[Exception], tuple[type[FetchError], str]], ...] = (
    (aiohttp.ClientProxyConnectionError, _NO_PROXY),
    (aiohttp.ClientHttpProxyError, _NO_PROXY),
    (ssl.SSLCertVerificationError, (ProviderUnavailable, "the vendor's certificate is not trusted")),
    (ssl.SSLError, (ProviderUnavailable, "no secure connection to the vendor could be made")),
    (socket.gaierror, (ProviderUnavailable, "the vendor's host name could not be resolved")),
    (ConnectionRefusedError, (ProviderUnavailable, "the connection to the vendor was refused")),
    (ConnectionResetError, (ProviderUnavailable, "the connection to the vendor was reset")),
    (aiohttp.ServerDisconnectedError, (ProviderUnavailable, "the vendor closed the connection without an answer")),
    (aiohttp.ClientPayloadError, (ProviderUnavailable, "the vendor's answer ended too early")),
    (aiohttp.ClientResponseError, _NOT_HTTP),
)
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


def explain(error: Exception, *, where: str) -> FetchError:
    """Return the `FetchError` for an exception of a library, without a reference to it; it names the host asked."""
    chain = tuple(_chain(error))
    if any(isinstance(link, OSError) and link.errno in _NO_DESCRIPTORS for link in chain):
        return ProviderUnavailable("this process has too many open files to connect to the vendor (LimitNOFILE)")
    for root_cause, (kind, sentence) in _ROOT_CAUSES:
        if any(isinstance(link, root_cause) for link in chain):
            return kind(f"{sentence} ({where})")
    for ancestor in type(error).__mro__:
        if ancestor in HTTPX:
            kind, sentence = HTTPX[ancestor]
            return kind(f"{sentence} ({where})")
    return ProviderUnavailable(f"the request to the vendor failed ({where}, {type(error).__name__})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


# --- heartbeat --------------------------------------------------------------------------------------------------------


DEADLINE: Final = 10.0  # seconds
USER_AGENT: Final = "credit-monitor"


async def ping(url: str) -> str | None:
    """Send one GET, with the login of the URL as Basic; return None when it was accepted, else what went wrong."""
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(DEADLINE), open_client() as client:
            address = httpx.URL(url)
            if address.userinfo:
                headers["Authorization"] = f"Basic {_login(address)}"
            request = httpx.Request("GET", address.copy_with(username=None, password=None), headers=headers)
            response = await client.send(request, stream=True, auth=None, follow_redirects=False)
            await response.aclose()
    except TimeoutError:
        return f"no answer within {DEADLINE:.0f} s ({_shown_host(url)})"
    except Exception as error:  # noqa: BLE001 -- the libraries raise anything over malformed bytes
        return str(explain(error, where=_shown_host(url))).replace("the vendor", "its server")
    where = _shown_host(url)
    if response.is_redirect:
        return f"its server redirects elsewhere, which is not followed ({where})"
    return None if response.is_success else f"its server answered {response.status_code} ({where})"


def _shown_host(url: str) -> str:
    """Return the host of the heartbeat's URL, whose path is a secret."""
    try:
        return host_of(httpx.URL(url))
    except (httpx.InvalidURL, UnicodeError):
        return "no host"

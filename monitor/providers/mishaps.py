"""Turns what httpx and aiohttp raise into errors of ours, each a sentence for people.

Refuses to quote a library: its texts name addresses, proxies and headers.
"""

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping

import aiohttp
import httpx

from monitor.errors import FetchError, ProviderUnavailable, UnexpectedAnswer

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
# The transport reports a refusal, a reset and an unknown host alike; what lies beneath tells them apart.
_BENEATH: tuple[tuple[type[Exception], tuple[type[FetchError], str]], ...] = (
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


def explain(error: Exception) -> FetchError:
    """The error of ours for anything a library raised, without a reference to it."""
    chain = tuple(_chain(error))
    if any(isinstance(link, OSError) and link.errno in _NO_DESCRIPTORS for link in chain):
        return ProviderUnavailable("this process has too many open files to connect to the vendor (LimitNOFILE)")
    for beneath, (kind, sentence) in _BENEATH:
        if any(isinstance(link, beneath) for link in chain):
            return kind(sentence)
    for ancestor in type(error).__mro__:
        if ancestor in HTTPX:
            kind, sentence = HTTPX[ancestor]
            return kind(sentence)
    return ProviderUnavailable(f"the request to the vendor failed ({type(error).__name__})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

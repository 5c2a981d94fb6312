"""The HTTP requests of a child: every answer is seen, bounded and judged before the plug-in gets it.

What an answer means is taken from the answer itself, never from what a plug-in logs about it.
"""

import re
import socket
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
import urllib3
from requests.exceptions import ChunkedEncodingError, ConnectTimeout, ProxyError, ReadTimeout, SSLError

from monitor.channels.outcomes import Outcome
from monitor.channels.receivers import UNLISTED, Receiver, parse

MAX_BODY: Final = 64 * 1024  # bytes of an answer
CHUNK: Final = 16 * 1024
MAX_PAUSE: Final = 86_400.0  # seconds; a longer one is no pause that somebody meant

PERMANENT: Final = frozenset({401, 403, 404, 410})
TOO_MANY, UNAVAILABLE, BAD, TOO_LARGE = 429, 503, 400, 413
LEAST_REDIRECT, LEAST_REFUSAL, LEAST_FAULT = 300, 400, 500
SIZE_WORDS: Final = re.compile(rb"too[ _]?(?:long|large|big|many)|length|exceed|maximum|\bmax|limit", re.IGNORECASE)

UNANSWERED: Final = "no answer after the message was sent"  # which may have arrived
NO_ANSWER: Final = "no answer"
NO_TLS: Final = "no secure connection: TLS or the certificate was not accepted"
NO_HOST: Final = "its host name was not found"
REFUSED: Final = "connection refused"
CLOSED: Final = "connection closed by the service"

SEND: Final = requests.Session.send


class Observer:
    """What looks at requests: whose they are, and who is told of each outcome."""

    receiver: Receiver = UNLISTED
    joined: bool = False  # the message is about several things, and may be taken apart
    note: Callable[[Outcome], None] = staticmethod(lambda _: None)


def install() -> None:
    """See to every request of this process from now on."""
    requests.Session.send = _send  # type: ignore[method-assign,assignment]


def _send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
    request.headers["Accept-Encoding"] = "identity"
    options["stream"] = True
    try:
        response = SEND(session, request, **options)
        _bound(response)
    except requests.RequestException as error:
        Observer.note(of_exception(error))
        raise
    outcome = judge(response, Observer.receiver, joined=Observer.joined)
    Observer.note(outcome)
    if response.status_code == TOO_MANY:
        response.status_code = UNAVAILABLE  # at a 429 some plug-ins sleep and send again, by themselves
    elif outcome.error and response.ok:
        response.status_code = BAD  # the plug-in would take it for a yes
    return response


# --- reading ----------------------------------------------------------------------------------------------------------


def _bound(response: requests.Response) -> None:
    """Read so much of an answer as there may be; the rest never reaches this process."""
    try:
        body = _inflate(_read(response.raw), response.headers.get("Content-Encoding", ""))
    except urllib3.exceptions.ReadTimeoutError as error:
        raise ReadTimeout(error) from None
    except urllib3.exceptions.SSLError as error:
        raise SSLError(error) from None
    except urllib3.exceptions.HTTPError as error:
        raise ChunkedEncodingError(error) from None
    finally:
        response.raw.close()
    response._content = body  # noqa: SLF001 -- as reading it would have left it
    response._content_consumed = True  # noqa: SLF001


def _read(raw: Any) -> bytes:
    body = b""
    while len(body) < MAX_BODY and (chunk := raw.read(CHUNK, decode_content=False)):
        body += chunk
    return body[:MAX_BODY]


def _inflate(body: bytes, encoding: str) -> bytes:
    """What comes compressed was not asked for; it is read as far as it goes."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY)
    except zlib.error:
        return body


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(response: requests.Response, receiver: Receiver, *, joined: bool = False) -> Outcome:
    """Return what an answer says."""
    status, body = response.status_code, response.content
    if status < LEAST_REDIRECT:
        no = receiver.refusal(body)
        if no is None:
            return Outcome()
        return Outcome(f"refused, inside an answer of HTTP {status} ({no.what})", not no.for_good)
    if status < LEAST_REFUSAL:
        return Outcome(f"redirected (HTTP {status}), which is not followed")
    verb = "failed" if status >= LEAST_FAULT else "refused"
    return Outcome(
        f"{verb} with HTTP {status}",
        retryable=status not in PERMANENT,
        retry_after=_retry_after(response) if status in (TOO_MANY, UNAVAILABLE) else None,
        too_long=status == TOO_LARGE or (status == BAD and (joined or bool(SIZE_WORDS.search(body)))),
    )


def _retry_after(response: requests.Response) -> float | None:
    """Return the pause that an answer asks for, in seconds."""
    pauses = [_pause(response.headers.get("Retry-After")), *_pauses_inside(parse(response.content))]
    asked = [pause for pause in pauses if pause is not None and 0 < pause <= MAX_PAUSE]
    return max(asked, default=None)


def _pause(header: str | None) -> float | None:
    if not header:
        return None
    try:
        return float(header)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _pauses_inside(content: Any) -> Iterator[float | None]:
    for part in (content, content.get("parameters"), content.get("error")) if isinstance(content, dict) else ():
        if isinstance(part, dict):
            yield _number(part.get("retry_after"))
            yield _number(part.get("retryAfterSeconds"))
            milliseconds = _number(part.get("retry_after_ms"))
            yield milliseconds and milliseconds / 1000


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


# --- failures of the network ------------------------------------------------------------------------------------------


def of_exception(error: requests.RequestException) -> Outcome:
    """Return why there was no answer."""
    causes = list(_causes(error))
    if isinstance(error, SSLError) or _any(causes, urllib3.exceptions.SSLError):
        return Outcome(NO_TLS)
    if _any(causes, urllib3.exceptions.NameResolutionError, socket.gaierror):
        return Outcome(NO_HOST)
    if _any(causes, ConnectionRefusedError):  # before the next: urllib3 takes it for one of those
        return Outcome(REFUSED)
    if isinstance(error, ConnectTimeout) or _any(causes, urllib3.exceptions.ConnectTimeoutError):
        return Outcome(NO_ANSWER)
    if isinstance(error, ReadTimeout) or _any(causes, urllib3.exceptions.ReadTimeoutError):
        return Outcome(UNANSWERED, unknown=True)
    if isinstance(error, ProxyError):
        return Outcome("the proxy lets nothing through")
    if _any(causes, ConnectionError, urllib3.exceptions.ProtocolError):
        return Outcome(CLOSED)
    if _any(causes, TimeoutError):
        return Outcome(NO_ANSWER)
    return Outcome("connection error")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Everything that an exception was raised for, however a library hands that on."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        further = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        waiting += [one for one in further if isinstance(one, BaseException)]


def _any(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)

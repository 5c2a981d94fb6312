"""The faults of the simulated vendor: statuses, bodies and misbehaving connections, each by name."""

import asyncio
import gzip
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from monitor.model import Generation
from monitor.sandbox.loopback import HTML, JSON, TEXT, Misbehaviour, Reply


class Fault(StrEnum):
    """One fault of the vendor, of what stands in between, or of the connection."""

    # statuses with the vendor's JSON
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    PAYMENT_REQUIRED = "payment_required"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_LONG = "rate_limited_long"
    SERVER_ERROR = "server_error"
    TEAPOT = "teapot"
    # of proxies and gateways
    FORBIDDEN_PAGE = "forbidden_page"
    NOT_FOUND_PAGE = "not_found_page"
    BAD_GATEWAY = "bad_gateway"
    UPSTREAM_TEXT = "upstream_text"
    PAGE_200 = "page_200"
    NO_CONTENT = "no_content"
    REDIRECT = "redirect"
    # bodies with status 200
    NULL = "null"
    MISSING = "missing"
    STRING = "string"
    BOOL = "bool"
    NAN = "nan"
    INFINITY = "infinity"
    OVERFLOW = "overflow"
    LARGE = "large"
    ENDLESS_EXPONENT = "endless_exponent"
    LONG_INTEGER = "long_integer"
    NEGATIVE = "negative"
    LIST = "list"
    BARE_NUMBER = "bare_number"
    DEEP = "deep"
    DUPLICATE = "duplicate"
    BAD_ENCODING = "bad_encoding"
    EMPTY = "empty"
    CUT_JSON = "cut_json"
    GZIP = "gzip"
    GZIP_BOMB = "gzip_bomb"
    BROKEN_GZIP = "broken_gzip"
    UNKNOWN_ENCODING = "unknown_encoding"
    # connections
    TRUNCATED = "truncated"
    RESET = "reset"
    HANG = "hang"
    DRIP = "drip"
    ENDLESS = "endless"
    GARBAGE = "garbage"
    HUGE_HEADER = "huge_header"


BODIES: Mapping[Fault, bytes] = {
    Fault.NULL: b'{"credits": null}',
    Fault.MISSING: b'{"balance": 12.5}',
    Fault.STRING: b'{"credits": "12.5"}',
    Fault.BOOL: b'{"credits": true}',
    Fault.NAN: b'{"credits": NaN}',
    Fault.INFINITY: b'{"credits": Infinity}',
    Fault.OVERFLOW: b'{"credits": 1e400}',
    Fault.LARGE: b'{"credits": 1e308}',
    Fault.ENDLESS_EXPONENT: b'{"credits": 1e99999999999999999999999}',
    Fault.LONG_INTEGER: b'{"credits": ' + b"9" * 5000 + b"}",
    Fault.NEGATIVE: b'{"credits": -3.25}',
    Fault.LIST: b'[{"credits": 12.5}]',
    Fault.BARE_NUMBER: b"12.5",
    Fault.DEEP: b'{"credits": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    Fault.DUPLICATE: b'{"credits": 12.5, "credits": 99999}',
    Fault.BAD_ENCODING: b'{"credits": 12.5, "note": "\xff\xfe"}',
    Fault.EMPTY: b"",
    Fault.CUT_JSON: b'{"credits": 12.',
}
_ERRORS: Mapping[Fault, tuple[int, str, str]] = {
    Fault.UNAUTHORIZED: (
        401,
        "unauthorized",
        "Incorrect API key provided: {key} You can find your API key at /account.",
    ),
    Fault.FORBIDDEN: (403, "permission_denied", "You may not see this organization with {key}."),
    Fault.NOT_FOUND: (404, "not_found", "There is no such organization."),
    Fault.PAYMENT_REQUIRED: (402, "payment_required", "This account has no credits."),
    Fault.INSUFFICIENT_BALANCE: (429, "insufficient_balance", "You lack sufficient credits."),
    Fault.RATE_LIMITED: (429, "rate_limit_exceeded", "You have sent too many requests."),
    Fault.RATE_LIMITED_LONG: (429, "rate_limit_exceeded", "You have sent too many requests."),
    Fault.SERVER_ERROR: (500, "server_error", "An unexpected server error has occurred for {key}."),
    Fault.TEAPOT: (418, "teapot", "Short and stout."),
}
_SERVER_ERROR = 500
_PAGE = b"<!DOCTYPE html><html><head><title>Access denied</title></head><body>Error 1010 for %s</body></html>"
_PAGES: Mapping[Fault, tuple[int, Mapping[str, str], bytes]] = {
    Fault.FORBIDDEN_PAGE: (403, HTML, _PAGE),
    Fault.NOT_FOUND_PAGE: (404, HTML, _PAGE),
    Fault.BAD_GATEWAY: (502, HTML, _PAGE),
    Fault.UPSTREAM_TEXT: (503, TEXT, b"upstream connect error or disconnect/reset before headers"),
    Fault.PAGE_200: (200, HTML, _PAGE),
}


def error(generation: Generation, fault: Fault, *, key: str) -> Reply:
    """Return an error in the shape of a generation; the 401 repeats the key, as the vendor's does."""
    status, name, message = _ERRORS[fault]
    body: dict[str, object] = {"id": f"err-{fault.value}-0001", "name": name, "message": message.format(key=key)}
    if generation is Generation.V1ALPHA:
        body |= {"temporary": status >= _SERVER_ERROR, "timeout": False, "fault": status >= _SERVER_ERROR}
    headers = {**JSON, "Retry-After": "180"} if fault is Fault.RATE_LIMITED_LONG else JSON
    return Reply(status, json.dumps(body).encode(), headers)


def answer(fault: Fault, generation: Generation, *, key: str, elsewhere: str) -> Reply | Misbehaviour:
    """Return what a fault sends; a redirect leads to `elsewhere`."""
    if fault in _ERRORS:
        return error(generation, fault, key=key)
    if fault in BODIES:
        return Reply(body=BODIES[fault])
    if fault in _PAGES:
        status, headers, body = _PAGES[fault]
        return Reply(status, body.replace(b"%s", key.encode()), headers)
    if fault is Fault.REDIRECT:
        return Reply(302, b"", {"Location": elsewhere})
    if fault is Fault.NO_CONTENT:
        return Reply(204)
    return _CONNECTIONS[fault] if fault in _CONNECTIONS else _encoded(fault)


def _encoded(fault: Fault) -> Reply:
    body = {
        Fault.GZIP: gzip.compress(b'{"credits": 12.5}'),
        Fault.GZIP_BOMB: _bomb(),
        Fault.BROKEN_GZIP: b"\x1f\x8b\x08 this is not gzip",
        Fault.UNKNOWN_ENCODING: b'{"credits": 12.5}',
    }[fault]
    coding = "rot13" if fault is Fault.UNKNOWN_ENCODING else "gzip"
    return Reply(body=body, headers={**JSON, "Content-Encoding": coding})


@cache
def _bomb() -> bytes:
    """Return some 60 KB that decompress to 60 MB."""
    return gzip.compress(b'{"credits": 12.5, "x": "' + b"a" * 60_000_000 + b'"}')


# --- connections that misbehave ---------------------------------------------------------------------------------------


async def _truncate(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"credits": 12.5}')
    await writer.drain()


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)  # returns when the other side gives up


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n")
    for byte in b'{"credits": 12.5}':
        writer.write(bytes((byte,)))
        await writer.drain()
        if await _gone_within(reader, seconds=1):
            return


async def _gone_within(reader: asyncio.StreamReader, *, seconds: float) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return False
    return True


async def _send_endlessly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2147483648\r\n\r\n")
    writer.write(b'{"credits": 12.5, "x": "')
    for _ in range(2 * 1024 * 16):
        writer.write(b"a" * 65_536)
        await writer.drain()


async def _send_garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.org ESMTP ready\r\n\r\n")
    await writer.drain()


async def _send_a_huge_header(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * 5_000_000 + b'\r\nContent-Length: 17\r\n\r\n{"credits": 12.5}'
    )
    await writer.drain()


_CONNECTIONS: Mapping[Fault, Misbehaviour] = {
    Fault.TRUNCATED: _truncate,
    Fault.RESET: _reset,
    Fault.HANG: _hang,
    Fault.DRIP: _drip,
    Fault.ENDLESS: _send_endlessly,
    Fault.GARBAGE: _send_garbage,
    Fault.HUGE_HEADER: _send_a_huge_header,
}

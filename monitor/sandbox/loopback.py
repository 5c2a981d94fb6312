"""A small HTTP/1.1 server for the simulated vendor and receiver, with full control of every byte it sends.

It has no TLS, no chunked requests and no routing.
"""

import asyncio
import contextlib
import http
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_MAX_BODY = 16 * 1024 * 1024
JSON: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
HTML: Mapping[str, str] = MappingProxyType({"Content-Type": "text/html; charset=UTF-8"})
TEXT: Mapping[str, str] = MappingProxyType({"Content-Type": "text/plain"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; header names are lower case, `at` is the event loop's time."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """A well-formed answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def encode(self) -> bytes:
        """Return the bytes on the wire, with their Content-Length."""
        reason = http.HTTPStatus(self.status).phrase if self.status in _KNOWN else "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in self.headers.items())]
        if self.status not in _BODILESS:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + self.body


_KNOWN = frozenset(http.HTTPStatus)
_BODILESS = frozenset({204, 304})
Misbehaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """Serves `answer` on one port; a `Misbehaviour` writes any bytes, then the connection ends."""

    def __init__(self, answer: Callable[[Request], Reply | Misbehaviour]) -> None:
        self._answer = answer
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes any free port."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection at once."""
        if self._server is None:
            return
        self._server.close()
        tasks = tuple(self._connections)
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while True:
                reply = self._answer(await _read(reader))
                if not isinstance(reply, Reply):
                    await reply(reader, writer)
                    break
                writer.write(reply.encode())
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = min(int(headers.get("content-length", "0")), _MAX_BODY)
    body = await reader.readexactly(length) if length else b""
    return Request(asyncio.get_running_loop().time(), method, path, headers, body)

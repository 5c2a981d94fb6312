"""Sockets and their limits: uvicorn in the daemon's event loop.

A connection carries one request within a time limit, and is closed for a newer one when there are too many.  Signals
are the daemon's, and requests are not logged.
"""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.config import Web
from monitor.errors import ListenError
from monitor.web.guard import BAD_REQUEST

CONNECTIONS: Final = 64  # at once
BACKLOG: Final = 128  # asyncio accepts so many at once, and each costs a descriptor until it is served or closed
HEAD_BYTES: Final = 8 * 1024
_HEAD_END: Final = re.compile(rb"\n\r?\n")
HEAD_TIMEOUT: Final = 5.0  # seconds until the request has arrived
WHOLE_TIMEOUT: Final = 30.0  # seconds until the answer was taken
STOP_TIMEOUT: Final = 1  # second for answers under way when the daemon stops

log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """One request and its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timers; close another connection when there are too many."""
        self._make_room()
        super().connection_made(transport)
        self._head = b""
        self.began = self.loop.time()
        self._timers = [
            self.loop.call_later(HEAD_TIMEOUT, self._end_if_silent),
            self.loop.call_later(WHOLE_TIMEOUT, transport.abort),
        ]

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; garbage behind a request closes the connection, a head that is too long is refused.

        h11 counts only a head that is not complete, so that one of 60 KiB in one piece would be answered.
        """
        if self.is_silent:
            self._head += data[: HEAD_BYTES + 1 - len(self._head)]
            if len(self._head) > HEAD_BYTES and not _HEAD_END.search(self._head):
                self.send_400_response("too long")
                return
        try:
            super().data_received(data)
        except h11.ProtocolError:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- the base class's signature
        """Reject what is no HTTP, with the same headers as every answer."""
        if self.is_silent:
            self.transport.write(BAD_REQUEST)
        self.transport.close()

    @property
    def is_silent(self) -> bool:
        """Whether no request has arrived yet."""
        return self.cycle is None

    def end(self) -> None:
        """Close at once; data not sent yet is lost."""
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> None:
        connections = [connection for connection in self.connections if isinstance(connection, Connection)]
        if len(connections) >= CONNECTIONS:
            # Those without a request first, then the oldest.
            min(connections, key=lambda connection: (not connection.is_silent, connection.began)).end()

    def _end_if_silent(self) -> None:
        if self.is_silent:
            self.end()


class Server(uvicorn.Server):
    """uvicorn without its ten wake-ups a second and without its signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the daemon."""
        yield

    async def main_loop(self) -> None:
        """Wait until the daemon stops the server."""
        await self.stopping.wait()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.is_silent:
                connection.end()


@asynccontextmanager
async def listening(app: ASGIApp, web: Web) -> AsyncIterator[None]:
    """Serve `app` meanwhile; `ListenError` when the address cannot be bound, later errors are logged."""
    sockets = open_sockets(web)
    # uvicorn logs about requests, so that strangers could fill a journal; our own errors are logged by the guard.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    server = Server(_config(app))
    task = asyncio.create_task(server.serve(sockets), name="web")
    task.add_done_callback(_ended)
    log.info("answering on http://%s", web)
    if not web.is_loopback:
        log.warning("web.listen: other machines are answered in clear (plain HTTP); put a proxy with HTTPS in front")
    try:
        yield
    finally:
        server.stopping.set()
        await asyncio.wait([task], timeout=2 * STOP_TIMEOUT)
        task.cancel()
        for opened in sockets:
            opened.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": Connection,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,  # the guard adds it: uvicorn's needs a wake-up a second
        "backlog": BACKLOG,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "timeout_graceful_shutdown": STOP_TIMEOUT,
    }
    return uvicorn.Config(app, **options)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("nothing is answered over HTTP any more; polling goes on: %s: %s", type(error).__name__, error)


def open_sockets(web: Web) -> list[socket.socket]:
    """Return a socket for each address of the host; `ListenError` when one cannot be bound."""
    sockets: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(addresses):
            both = web.host == "::" and socket.has_dualstack_ipv6()
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both))
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise ListenError(f"web.listen: {web}: {_reason(error)}") from None
    return sockets


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return (error.strerror or type(error).__name__).partition(" (while")[0].lower()

"""Sockets and their limits: uvicorn in the daemon's event loop, on a diet.

Refuses to keep connections: each carries one request, has so long for it, and gives way to a newer one when there are
too many.  Leaves signals to the daemon and says nothing of requests.
"""

import asyncio
import logging
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
from monitor.web.guard import REFUSAL

CONNECTIONS: Final = 64  # at once
BACKLOG: Final = 128  # asyncio takes so many in one go, and each costs a descriptor until it is let in or refused
HEAD_BYTES: Final = 8 * 1024
HEAD_TIME: Final = 5.0  # seconds until the request is there
WHOLE_TIME: Final = 30.0  # seconds until the answer is taken
STOP_TIME: Final = 1  # second that answers under way are given when the daemon stops

log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """One request and its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; its time runs from now on."""
        self._make_room()
        super().connection_made(transport)
        self.began = self.loop.time()
        self._timers = [
            self.loop.call_later(HEAD_TIME, self._end_if_silent),
            self.loop.call_later(WHOLE_TIME, transport.abort),
        ]

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes; what makes no sense behind a request ends the connection."""
        try:
            super().data_received(data)
        except h11.ProtocolError:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- the base class's signature
        """Refuse what is no HTTP, in the same strict form as every answer."""
        if self.is_silent:
            self.transport.write(REFUSAL)
        self.transport.close()

    @property
    def is_silent(self) -> bool:
        """Whether no request has come yet."""
        return self.cycle is None

    def end(self) -> None:
        """Close at once; what was not sent yet is lost."""
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> None:
        here = [one for one in self.connections if isinstance(one, Connection)]
        if len(here) >= CONNECTIONS:
            # Who has asked waits for us; who has not keeps a place for nothing.
            min(here, key=lambda one: (not one.is_silent, one.began)).end()

    def _end_if_silent(self) -> None:
        if self.is_silent:
            self.end()


class Server(uvicorn.Server):
    """uvicorn without its ten turns a second and without its signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the daemon."""
        yield

    async def main_loop(self) -> None:
        """Wait to be told to leave."""
        await self.leaving.wait()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.is_silent:
                connection.end()


@asynccontextmanager
async def listening(app: ASGIApp, web: Web) -> AsyncIterator[None]:
    """Serve `app` meanwhile; `ListenError` when the address cannot be had.  What fails later is logged, no more."""
    sockets = open_sockets(web)
    # Its complaints are of requests, which strangers could fill a journal with; our own errors the guard logs.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    server = Server(_config(app))
    task = asyncio.create_task(server.serve(sockets), name="web")
    task.add_done_callback(_ended)
    log.info("answering on http://%s", web)
    try:
        yield
    finally:
        server.leaving.set()
        await asyncio.wait([task], timeout=2 * STOP_TIME)
        task.cancel()
        for one in sockets:
            one.close()


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
        "date_header": False,  # the guard's: uvicorn's needs a turn a second
        "backlog": BACKLOG,
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "timeout_graceful_shutdown": STOP_TIME,
    }
    return uvicorn.Config(app, **options)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("nothing is answered over HTTP any more; polling goes on: %s: %s", type(error).__name__, error)


def open_sockets(web: Web) -> list[socket.socket]:
    """A socket for each address of the host; `ListenError` when there is none to be had."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            both = web.host == "::" and socket.has_dualstack_ipv6()
            sockets.append(socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both))
    except OSError as error:
        for one in sockets:
            one.close()
        raise ListenError(f"web.listen: {web}: {_reason(error)}") from None
    return sockets


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return (error.strerror or type(error).__name__).partition(" (while")[0].lower()

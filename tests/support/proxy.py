"""An HTTPS proxy that is every host itself: what a program sends to a fixed host on the Internet arrives here."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_plus, urlsplit

CERTIFICATE = Path(__file__).parent.parent / "integration" / "providers" / "worthless.pem"


@dataclass(frozen=True)
class Request:
    """What arrived."""

    host: str
    line: str
    head: str
    body: str

    @property
    def everything(self) -> str:
        return unquote_plus(f"{self.host} {self.line} {self.head} {self.body}")


@dataclass(frozen=True)
class Reply:
    """What is answered; after so many seconds, or never."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0

    def encode(self) -> bytes:
        head = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"HTTP/1.1 {self.status} Status\r\n{lines}\r\n".encode() + self.body


def _own_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@dataclass
class Internet:
    """Every host: what it answers, and what it was asked."""

    answer: Callable[[Request], Reply] = lambda _: Reply()
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext = field(default_factory=_own_tls)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, place, *_ = head.split()
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.drain()
                await writer.start_tls(self.tls)
                place = f"https://{place}"
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await self._exchange(urlsplit(place).hostname or "", head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _exchange(self, host: str, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lowered = head.lower()
        length = int(lowered.partition("content-length:")[2].split()[0]) if "content-length:" in lowered else 0
        body = (await reader.readexactly(length)).decode(errors="replace")
        request = Request(host, head.split("\r\n", maxsplit=1)[0], head, body)
        self.requests.append(request)
        reply = self.answer(request)
        await asyncio.sleep(reply.delay)
        writer.write(reply.encode())
        await writer.drain()


@asynccontextmanager
async def internet(answer: Callable[[Request], Reply] = lambda _: Reply()) -> AsyncIterator[Internet]:
    """Every host that somebody asks through this proxy."""
    hosts = Internet(answer)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.ensure_future(hosts.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    hosts.port = server.sockets[0].getsockname()[1]
    try:
        yield hosts
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

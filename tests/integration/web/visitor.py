"""The pages of a story's monitor, served for real and asked over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from story import NOON, TOML, configured
from wait import LONG

from monitor.config import Settings
from monitor.counters import Counters
from monitor.web import serving

TOKEN = "token-canary-51c7"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: str


@dataclass
class Site:
    """Everything served, and what it is made from."""

    settings: Settings
    counters: Counters = field(default_factory=Counters)
    now: datetime = NOON
    leads: bool = True
    hangs: str | None = None

    @property
    def port(self) -> int:
        assert self.settings.web is not None
        return self.settings.web.port

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Site"]:
        async with serving(
            self.settings,
            self.counters,
            clock=lambda: self.now,
            leading=lambda: self.leads,
            hanging=lambda: self.hangs,
        ):
            yield self

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        given = {"Host": f"127.0.0.1:{self.port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return parsed(await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()))

    async def send(self, request: bytes) -> bytes:
        """The answer to these bytes, to the end of the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        async with asyncio.timeout(LONG):
            answer = await read_to_the_end(reader)
        writer.close()
        return answer


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side closed the connection, gently or not."""
    came = b""
    try:
        while chunk := await reader.read(65_536):
            came += chunk
    except ConnectionResetError:
        return came
    return came


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def web_toml(more: str = "", base: str = TOML) -> str:
    """The story's configuration with `[web]` in it."""
    return f'{base}\n[web]\nlisten = "127.0.0.1:{free_port()}"\n{more}'


def settings_of(folder: Path, url: str, more: str = "", base: str = TOML) -> Settings:
    return configured(folder, web_toml(more, base), url)

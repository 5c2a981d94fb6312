"""Receivers of messages on loopback that answer well, badly or never: HTTP and SMTP."""

import asyncio
import email
import email.policy
import json
import warnings
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

STATUSES = {"ok": "200 OK", "404": "404 Not Found", "500": "500 Oops", "401": "401 No", "302": "302 Found"}


@dataclass
class Web:
    """An HTTP receiver: request after request it does the next of `plan`, and then the last of it again and again."""

    plan: Sequence[str] = ("ok",)
    port: int = 0
    bodies: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def said(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        action = self.plan[min(len(self.bodies), len(self.plan) - 1)]
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = (
            int(head.lower().partition("content-length:")[2].split()[0]) if "content-length:" in head.lower() else 0
        )
        self.heads.append(head)
        self.bodies.append((await reader.readexactly(length)).decode())
        self.arrived.set()
        try:
            await self.act(action, writer)
        finally:
            writer.close()

    async def act(self, action: str, writer: asyncio.StreamWriter) -> None:
        if action == "reset":
            writer.transport.abort()
        elif action == "hang":
            await asyncio.sleep(3600)
        elif action == "flood":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 2**20)
                await writer.drain()
        elif action == "drip":
            for letter in "HTTP/1.1 200 OK\r\n" + "X-Drip: 1\r\n" * 1000:
                writer.write(letter.encode())
                await asyncio.sleep(0.2)
        else:
            place = f"Location: http://127.0.0.1:{self.port}/elsewhere\r\n" if action == "302" else ""
            body = '{"success": true}' if action == "success" else "ok"
            head = f"HTTP/1.1 {STATUSES.get(action, STATUSES['ok'])}\r\n{place}Content-Length: {len(body)}"
            writer.write(f"{head}\r\n\r\n{body}".encode())
            await writer.drain()


@asynccontextmanager
async def web(*plan: str) -> AsyncIterator[Web]:
    receiver = Web(plan or ("ok",))
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.answer(reader, writer))
        connections.add(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@dataclass
class Mail:
    """An SMTP receiver; `refuse` are addresses that it does not take, `password` the only one it accepts."""

    password: str | None = None
    refuse: Collection[str] = ()
    hangs: bool = False  # when a letter has arrived
    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # every address of a RCPT
    envelopes: list[list[str]] = field(default_factory=list)  # those of each letter

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        self.asked.append(address)
        if address in self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.envelopes.append(envelope.rcpt_tos)
        if self.hangs:
            await asyncio.sleep(3600)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = self.password is not None and data.password.decode() == self.password
        return AuthResult(success=good, handled=False)


@asynccontextmanager
async def mail(
    *, password: str | None = None, refuse: Collection[str] = (), hangs: bool = False
) -> AsyncIterator[Mail]:
    receiver = Mail(password, refuse, hangs)

    def connected() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of passwords without TLS
            return SMTP(
                receiver,
                hostname="localhost",
                authenticator=receiver.authenticate,
                auth_required=password is not None,
                auth_require_tls=False,
            )

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@asynccontextmanager
async def silence() -> AsyncIterator[int]:
    """The port of a receiver that takes every connection and never says a word."""
    connections = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.close()

"""A receiver on loopback for Apprise's `json://` messages: passes each to a callback, or misbehaves when told to."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from monitor.sandbox.loopback import Loopback, Misbehaviour, Reply, Request

SLOWNESS = 3.0  # seconds until a slow receiver answers


class Behaviour(StrEnum):
    """What the receiver does with a message; all but the first three lose it."""

    TAKE = "take"
    TAKE_SLOWLY = "take_slowly"
    TAKE_AND_HANG = "take_and_hang"
    REFUSE = "refuse"
    HANG = "hang"
    REDIRECT = "redirect"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Received:
    """One message; `type` is Apprise's word: info, success, warning or failure."""

    title: str
    message: str
    type: str
    path: str


class Receiver:
    """Listens on loopback; `behaviour` and `refusal` (a status) can be changed at any time."""

    def __init__(self, on_message: Callable[[Received], None]) -> None:
        self.behaviour = Behaviour.TAKE
        self.refusal = 503
        self.attempts = 0  # messages that arrived, taken or not
        self._on_message = on_message
        self._loopback = Loopback(self._answer)

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes any free port."""
        await self._loopback.start(port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._loopback.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return self._loopback.port

    def url(self, path: str = "hook") -> str:
        """Return the Apprise URL of this receiver."""
        return f"json://127.0.0.1:{self.port}/{path}"

    def _answer(self, request: Request) -> Reply | Misbehaviour:
        self.attempts += 1
        if self.behaviour in {Behaviour.TAKE, Behaviour.TAKE_SLOWLY, Behaviour.TAKE_AND_HANG}:
            self._take(request)
        if self.behaviour is Behaviour.TAKE:
            return Reply(body=b"{}")
        if self.behaviour is Behaviour.REFUSE:
            return Reply(self.refusal, b"{}")
        if self.behaviour is Behaviour.REDIRECT:
            return Reply(302, b"", {"Location": f"http://127.0.0.1:{self.port}/elsewhere"})
        return {Behaviour.RESET: _reset, Behaviour.TAKE_SLOWLY: _answer_late}.get(self.behaviour, _hang)

    def _take(self, request: Request) -> None:
        body = json.loads(request.body)
        self._on_message(
            Received(body.get("title", ""), body.get("message", ""), body.get("type", ""), request.path.split("?")[0])
        )


async def _hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def _answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(SLOWNESS)
    writer.write(Reply(body=b"{}").encode())


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()

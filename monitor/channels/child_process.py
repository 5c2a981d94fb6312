"""The daemon's side of the template and of the children that it forks: starts, asks and ends them.

A child gets a question only once it is bound to our life and has answered the one before: when we die, whatever was not
yet asked is not sent.
"""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, Self

# What programs, names, clocks, TLS and proxies need; nothing else of our environment, where keys may stand.
PASSED_ON: Final = (
    *("PATH", "LANG", "LC_ALL", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
CHILDREN: Final = 52  # at once: with the template and the daemon they fit into the unit's 512 MiB and 128 tasks
START: Final = timedelta(seconds=30)  # Apprise loads two hundred plugins, on a cold or busy machine slowly
END: Final = 5.0  # seconds for the template to kill a child
IDLE: Final = 300.0  # seconds without a child until the template's memory is given back
MAX_ANSWER: Final = 4096  # bytes, of the template
MAX_LINE: Final = 1024 * 1024  # bytes, of a child that sends to many
NOT_STARTED: Final = "the sending process could not be started: {}"
NOT_READY: Final = f"the sending process was not ready within {START.total_seconds():g} s"
ENDED: Final = "the sending process ended early ({})"
EXCEPTION: Final = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))\b", re.MULTILINE)


class ChildEnded(Exception):
    """The child gives no more answers; says why, in words that hold nothing of what was asked.

    `asked`: it had been asked something, and may have done it.
    """

    asked = False


class Template:
    """What children are forked from: a process that is started when first needed, and again when it has died.

    Belongs to one event loop.  Use as a context, or close it.
    """

    def __init__(self) -> None:
        self._process: asyncio.Task[_TemplateProcess] | None = None  # ends when it is ready
        self._children = 0
        self._room = asyncio.Semaphore(CHILDREN)
        self._idle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def warm_up(self) -> None:
        """Start the process: a child will be needed soon."""
        self._start()
        self._wait_for_idleness()

    async def ready(self) -> None:
        """Start the process where it does not run, and wait for it; why it failed to start is told to who asks."""
        try:
            with suppress(ChildEnded):
                await asyncio.shield(self._start())
        finally:
            self._wait_for_idleness()

    async def ask(
        self, questions: Iterable[Mapping[str, Any]], *, within: timedelta
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield a child's answers, one by one and in order, each within so long; `ChildEnded` when one fails to come.

        Each question is taken when the one before is answered; before that there may be any number of answers that
        tell of its `progress`.  Use with `aclosing`: closing kills the child.
        """
        async with self._room, self._child() as child:
            await child.answer(late=NOT_READY, within=START)
            for question in questions:
                await child.put(question)
                answered = False
                while not answered:
                    try:
                        late = f"no answer within {within.total_seconds():g} s"
                        answer = await child.answer(late=late, within=within)
                    except ChildEnded as ended:
                        ended.asked = True
                        raise
                    answered = "progress" not in answer
                    yield answer

    @asynccontextmanager
    async def _child(self) -> AsyncIterator["_Child"]:
        """Fork a child, and kill it in the end."""
        self._children += 1
        try:
            process = await asyncio.shield(self._start())
            child = await process.fork()
            try:
                yield child
            finally:
                await child.end()
        finally:
            self._children -= 1
            self._wait_for_idleness()

    async def aclose(self) -> None:
        """End the process, and with it every child."""
        if self._idle:
            self._idle.cancel()
        starting, self._process = self._process, None
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
            if not _failed(starting):
                await starting.result().end()

    def _start(self) -> "asyncio.Task[_TemplateProcess]":
        if self._idle:
            self._idle.cancel()
        starting = self._process
        if starting is None or (starting.done() and (_failed(starting) or not starting.result().is_alive)):
            starting = self._process = asyncio.create_task(_TemplateProcess.start(), name="start of a template")
            starting.add_done_callback(_failed)  # so that its exception is retrieved when nobody waits for it
        return starting

    def _wait_for_idleness(self) -> None:
        if self._idle:
            self._idle.cancel()
        if not self._children and self._process is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE, self._retire)

    def _retire(self) -> None:
        """Give back the memory of a process that has had no child for a while."""
        starting = self._process
        if starting is None or not starting.done():
            self._wait_for_idleness()
            return
        self._process = None
        if not _failed(starting):
            starting.result().dismiss()


def _failed(starting: "asyncio.Task[_TemplateProcess]") -> bool:
    return starting.cancelled() or starting.exception() is not None


class _TemplateProcess:
    """One process of the template, from its start to its end."""

    def __init__(self, process: Process, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._numbers = itertools.count()
        self._ends: dict[int, asyncio.Future[str]] = {}  # what a child died of, by its number
        self._ready: asyncio.Future[None] = loop.create_future()
        self._death = asyncio.create_task(self._watch(), name="end of a template")
        loop.add_reader(control, self._receive)

    @classmethod
    async def start(cls) -> Self:
        """Return when Apprise is loaded; `ChildEnded` says why it is not."""
        ours, theirs = _socket_pair(socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        with theirs:
            try:
                started = cls(await _spawn(theirs), ours)
            except BaseException:
                ours.close()
                raise
        try:
            await started._load()
        except BaseException:
            await started.end()
            raise
        return started

    async def _load(self) -> None:
        await _first_of(self._ready, self._death, timeout=START.total_seconds())
        if self._death.done():
            raise ChildEnded(ENDED.format(self._death.result()))
        if not self._ready.done():
            raise ChildEnded(NOT_READY)

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked for children."""
        return not self._death.done()

    async def fork(self) -> "_Child":
        """Return a new child, which need not be ready yet."""
        ours, theirs = _socket_pair(socket.SOCK_STREAM)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
            number = next(self._numbers)
            try:
                socket.send_fds(self._control, [json.dumps({"fork": number}).encode()], [theirs.fileno()])
            except OSError as error:
                writer.close()
                raise ChildEnded(NOT_STARTED.format(error.strerror)) from None
        return _Child(self, number, reader, writer)

    async def end_child(self, number: int) -> str:
        """Kill a child; return what it died of."""
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ends[number] = end
        with suppress(OSError):  # the template is gone, and its children with it
            self._control.send(json.dumps({"end": number}).encode())
        await _first_of(end, self._death, timeout=END)
        if end.done():
            return end.result()
        await self.end()
        return self._death.result()

    async def end(self) -> None:
        """Kill the process, and with it every child."""
        # `Process.kill` would first reap a process that has just died, and asyncio would no longer learn of what.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self._death)

    def dismiss(self) -> None:
        """Have it end by itself, since nothing more will be asked."""
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()

    def _receive(self) -> None:
        try:
            answer = json.loads(self._control.recv(MAX_ANSWER) or "{}")
        except BlockingIOError:
            return
        except OSError:
            answer = {}
        if not answer:  # it is dying; `_watch` sees to it
            asyncio.get_running_loop().remove_reader(self._control)
        elif "ended" not in answer:
            self._ready.set_result(None)
        elif not (end := self._ends.pop(answer["ended"])).done():
            end.set_result(answer["reason"])

    async def _watch(self) -> str:
        """Return what it died of: of its complaint only the exception's name, since the rest may repeat anything."""
        code = await self._process.wait()
        self.dismiss()
        assert self._process.stderr is not None  # noqa: S101 -- it is a pipe
        names = EXCEPTION.findall((await self._process.stderr.read()).decode(errors="replace"))
        if names:
            return str(names[-1])
        return f"signal {-code}" if code < 0 else f"status {code}"


def _socket_pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    try:
        return socket.socketpair(socket.AF_UNIX, kind)
    except OSError as error:  # no descriptors are left
        raise ChildEnded(NOT_STARTED.format(error.strerror)) from None


async def _first_of(*futures: asyncio.Future[Any], timeout: float) -> None:  # noqa: ASYNC109 -- nothing is cancelled
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


async def _spawn(control: socket.socket) -> Process:
    """Start the template from the event loop's thread: it dies with that very thread."""
    # asyncio waits for ever when it is cancelled between starting a process and connecting its pipes.
    executing = asyncio.ensure_future(_execute(control))
    try:
        return await asyncio.shield(executing)
    except asyncio.CancelledError:
        with suppress(ChildEnded):
            process = await executing
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        raise


async def _execute(control: socket.socket) -> Process:
    command = (sys.executable, "-P", "-m", "monitor.channels.template")
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=control.fileno(),
            stdout=DEVNULL,
            stderr=PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise ChildEnded(NOT_STARTED.format(error.strerror)) from None


class _Child:
    """A forked process that answers questions."""

    def __init__(
        self, template: _TemplateProcess, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._template = template
        self._number = number
        self._reader = reader
        self._writer = writer
        self._reason: str | None = None

    async def put(self, question: Mapping[str, Any]) -> None:
        """Ask."""
        self._writer.write(json.dumps(question).encode() + b"\n")
        with suppress(ConnectionError):  # it has died: the missing answer tells
            await self._writer.drain()

    async def answer(self, *, late: str, within: timedelta) -> dict[str, Any]:
        """Return the next answer; `ChildEnded`, with the words `late`, when it does not come in time."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                line = await self._reader.readline()
        except TimeoutError:
            raise ChildEnded(late) from None
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise ChildEnded(ENDED.format(await self.end()))
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> str:
        """Kill it; return what it died of."""
        if self._reason is None:
            self._writer.close()
            self._reason = await self._template.end_child(self._number)
        return self._reason

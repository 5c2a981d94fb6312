"""Starts the child process that holds Apprise, asks it one question after another, and sees that it ends.

Refuses to know what is asked.  The child gets a question only once it is bound to our life and has answered the one
before: when we die, whatever was not yet asked is not sent.
"""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

# What programs, names, clocks, TLS and proxies need; nothing else of our environment, where keys may stand.
PASSED_ON: Final = (
    *("PATH", "LANG", "LC_ALL", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
START: Final = timedelta(seconds=30)  # Apprise loads two hundred plugins, on a cold or busy machine slowly
EXCEPTION: Final = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))\b", re.MULTILINE)


class ChildEnded(Exception):
    """The child gives no more answers; says why, in words that hold nothing of what was asked.

    `asked`: it had been asked something, and may have done it.
    """

    asked = False


async def ask(questions: Iterable[Mapping[str, Any]], *, within: timedelta) -> AsyncGenerator[dict[str, Any], None]:
    """Answers to questions, one by one and in order, each within so long; `ChildEnded` when one fails to come.

    Each question is taken when the one before is answered.
    """
    process = await _start()
    try:
        await _answer(
            process, late=f"the sending process was not ready within {START.total_seconds():g} s", within=START
        )
        late = f"no answer within {within.total_seconds():g} s"
        for question in questions:
            await _put(process, question)
            try:
                answer = await _answer(process, late=late, within=within)
            except ChildEnded as ended:
                ended.asked = True
                raise
            yield answer
    finally:
        await _kill(process)


async def _start() -> Process:
    """Start the child from the event loop's thread: it dies with that very thread."""
    # asyncio waits for ever when it is cancelled between starting a process and connecting its pipes.
    starting = asyncio.ensure_future(_execute())
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(ChildEnded):
            await _kill(await starting)
        raise


async def _execute() -> Process:
    command = (sys.executable, "-P", "-m", "monitor.channels.child")
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/", env=environment, start_new_session=True
        )
    except OSError as error:
        raise ChildEnded(f"the sending process could not be started: {error.strerror}") from None


async def _put(process: Process, question: Mapping[str, Any]) -> None:
    assert process.stdin is not None  # noqa: S101 -- it is a pipe
    process.stdin.write(json.dumps(question).encode() + b"\n")
    with suppress(ConnectionError):  # it has died: the missing answer tells
        await process.stdin.drain()


async def _answer(process: Process, *, late: str, within: timedelta) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    try:
        async with asyncio.timeout(within.total_seconds()):
            line = await process.stdout.readline()
    except TimeoutError:
        raise ChildEnded(late) from None
    if not line.endswith(b"\n"):
        raise ChildEnded(f"the sending process ended early ({await _obituary(process)})")
    answer: dict[str, Any] = json.loads(line)
    return answer


async def _obituary(process: Process) -> str:
    """What it died of: of its complaint only the exception's name, since the rest may repeat the URL."""
    with suppress(TimeoutError):  # it has closed its output, so it is about to end
        async with asyncio.timeout(1):
            await process.wait()
    await _kill(process)
    assert process.stderr is not None  # noqa: S101 -- it is a pipe
    names = EXCEPTION.findall((await process.stderr.read()).decode(errors="replace"))
    if names:
        return str(names[-1])
    code = process.returncode or 0
    return f"signal {-code}" if code < 0 else f"status {code}"


async def _kill(process: Process) -> None:
    # `Process.kill` would first reap a child that has just died, and asyncio would no longer learn of what.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    await process.wait()

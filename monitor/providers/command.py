"""Any program as a vendor: run without a shell, with the key alone on its standard input, killed when it is late."""

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from weakref import WeakKeyDictionary

from monitor.errors import CredentialRejected, FetchError, NoCredits, ProviderUnavailable, UnexpectedAnswer
from monitor.providers.http import Answer
from monitor.providers.redaction import sanitize

AT_ONCE: Final = 4  # programs of all accounts together
KEPT: Final = ("PATH", "LANG", "TZ")  # of our own environment
LONGEST_ERROR: Final = 64 * 1024
USUAL_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_CODES: Final[Mapping[int, tuple[type[FetchError], str]]] = MappingProxyType(  # as sysexits has them
    {
        75: (ProviderUnavailable, "the command says that it cannot answer now"),
        77: (CredentialRejected, "the command says that the key is not accepted"),
        69: (NoCredits, "the command says that no credits are left"),
    }
)
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a program; `key` goes to its standard input."""

    method: str
    url: str  # of the program and its arguments, for people
    arguments: tuple[str, ...]
    organization: str
    key: str = field(repr=False)


class CommandClient:
    """Runs the program of one account; stands where `HttpClient` does."""

    def __init__(self, program: str, *, key_help: str = "") -> None:
        self._key_help = key_help
        self.base_url = f"command:{program}"  # of its limiter
        self.host = program
        self.date = ""

    async def send(self, run: Run, *, max_bytes: int) -> Answer | FetchError:
        """Run it once; return what it printed, or the error of how it ended.  Cancelled, its group is killed."""
        async with _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)):
            with tempfile.TemporaryDirectory(prefix="credit-monitor-home-", ignore_cleanup_errors=True) as home:
                try:
                    process = await _start(run, home)
                except OSError as error:
                    return _not_started(self.host, error)
                try:
                    printed, complaint = await _talk(process, run.key, max_bytes=max_bytes)
                    code = await process.wait()
                finally:
                    _kill(process)
        if code == 0:
            defect = f"the answer is longer than {max_bytes} bytes" if len(printed) > max_bytes else None
            return Answer(200, {}, b"" if defect else printed, defect)
        return _failed(code, complaint, secret=run.key, key_help=self._key_help)

    async def aclose(self) -> None:
        """Nothing is kept open."""


async def _start(run: Run, home: str) -> Process:
    """Start the program as the leader of a group; one whose start was not waited for is killed."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ}
    environ = {"PATH": USUAL_PATH, **environ, "HOME": home, "CREDIT_MONITOR_ORGANIZATION": run.organization}
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *run.arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ, cwd=home, start_new_session=True
        )
    )
    try:
        return await asyncio.shield(starting)  # cancelled before its pipes are there, it would never return
    except asyncio.CancelledError:
        starting.add_done_callback(lambda done: None if done.cancelled() or done.exception() else _kill(done.result()))
        raise


async def _talk(process: Process, key: str, *, max_bytes: int) -> tuple[bytes, bytes]:
    """Give the key, and return what came on standard output and on standard error."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError
    with suppress(OSError):  # it may not want the key
        process.stdin.write(key.encode())
        process.stdin.close()
    printed, complaint = await asyncio.gather(
        _read(process, process.stdout, max_bytes), _read(process, process.stderr, LONGEST_ERROR)
    )
    return printed, complaint


async def _read(process: Process, stream: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Return what a program writes, and one byte more than allowed of a flood, which ends it."""
    content = b""
    while len(content) <= max_bytes and (chunk := await stream.read(max_bytes + 1 - len(content))):
        content += chunk
    if len(content) > max_bytes:
        _kill(process)
    return content


def _kill(process: Process) -> None:
    """End everything that the program has begun."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _not_started(program: str, error: OSError) -> FetchError:
    why = (error.strerror or type(error).__name__).lower()
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError) or error.errno == _NO_PROGRAM:
        return UnexpectedAnswer(f"the command cannot be run: {program}: {why}")
    return ProviderUnavailable(f"the command could not be started now: {program}: {why}")


_NO_PROGRAM: Final = 8  # ENOEXEC: neither a program nor a script with its first line


def _failed(code: int, complaint: bytes, *, secret: str, key_help: str) -> FetchError:
    lines = [line for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
    last = sanitize(lines[-1], secret) if lines else ""
    kind: type[FetchError] = ProviderUnavailable
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        sentence = f"the command was ended by {name}"
    else:
        kind, sentence = _CODES.get(code, (UnexpectedAnswer, "the command failed"))
        sentence = f"{sentence} (exit {code})"
    helps = f"it takes {key_help}" if key_help and kind is CredentialRejected else ""
    words = "; ".join(filter(None, (last, helps)))
    return kind(f"{sentence}: {words}" if words else sentence)

"""The service manager's end of its socket, and how it ends a process."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from command import Shell
from wait import LONG, STOP


@dataclass
class Manager:
    """What one process tells its manager, in order."""

    said: list[str] = field(default_factory=list)
    _read: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, state: str) -> None:
        self.said.append(state)
        self._news.set()

    async def heard(self, start: str, *, seconds: float = LONG) -> str:
        """The next state that begins so; those before it are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                while self._read < len(self.said):
                    self._read += 1
                    if self.said[self._read - 1].startswith(start):
                        return self.said[self._read - 1]
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def manager_of(shell: Shell) -> AsyncIterator[Manager]:
    """The manager of every process that this shell starts; each hears of the one before, too."""
    told = Manager()
    address = str(shell.home / "notify.sock")
    shell.environ["NOTIFY_SOCKET"] = address
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    end.bind(address)
    loop = asyncio.get_running_loop()
    loop.add_reader(end, lambda: told.take(end.recv(2000).decode()))
    try:
        yield told
    finally:
        loop.remove_reader(end)
        end.close()


async def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """The exit code and what was logged, of a process that is told to stop."""
    process.send_signal(number)
    _, err = await asyncio.to_thread(process.communicate, timeout=STOP)
    return process.returncode, err

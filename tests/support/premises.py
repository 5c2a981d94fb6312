"""A configuration, a vendor and a receiver for each channel, and the real daemon on them, for one test."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from tests.support import daemon
from tests.support.story import key_of
from tests.support.wait import until

KEY = key_of("studio")
CONFIG = """
[database]
url = "{url}"
[poll]
every = "1s"
deadline = "2s"
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
[accounts.studio]
base_url = "{vendor}"
rate_limit = "off"
"""


@dataclass
class Site:
    """Everything of one test; `write` a configuration before the daemon is started."""

    folder: Path
    url: str
    vendor: Vendor
    environ: dict[str, str]
    received: dict[str, list[Received]]
    receivers: dict[str, Receiver]
    process: Process | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write(self, more: str, *changes: tuple[str, str], name: str = "config.toml") -> Path:
        """Write a configuration: what all have, with changes, and more."""
        text = CONFIG.replace("{url}", self.url).replace("{vendor}", self.vendor.url)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = self.folder / name
        path.write_text(text + more)
        return path

    def customize(self, code: str) -> None:
        """Run code in every process before the program begins."""
        (self.folder / "sitecustomize.py").write_text(code)
        self.environ["PYTHONPATH"] = f"{self.folder}:{daemon.SOURCE}"

    @asynccontextmanager
    async def running(self, *, log: str = "log") -> AsyncIterator[Process]:
        process = await daemon.launch(self.folder, self.environ, log=self.folder / log)
        try:
            await self.until(lambda: process.returncode is not None or "watching " in (self.folder / log).read_text())
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
            await daemon.kill(process)

    async def reload(self, process: Process) -> None:
        """Reload, and wait until the daemon has begun anew."""
        before = self.log.count("watching ")
        process.send_signal(signal.SIGHUP)
        await self.until(lambda: self.log.count("watching ") > before)

    async def polled(self, times: int = 2) -> None:
        """Wait until the vendor was asked so often from now on."""
        before = len(self.vendor.requests)
        await self.until(lambda: len(self.vendor.requests) >= before + times)

    async def command(
        self, *arguments: str, config: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command as a process of its own; return its exit code and all that it printed."""
        file = ("--config", str(config)) if config else ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor", *arguments, *file),
            env=dict(environ or self.environ),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    def set_credits(self, amount: int, *ids: str) -> None:
        for key in ids or self.vendor.organizations:
            self.vendor.organizations[key].credits = Decimal(amount)

    def titles(self, channel: str = "ops") -> list[str]:
        return [message.title for message in self.received[channel]]

    def words(self, channel: str = "ops") -> str:
        return "\n".join(f"{message.title}\n{message.message}" for message in self.received[channel])

    async def until(self, condition: object, **limits: float) -> None:
        await until(condition, why=lambda: self.log, **limits)  # type: ignore[arg-type]


@asynccontextmanager
async def site_of(
    folder: Path, url: str, *, organizations: int = 1, channels: Sequence[str] = ("ops",)
) -> AsyncIterator[Site]:
    """A site with `org-1`, `org-2`, ... of 5000 credits; every channel has an address, whether or not it is used."""
    ids = [f"org-{number}" for number in range(1, organizations + 1)]
    received: dict[str, list[Received]] = {name: [] for name in channels}
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(
            Vendor({KEY: ids}, [SandboxOrganization(key, f"Title of {key}", Decimal(5000)) for key in ids])
        )
        receivers = {name: await stack.enter_async_context(Receiver(received[name].append)) for name in channels}
        environ = daemon.environment({"studio": KEY}, {})
        for name, receiver in receivers.items():
            (folder / f"{name}.url").write_text(receiver.url())
            (folder / f"{name}.url").chmod(0o600)
        yield Site(folder, url, vendor, environ, received, receivers)


def channel(name: str, more: str = "", *, of: str | None = None) -> str:
    """The table of a channel that reads the address of the receiver of that name, or of another one."""
    return f'[channels.{name}]\nurl_file = "{of or name}.url"\n{more}\n'

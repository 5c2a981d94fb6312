"""The real program, installed from the wheel, against a simulated vendor and real receivers."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor

REPOSITORY = Path(__file__).parents[2]
CANARY_KEY = "sk-canary7f3KQ9vWm2Zx8LtR4bN6yHs1JdPe5GcUa0TiOoXlVwSr"
ID = re.compile(r"notification ([0-9a-f]{16})")
CANARY_PATH = "canary-channel-5d81c0"


def build_wheel(folder: Path) -> Path:
    """Install the wheel of this checkout (and nothing of the checkout itself) into a folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, REPOSITORY],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True, capture_output=True)
    return target


@dataclass
class Mailbox:
    """A real SMTP server; keeps subjects and texts."""

    subjects: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content)
        self.subjects.append(str(make_header(decode_header(mail["Subject"]))))
        parts = [part for part in mail.walk() if not part.is_multipart()]
        self.bodies.append("\n".join(str(part.get_payload(decode=True), "utf-8", "replace") for part in parts))
        return "250 OK"


@dataclass
class Stage:
    """Everything of one acceptance test."""

    site: Path
    folder: Path
    database_url: str
    vendor: Vendor
    receivers: dict[str, Receiver]
    received: dict[str, list[Received]]
    mailbox: Mailbox
    smtp_port: int
    daemon: asyncio.subprocess.Process | None = None
    logs: int = 0

    @property
    def organization(self) -> SandboxOrganization:
        return self.vendor.organizations["org-1"]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        urls = {
            "HOOK": self.receivers["hook"].url(CANARY_PATH),
            "PAGER": self.receivers["pager"].url(CANARY_PATH),
            "MAIL": f"mailto://127.0.0.1:{self.smtp_port}/?from=monitor@example.org&to=ops@example.org",
        }
        return kept | {
            "PYTHONPATH": str(self.site),
            "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": CANARY_KEY,
            **{f"CREDIT_MONITOR_CHANNELS__{name}__URL": url for name, url in urls.items()},
        }

    def write_config(self, extra: str = "", *, stale_after: str = "1h") -> Path:
        path = self.folder / "config.toml"
        path.write_text(f"""
[database]
url = "{self.database_url}"
[poll]
every = "1s"
deadline = "2s"
[rules]
stale_after = "{stale_after}"
[accounts.studio]
base_url = "{self.vendor.url}"
[organizations.render-farm]
account = "studio"
id = "org-1"
[channels.hook]
[channels.mail]
[channels.pager]
min_severity = "critical"
{extra}
""")
        return path

    async def start(self, *, wait: bool = True) -> None:
        self.logs += 1
        with (self.folder / f"daemon-{self.logs}.log").open("wb") as log:
            self.daemon = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "monitor",
                "run",
                "--config",
                str(self.folder / "config.toml"),
                env=self.environment(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        if wait:
            path = self.folder / f"daemon-{self.logs}.log"
            await self.until(lambda: " watching " in path.read_text(errors="replace"))

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.daemon is not None
        if self.daemon.returncode is None:
            self.daemon.send_signal(number)
        async with asyncio.timeout(10):
            return await self.daemon.wait()

    async def command(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "monitor",
            *arguments,
            "--config",
            str(self.folder / "config.toml"),
            env=self.environment() | environment,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def titles(self, receiver: str) -> list[str]:
        """What arrived, once: a kill between sending and marking may double a message, with the same id."""
        return list({tuple(ID.findall(one.message)): one.title for one in self.received[receiver]}.values())

    def subjects(self) -> list[str]:
        """The same of the mailbox."""
        pairs = zip(self.mailbox.bodies, self.mailbox.subjects, strict=True)
        return list({tuple(ID.findall(body))[:1]: subject for body, subject in pairs}.values())

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 -- what it waits for is another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it did not happen within {seconds} s\n{self.all_logs()}") from None

    def all_logs(self) -> str:
        return "\n".join(p.read_text(errors="replace") for p in sorted(self.folder.glob("daemon-*.log")))


@asynccontextmanager
async def stage(site: Path, folder: Path, database_url: str, credits: str = "1500") -> AsyncIterator[Stage]:
    received: dict[str, list[Received]] = {"hook": [], "pager": []}
    mailbox = Mailbox()
    smtp = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    port = smtp.sockets[0].getsockname()[1]
    organization = SandboxOrganization("org-1", "Render Farm GmbH", Decimal(credits))
    async with (
        Vendor({CANARY_KEY: ["org-1"]}, [organization]) as vendor,
        Receiver(received["hook"].append) as hook,
        Receiver(received["pager"].append) as pager,
    ):
        one = Stage(site, folder, database_url, vendor, {"hook": hook, "pager": pager}, received, mailbox, port)
        one.write_config()
        try:
            yield one
        finally:
            if one.daemon and one.daemon.returncode is None:
                one.daemon.kill()
                await one.daemon.wait()
            smtp.close()
            shutil.rmtree(folder / "state", ignore_errors=True)

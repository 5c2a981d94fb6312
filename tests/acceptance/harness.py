"""The real program, installed from the wheel, against a simulated vendor and real receivers."""

import asyncio
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path

import daemon
from receivers import Mail, mail
from wait import until

from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor

REPOSITORY = Path(__file__).parents[2]
CANARY_KEY = "sk-canary7f3KQ9vWm2Zx8LtR4bN6yHs1JdPe5GcUa0TiOoXlVwSr"
ID = re.compile(r"notification ([0-9a-f]{16})")
CANARY_PATH = "canary-channel-5d81c0"


@dataclass
class Stage:
    """Everything of one acceptance test."""

    site: Path
    folder: Path
    database_url: str
    vendor: Vendor
    receivers: dict[str, Receiver]
    received: dict[str, list[Received]]
    mailbox: Mail
    daemon: asyncio.subprocess.Process | None = None
    logs: int = 0

    @property
    def organization(self) -> SandboxOrganization:
        return self.vendor.organizations["org-1"]

    def environment(self) -> dict[str, str]:
        urls = {
            "hook": self.receivers["hook"].url(CANARY_PATH),
            "pager": self.receivers["pager"].url(CANARY_PATH),
            "mail": f"mailto://127.0.0.1:{self.mailbox.port}/?from=monitor@example.org&to=ops@example.org",
        }
        return daemon.environment({"studio": CANARY_KEY}, urls, source=self.site)

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

    async def start(self) -> None:
        """Start the daemon, and wait until it watches."""
        self.logs += 1
        log = self.folder / f"daemon-{self.logs}.log"
        self.daemon = await daemon.launch(self.folder, self.environment(), log=log)
        await self.until(lambda: " watching " in log.read_text(errors="replace"))

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.daemon is not None
        return await daemon.stop(self.daemon, number)

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
        return list({tuple(ID.findall(message.message)): message.title for message in self.received[receiver]}.values())

    def subjects(self) -> list[str]:
        """The same of the mailbox."""
        return list(
            {tuple(ID.findall(text(letter)))[:1]: letter["Subject"] for letter in self.mailbox.letters}.values()
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, why=self.all_logs)

    def all_logs(self) -> str:
        return "\n".join(p.read_text(errors="replace") for p in sorted(self.folder.glob("daemon-*.log")))


def text(letter: EmailMessage) -> str:
    """Every part of a letter that is no container."""
    return "\n".join(str(part.get_content()) for part in letter.walk() if not part.is_multipart())


@asynccontextmanager
async def stage(site: Path, folder: Path, database_url: str, credits: str = "1500") -> AsyncIterator[Stage]:
    """A vendor with one organization, two receivers and a mailbox; the daemon is not started."""
    received: dict[str, list[Received]] = {"hook": [], "pager": []}
    organization = SandboxOrganization("org-1", "Render Farm GmbH", Decimal(credits))
    async with (
        Vendor({CANARY_KEY: ["org-1"]}, [organization]) as vendor,
        Receiver(received["hook"].append) as hook,
        Receiver(received["pager"].append) as pager,
        mail() as mailbox,
    ):
        scene = Stage(site, folder, database_url, vendor, {"hook": hook, "pager": pager}, received, mailbox)
        scene.write_config()
        try:
            yield scene
        finally:
            await daemon.kill(scene.daemon)
            shutil.rmtree(folder / "state", ignore_errors=True)

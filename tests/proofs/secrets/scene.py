"""The real daemon from the wheel, among services that repeat every secret, and all that it said and left."""

import asyncio
import os
import socket
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Final

import psycopg

from monitor.sandbox import Fault, Received, Receiver, Reply, SandboxOrganization, Vendor
from tests.proofs.secrets.forms import SECRETS, forms
from tests.support import daemon
from tests.support.receivers import Mail, mail
from tests.support.wait import until

KEY, OTHER, PATH, HEADER, MAILBOX, PROXY, DATABASE, HEART, TOKEN = SECRETS.values()
STATUSES: Final = (403, 401, 404, 500, 400, 402, 418, 200)  # 429 would keep the key from being used for a minute
FAULTS: Final = (Fault.PAGE_200, Fault.ENDLESS, Fault.RESET, Fault.GARBAGE)
PAGES: Final = ("/metrics", "/healthz", "/readyz", f"/{TOKEN}", f"/metrics?token={TOKEN}", "/nowhere")
FILE: Final = """
heartbeat_url_file = "heart.url"
[database]
url = "{database}"
[poll]
every = "1s"
deadline = "3s"
[rules]
runway = "off"
[web]
listen = {port}
token_file = "token"
[accounts.studio]
api_key_file = "studio.key"
base_url = "{vendor}"
rate_limit = "off"
organizations = "all"
[accounts.behind]
api_key_file = "other.key"
base_url = "http://127.0.0.1:{echo}"
proxy = "http://me:{proxy}@127.0.0.1:{echo}"
organizations = "all"
[channels.hook]
url_file = "hook.url"
[channels.mail]
url_file = "mail.url"
[channels.refusing]
url_file = "refusing.url"
"""
COMMANDS: Final = (
    *("status", "status --format json", "history", "history --format csv", "incidents", "incidents --format json"),
    *("silences", "deliveries", "usage", "organizations", "check", "check --dry-run", "check --format json"),
    *("config validate", "config show", "config show --format json", "db current", "doctor", "doctor --send"),
    *("notify hook mail refusing", "backtest", "providers show", "healthy", "run --no-such-option", "nonsense"),
)
UNREACHABLE: Final = ("status", "check", "run", "db upgrade", "doctor", "config show")
# What switches redaction off, to see whether the search would notice.
OPEN: Final = "import monitor.text.redaction as r\nr.Secrets.redact = lambda self, text: text\n"


class Scene:
    """One database, one daemon, and everything that was said and left, by where."""

    def __init__(self, folder: Path, site: Path, database: str, *, redacting: bool = True) -> None:
        """`redacting` False: without redaction, and in one turn of the statuses, to see what the search finds."""
        self._turns = len(STATUSES) if redacting else 1
        self.folder, self.database = folder, database
        self.left: dict[str, bytes] = defaultdict(bytes)
        self.cases = 0
        self._config = ""
        self._log = folder / "daemon.log"
        path = [str(site)]
        if not redacting:
            self._give("open/sitecustomize.py", OPEN)
            path.insert(0, str(folder / "open"))
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        config = str(folder / "config.toml")
        self._environ = kept | {
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(path),
            "CREDIT_MONITOR_CONFIG": config,
        }

    def _give(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(0o600)

    async def play(self) -> None:
        """Run the daemon through every fault and form, then every command; gather what was said and left."""
        heard: list[Received] = []
        # A process on SQLite holds no password of a database, so nobody can have been told one.
        held = [secret for secret in SECRETS.values() if secret != DATABASE or secret in self.database]
        titles = [form for secret in held for form in forms(secret).values()]
        farms = [SandboxOrganization(f"org-{n}", f"Farm {n}", Decimal(150)) for n in range(len(titles))]
        async with (
            Vendor({KEY: [farm.id for farm in farms]}, farms) as vendor,
            Receiver(heard.append) as hook,
            mail(password=MAILBOX) as box,
            echo(" ".join(titles)) as port,
        ):
            web = await self._configure(vendor, hook, box, port)
            process = await daemon.launch(self.folder, self._environ, log=self._log, options=["--verbose"])
            watching = asyncio.create_task(self._watch_processes())
            try:
                await self._faults(vendor, farms, titles, web)
                await self._commands()
                await daemon.stop(process, within=60)
            finally:
                watching.cancel()
                await daemon.kill(process)
            await self._commands()
            await self._unreachable()
        for received in heard:
            self.left["messages"] += f"{received.title}\n{received.message}\n".encode()
        for letter in box.letters:
            parts = (part.get_payload(decode=True) or b"" for part in letter.walk())
            self.left["messages"] += letter.as_bytes() + b"".join(part for part in parts if isinstance(part, bytes))
        self.left["log (what a journal gets)"] = self._log.read_bytes()
        self._gather_database()

    async def _configure(self, vendor: Vendor, hook: Receiver, box: Mail, port: int) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            web: int = free.getsockname()[1]
        parts = {"database": self.database, "port": web, "vendor": vendor.url, "echo": port, "proxy": PROXY}
        self._config = FILE.format(**parts)
        self._give("config.toml", self._config)
        self._give("studio.key", KEY)
        self._give("other.key", OTHER)
        self._give("token", TOKEN)
        self._give("heart.url", f"http://127.0.0.1:{port}/{HEART}")
        self._give("hook.url", f"json://127.0.0.1:{hook.port}/{PATH}?+X-Token={HEADER}")
        self._give("refusing.url", f"json://127.0.0.1:{port}/{PATH}?+X-Token={HEADER}")
        self._give("mail.url", f"mailto://me:{MAILBOX}@127.0.0.1:{box.port}/?from=a@example.com&to=b@example.com")
        return web

    async def _faults(self, vendor: Vendor, farms: list[SandboxOrganization], titles: list[str], web: int) -> None:
        """Every form of every secret, in answers of every status, as titles and ids; every broken answer."""
        await self._polled(vendor, len(farms))
        for farm, title in zip(farms, titles, strict=True):
            farm.name = title
        await self._polled(vendor, len(farms))
        for turn in range(self._turns):
            for number, (farm, title) in enumerate(zip(farms, titles, strict=True)):
                status = STATUSES[(number + turn) % len(STATUSES)]
                body = {"id": title, "name": "refused", "message": f"of yours: {title}", "errors": [title]}
                farm.fault = Reply(status, repr(body).replace("'", '"').encode() if turn % 2 else title.encode())
                self.cases += 1
            await self._polled(vendor, len(farms))
        await self._pages(web)
        for fault in FAULTS:
            vendor.fault = fault
            self.cases += 1
            await self._polled(vendor, 2)
        vendor.fault = None

    async def _polled(self, vendor: Vendor, requests: int) -> None:
        """Wait until everything was asked, and some of it again: what was answered first is by then recorded."""
        vendor.requests.clear()
        enough = requests + requests // 4 + 2
        await until(lambda: len(vendor.requests) >= enough, within=600, why=lambda: self._log.read_text()[-2000:])

    async def _pages(self, port: int) -> None:
        for path in PAGES:
            for head in ("", f"Authorization: Bearer {TOKEN}\r\n", f"Authorization: Bearer {TOKEN[:-1]}\r\n"):
                self.left["pages and metrics"] += await ask(port, path, head)

    async def _commands(self) -> None:
        for command in COMMANDS:
            await self._say(command.split())
        with suppress(OSError):
            (self.folder / "backup.db").unlink()
        if self.database.startswith("sqlite"):
            await self._say(["db", "backup", str(self.folder / "backup.db")])
            if (self.folder / "backup.db").exists():
                self.left["backup"] = (self.folder / "backup.db").read_bytes()

    async def _unreachable(self) -> None:
        """A database that does not answer, with a password in its URL in each place where one may stand."""
        for url in (f"postgresql://me:{DATABASE}@127.0.0.1:9/x", f"postgresql://me@127.0.0.1:9/x?password={DATABASE}"):
            self._give("config.toml", self._config.replace(f'"{self.database}"', f'"{url}"'))
            for command in UNREACHABLE:
                await self._say(command.split())

    async def _say(self, arguments: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "monitor", *arguments),
            env=self._environ,
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.left["commands and exports"] += (await process.communicate())[0]

    async def _watch_processes(self) -> None:
        """Read arguments and environment of every process of this machine, again and again."""
        seen: set[bytes] = set()
        while True:
            seen |= set(_processes())
            self.left["/proc of all processes"] = b"\n".join(seen)
            await asyncio.sleep(0.2)

    def _gather_database(self) -> None:
        if self.database.startswith("sqlite"):
            for path in (self.folder / "state").iterdir():
                self.left["files of the database"] += path.read_bytes()
            with sqlite3.connect(self.folder / "state" / "cm.db") as opened:
                self.left["rows"] = "\n".join(opened.iterdump()).encode()
            return
        with psycopg.connect(self.database) as connection:
            names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            for (name,) in connection.execute(names).fetchall():
                rows = connection.execute(f'SELECT t::text FROM "{name}" t').fetchall()  # type: ignore[call-overload]
                self.left["rows"] += "\n".join(row[0] for row in rows).encode()


def _processes() -> Iterator[bytes]:
    """Arguments and environment of every process of this machine."""
    for name in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            with suppress(OSError):
                yield path.read_bytes()


# --- services ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def echo(said: str) -> AsyncIterator[int]:
    """A proxy, web hook and heartbeat that refuses with everything it was told, and more; yields its port."""
    statuses = iter(range(10**6))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            status = (407, 500, 403, 502)[next(statuses) % 4]
            body = head + said.encode()
            reason = said[:200].encode() if status == 407 else b"Refused"
            writer.write(b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n" % (status, reason, len(body)))
            writer.write(b"X-Said: %b\r\nConnection: close\r\n\r\n%b" % (said[:500].encode(), body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, path: str, head: str) -> bytes:
    """The whole answer of the daemon's own pages; nothing when they are not there."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer
    return b""

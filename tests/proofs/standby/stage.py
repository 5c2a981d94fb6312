"""The stage: a simulated vendor with thousands of organizations, receivers, and three real daemons on one database."""

import asyncio
import random
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from monitor import config
from monitor.errors import DatabaseError
from monitor.model import Severity
from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from tests.proofs.crash.evidence import Arrival, Records, ids_in
from tests.proofs.crash.script import Scripted
from tests.proofs.standby.evidence import Evidence
from tests.support.daemon import UNDAMPED, environment, kill, launch, stop
from tests.support.server import Server

CHANNELS = {"log": Severity.INFO, "ops": Severity.WARNING, "pager": Severity.CRITICAL}
EVERY = 10  # seconds between polls, if the machine can
DAEMONS = 3
WAITING_AT_MOST = 100  # deliveries: the balances hold still until the outbox has emptied somewhat
MOVES = 10  # balances that move at once
RUN = "from tests.proofs.undamped import undamp; undamp(); from monitor.cli import main; main()"


@dataclass
class Disturbance:
    """One strike; `life` is the daemon it fell upon (None: all of them)."""

    kind: str
    life: int | None
    began: float
    ended: float = 0.0  # continued, or served again
    takeover: float | None = None  # seconds until another led
    recorded: float = 0.0  # seconds until balances were recorded again
    gaps: dict[str, float] = field(default_factory=dict)  # organization → the longest between two fetches
    unmarked: frozenset[tuple[str, str]] = frozenset()  # (channel, notification) sent, and not marked when it fell


@dataclass
class Daemon:
    """One process; `life` names it in the database and at the receivers."""

    life: int
    process: Process

    @property
    def name(self) -> str:
        return name_of(self.life)


def name_of(life: int) -> str:
    return f"proof-{life}"


@dataclass
class Stage:
    """Everything of one proof."""

    folder: Path
    database_url: str
    server: Server
    random: random.Random
    vendor: Vendor
    script: list[Scripted]
    records: Records
    evidence: Evidence
    fault: str | None = None
    receivers: dict[str, Receiver] = field(default_factory=dict)
    daemons: list[Daemon] = field(default_factory=list)
    lives: dict[int, set[int]] = field(default_factory=dict)  # process → its lives, should a number come again
    arrivals: list[Arrival] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    fetched: dict[str, float] = field(default_factory=dict)  # organization → when it was last asked for
    holding: bool = False  # the balances hold still

    # --- daemons ------------------------------------------------------------------------------------------------------

    def write_config(self) -> config.Settings:
        """One file for all."""
        accounts = "".join(
            f'[accounts.a{n}]\nbase_url = "{self.vendor.url}"\nrate_limit = "off"\norganizations = "all"\n'
            for n in range(len(self.vendor.keys))
        )
        channels = "".join(f'[channels.{name}]\nmin_severity = "{least.label}"\n' for name, least in CHANNELS.items())
        path = self.folder / "config.toml"
        path.write_text(
            f'[database]\nurl = "{self.database_url}"\n[poll]\nevery = "{EVERY}s"\ndeadline = "9s"\n'
            '[rules]\ncredits = { info = 5000, warning = 1000, critical = 200 }\nrunway = "off"\nstale_after = "1d"\n'
            f"{accounts}{channels}"
        )
        return config.load(path, self.environment(0))

    def environment(self, life: int) -> dict[str, str]:
        """What a daemon is given: its name on every connection and in every message's address."""
        urls = {name: receiver.url(str(life)) for name, receiver in self.receivers.items()}
        keys = {f"a{n}": key for n, key in enumerate(self.vendor.keys)}
        url = f"{self.database_url}&application_name={name_of(life)}"
        return environment(keys, urls) | {"CREDIT_MONITOR_DATABASE__URL": url}

    async def start(self) -> None:
        """Begin a life."""
        life = max((daemon.life for daemon in self.daemons), default=0) + 1
        program = UNDAMPED if self.fault is None else ("-c", f"{self.fault}; {RUN}")
        log = self.folder / f"life-{life}.log"
        process = await launch(self.folder, self.environment(life), log=log, program=program)
        self.daemons.append(Daemon(life, process))
        self.lives.setdefault(process.pid, set()).add(life)

    @property
    def running(self) -> list[Daemon]:
        return [daemon for daemon in self.daemons if daemon.process.returncode is None]

    def require_running(self) -> None:
        """A daemon that ends by itself ends the proof."""
        for daemon in self.daemons:
            if daemon.process.returncode not in {None, -signal.SIGKILL}:
                last = (self.folder / f"life-{daemon.life}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{daemon.name} ended by itself with {daemon.process.returncode}:\n{last}")

    async def leader(self, *, within: float = 60) -> Daemon:
        """Whoever leads, as soon as somebody does."""
        async with asyncio.timeout(within):
            while True:
                self.require_running()
                with suppress(DatabaseError):
                    pid = await asyncio.to_thread(self.evidence.leader)
                    if leader := next((daemon for daemon in self.running if daemon.process.pid == pid), None):
                        return leader
                await asyncio.sleep(0.05)

    async def stop(self) -> list[int]:
        """End all in peace; return their exit codes."""
        return await asyncio.gather(*(stop(daemon.process) for daemon in self.running))

    # --- the world ----------------------------------------------------------------------------------------------------

    def balance(self, scripted: Scripted) -> Decimal:
        """What the vendor answers; keeps when it was asked."""
        now, before = time.time(), self.fetched.get(scripted.id)
        self.fetched[scripted.id] = now
        for hit in self.disturbances[-5:]:
            if before is not None and hit.began < now and before < max(hit.began, hit.ended):
                hit.gaps[scripted.id] = max(hit.gaps.get(scripted.id, 0), now - before)
        return scripted.now

    def unmarked(self, lives: Collection[int]) -> frozenset[tuple[str, str]]:
        """Of the last messages that these daemons sent, what is not marked as sent."""
        unmarked: frozenset[tuple[str, str]] = frozenset()
        for channel in CHANNELS:
            mine = [arrival for arrival in self.arrivals if arrival.life in lives and arrival.channel == channel][-5:]
            unmarked |= self.records.unmarked(channel, {key for arrival in mine for key in arrival.ids})
        return unmarked

    def take(self, channel: str, message: Received) -> None:
        """A receiver took a message; its path says who sent it."""
        words = f"{message.title}\n{message.message}"
        life = int(message.path.strip("/"))
        self.arrivals.append(Arrival(time.time(), life, channel, ids_in(words), words, answered=True))

    async def everything_fetched(self) -> None:
        """Wait for the first poll of all."""
        async with asyncio.timeout(300):
            while True:
                if len(self.fetched) == len(self.script):
                    return
                await asyncio.sleep(0.2)

    async def walk(self) -> None:
        """Move some balances on, once the one before is recorded."""
        while True:
            await asyncio.sleep(1)
            try:
                recorded, waiting = await asyncio.to_thread(self.records.standing)
            except DatabaseError:
                continue
            if not self.holding and waiting <= WAITING_AT_MOST:
                for scripted in self.random.sample(self.script, min(MOVES, len(self.script))):
                    if recorded.get(scripted.id) == scripted.now:
                        scripted.advance()

    async def settle(self) -> None:
        """Wait until the last balances are recorded and nothing waits in the outbox."""
        self.holding = True
        async with asyncio.timeout(300):
            while True:
                self.require_running()
                recorded, waiting = await asyncio.to_thread(self.records.standing)
                if not waiting and all(recorded.get(scripted.id) == scripted.now for scripted in self.script):
                    return
                await asyncio.sleep(0.5)


@asynccontextmanager
async def open_stage(
    folder: Path, server: Server, database_url: str, *, seed: int, organizations: int, accounts: int, fault: str | None
) -> AsyncIterator[Stage]:
    """A vendor and receivers that listen, and a script at its beginning; no daemon is started."""
    # They begin above every level: the first poll of thousands is not to be thousands of messages.
    ids = [f"org-{n}" for n in range(organizations)]
    script = [Scripted(id_, id_, random.Random(f"{seed}-{id_}"), least=5300) for id_ in ids]
    keys = {f"sk-{n:048d}": ids[n::accounts] for n in range(accounts)}
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor(keys, []))
        records = Records(database_url)
        stack.callback(records.close)
        evidence = Evidence(server, sa.make_url(database_url).database or "")
        stack.callback(evidence.close)
        stage = Stage(folder, database_url, server, random.Random(seed), vendor, script, records, evidence, fault)
        for scripted in script:
            balance = partial(stage.balance, scripted)
            vendor.organizations[scripted.id] = SandboxOrganization(scripted.id, scripted.name, balance)
        for name in CHANNELS:
            stage.receivers[name] = await stack.enter_async_context(Receiver(partial(stage.take, name)))
        try:
            yield stage
        finally:
            for daemon in stage.running:
                await kill(daemon.process)

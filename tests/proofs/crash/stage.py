"""The stage: a simulated vendor, receivers that fail and return, and the real daemon, killed and started again."""

import asyncio
import os
import random
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar

from monitor import config
from monitor.model import Severity
from monitor.sandbox import Behaviour, Received, Receiver, SandboxOrganization, Vendor
from tests.proofs.crash.evidence import MARK, Arrival, Life, Records, Seen, ids_in, processes_of
from tests.proofs.crash.script import Scripted
from tests.support import daemon

KEY = "sk-crash000000000000000000000000000000000000000000001"
CHANNELS = {"log": Severity.INFO, "ops": Severity.WARNING, "pager": Severity.CRITICAL}
TROUBLES = (Behaviour.REFUSE, Behaviour.HANG, Behaviour.TAKE_AND_HANG, Behaviour.TAKE_AND_HANG, Behaviour.RESET)
TAKING = {Behaviour.TAKE, Behaviour.TAKE_AND_HANG}
OUTLIVE = 3.0  # seconds that a child may outlive its parent
WAITING_AT_MOST = 60  # deliveries: the balances hold still until the outbox has emptied somewhat
SETTLED_WITHIN = 900  # pauses between attempts grow to five minutes


@dataclass
class Stage:
    """Everything of one proof."""

    folder: Path
    database_url: str
    random: random.Random
    vendor: Vendor
    script: list[Scripted]
    records: Records
    receivers: dict[str, Receiver] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    process: Process | None = None
    asked: Callable[[], None] = lambda: None  # told of every balance that the daemon asks for ...
    arrived: Callable[[], None] = lambda: None  # ... and of every message that a receiver takes
    holding: bool = False  # the balances hold still
    stale_after: str = "1d"
    every: str = "1s"
    before: Callable[[], None] | None = None  # done in the daemon's process before it begins

    @property
    def life(self) -> Life:
        return self.seen.lives[-1]

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def write_config(self) -> config.Settings:
        """The configuration; the last organization has levels of its own, the one before it fewer channels."""
        tables = [f'[organizations.{scripted.name}]\nid = "{scripted.id}"\n' for scripted in self.script]
        tables[-1] += "rules.credits = { warning = 3000, critical = 900, clear = { warning = 3600 } }\n"
        tables[-2] += 'notify = ["ops", "pager"]\n'
        channels = "".join(f'[channels.{name}]\nmin_severity = "{least.label}"\n' for name, least in CHANNELS.items())
        path = self.folder / "config.toml"
        path.write_text(
            f'[database]\nurl = "{self.database_url}"\n[poll]\nevery = "{self.every}"\ndeadline = "5s"\n'
            '[rules]\ncredits = { info = 5000, warning = 1000, critical = 200 }\nrunway = "off"\n'
            f'stale_after = "{self.stale_after}"\nremind_every = "off"\n'
            f'[accounts.studio]\nrate_limit = "off"\n{self.account()}{"".join(tables)}{channels}'
        )
        return config.load(path, self.environment(0))

    def account(self) -> str:
        """Where the vendor is, in the account's table."""
        return f'base_url = "{self.vendor.url}"\n'

    def environment(self, life: int) -> dict[str, str]:
        """What the daemon is given; PATH carries a mark that its children inherit."""
        urls = {name: receiver.url() for name, receiver in self.receivers.items()}
        marked = f"/{self.mark(life)}:{os.environ['PATH']}"
        return daemon.environment({"studio": KEY}, urls) | {"PATH": marked}

    def mark(self, life: int) -> str:
        return f"{MARK}-{os.getpid()}-{self.vendor.url.rpartition(':')[2]}-{life}"

    async def start(self) -> None:
        """Begin a life."""
        number = len(self.seen.lives) + 1
        self.seen.lives.append(Life(number, asyncio.get_running_loop().time()))
        log = self.folder / f"life-{number}.log"
        options = {"program": daemon.UNDAMPED, "before": self.before}
        self.process = await daemon.launch(self.folder, self.environment(number), log=log, **options)

    def kill(self, way: str) -> None:
        """Kill the daemon at this very instant."""
        process = self.process
        if process is None or process.returncode is not None or self.life.death is not None:
            return
        self.life.way, self.life.death = way, asyncio.get_running_loop().time()
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    async def clean_up(self) -> None:
        """See that nothing of a killed daemon is left, and what it had sent without marking it."""
        assert self.process is not None
        self.require_killed(await self.process.wait())
        loop = asyncio.get_running_loop()
        assert self.life.death is not None
        while left := processes_of(self.mark(self.life.number)):
            if loop.time() - self.life.death > OUTLIVE:
                self.life.orphans = len(left)
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.005)
        self.life.outlived = loop.time() - self.life.death
        for channel in CHANNELS:
            mine = [a for a in self.seen.arrivals if a.life == self.life.number and a.channel == channel]
            if mine:
                self.life.unmarked |= await asyncio.to_thread(self.records.unmarked, channel, mine[-1].ids)

    def require_killed(self, code: int | None) -> None:
        """A daemon that ends by itself ends the proof."""
        if code not in {None, -signal.SIGKILL}:
            last = (self.folder / f"life-{self.life.number}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"life {self.life.number} ended by itself with {code}:\n{last}")

    async def stop(self) -> int:
        """End the last life in peace; return the daemon's exit code."""
        assert self.process is not None
        return await daemon.stop(self.process)

    # --- the world ----------------------------------------------------------------------------------------------------

    def take(self, channel: str, message: Received) -> None:
        """A receiver took a message."""
        words = f"{message.title}\n{message.message}"
        answered = self.receivers[channel].behaviour in {Behaviour.TAKE, Behaviour.TAKE_SLOWLY}
        now = asyncio.get_running_loop().time()
        self.seen.arrivals.append(Arrival(now, self.life.number, channel, ids_in(words), words, answered))
        self.arrived()

    async def walk(self, *, pace: float = 0.4) -> None:
        """Move each balance on, once the daemon has recorded the one before."""
        while True:
            await asyncio.sleep(0.2)
            recorded, waiting = await asyncio.to_thread(self.records.standing)
            for scripted in self.script:
                calm = self.holding or waiting > WAITING_AT_MOST
                if not calm and recorded.get(scripted.id) == scripted.now and self.random.random() < pace:
                    scripted.advance()

    async def trouble(self, receiver: Receiver, *, longest: float) -> None:
        """Let a receiver fail, hang, vanish and come back."""
        try:
            while True:
                await asyncio.sleep(self.random.uniform(2, 12))
                receiver.behaviour = self.random.choice(TROUBLES)
                if vanish := self.random.random() < 0.2:
                    await receiver.stop()
                await asyncio.sleep(self.random.uniform(0.5, longest))
                if vanish:
                    await receiver.start(receiver.port)
                receiver.behaviour = Behaviour.TAKE
                if not vanish and self.random.random() < 0.7:
                    await _restart(receiver)  # what hung there is reset; else it hangs until the sender gives up
        finally:
            await _restart(receiver)
            receiver.behaviour = Behaviour.TAKE

    async def settle(self) -> None:
        """Wait until the last balances are recorded and nothing waits in the outbox."""
        self.holding = True
        async with asyncio.timeout(SETTLED_WITHIN):
            while True:
                self.require_killed(self.process.returncode if self.process else None)
                recorded, waiting = await asyncio.to_thread(self.records.standing)
                if not waiting and all(recorded.get(scripted.id) == scripted.now for scripted in self.script):
                    return
                await asyncio.sleep(0.1)


async def _restart(receiver: Receiver) -> None:
    await receiver.stop()
    await receiver.start(receiver.port)


A = TypeVar("A", bound=Stage)


@asynccontextmanager
async def open_stage(
    folder: Path, database_url: str, *, seed: int, organizations: int, kind: type[A] = Stage
) -> AsyncIterator[A]:
    """A vendor and receivers that listen, and a script at its beginning; the daemon is not started."""
    script = [Scripted(f"farm-{n}", f"org-{n}", random.Random(f"{seed}-{n}")) for n in range(organizations)]
    vendor = Vendor({KEY: [scripted.id for scripted in script]}, [])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(vendor)
        records = Records(database_url)
        stack.callback(records.close)
        stage = kind(folder, database_url, random.Random(seed), vendor, script, records)
        for scripted in script:
            vendor.organizations[scripted.id] = SandboxOrganization(
                scripted.id, scripted.name, partial(_balance, stage, scripted)
            )
        for name in CHANNELS:
            stage.receivers[name] = await stack.enter_async_context(Receiver(partial(stage.take, name)))
        try:
            yield stage
        finally:
            await daemon.kill(stage.process)


def _balance(stage: Stage, scripted: Scripted) -> Decimal:
    stage.asked()
    return scripted.now

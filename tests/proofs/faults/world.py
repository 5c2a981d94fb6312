"""The world of one daemon: the stage of the crash proof, with a supervisor that does what the unit does.

The supervisor starts the daemon again when it has ended, and keeps what it ended with.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.model import Failure, Severity
from monitor.sandbox import Behaviour, SandboxOrganization
from tests.proofs.crash.evidence import Records
from tests.proofs.crash.script import Demand
from tests.proofs.crash.stage import CHANNELS, KEY, Stage, open_stage
from tests.proofs.crash.verdict import Counts, weigh
from tests.proofs.faults.interpose import Interposed
from tests.proofs.faults.measure import Sample, sample
from tests.proofs.raising import PLACE
from tests.support.server import Server

RESTART_AFTER = 1.0  # seconds; the unit waits for five
PR_CAPBSET_DROP = 24
WRITES_ANYWHERE = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@dataclass(frozen=True)
class Options:
    """What has to be so before the daemon begins."""

    tls: bool = False
    memory_mib: int | None = None
    mortal: bool = False  # root, too, may write only what its modes allow
    stale_after: str = "1d"
    organizations: int = 10
    crowd: int = 0  # further organizations, whose balances never change
    every: str = "1s"


@dataclass
class World(Stage):
    """Everything around one daemon."""

    options: Options = field(default_factory=Options)
    interposed: Interposed | None = None
    server: Server | None = None  # PostgreSQL's, where that is the database
    memory_group: Path | None = None
    limited_by: str = ""  # what limits the memory
    front: object = None  # what stands before the vendor: TLS
    ends: list[int] = field(default_factory=list)  # exit codes
    more: dict[str, list[Demand]] = field(default_factory=dict)  # what is to be said beside the script, by subject
    supervising: bool = True
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    first: Sample | None = None  # the first look at the daemon at rest
    address: str = ""
    extra: str = ""

    def account(self) -> str:
        address = self.address or f"http://{'localhost' if knows_localhost() else '127.0.0.1'}:{self.port}"
        return f'base_url = "{address}"\n{self.extra}'

    def environment(self, life: int) -> dict[str, str]:
        given = super().environment(life)
        given[PLACE] = str(self.raising)
        return given | (self.interposed.environment if self.interposed else {})

    @property
    def raising(self) -> Path:
        """While this file is there, the daemon's database layer raises."""
        return self.folder / "raising"

    def require_killed(self, code: int | None) -> None:
        """Here a daemon may end in any way: the supervisor keeps how."""

    # --- the supervisor -----------------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Start the daemon again whenever it has ended."""
        while True:
            assert self.process is not None
            self.ends.append(await self.process.wait())
            if not self.supervising:
                return
            if self.life.death is None:
                self.life.way, self.life.death = "by itself", asyncio.get_running_loop().time()
            await self._clean_up()
            await asyncio.sleep(RESTART_AFTER)
            await self.may_start.wait()
            await self.start()

    async def _clean_up(self) -> None:
        try:
            await self.clean_up()
        except DatabaseError:
            # Nobody can say what was marked: whatever arrived in this life may come again.
            mine = [arrival for arrival in self.seen.arrivals if arrival.life == self.life.number]
            self.life.unmarked = frozenset((arrival.channel, key) for arrival in mine for key in arrival.ids)

    # --- the world ----------------------------------------------------------------------------------------------------

    async def standing(self) -> tuple[dict[str, object], int] | None:
        """What is recorded, and how many deliveries wait; None while nobody can say."""
        try:
            recorded, waiting = await asyncio.to_thread(self.records.standing)
        except DatabaseError:
            return None
        return dict(recorded), waiting

    async def walk(self, *, pace: float = 0.4) -> None:
        pace = min(pace, 8 / len(self.script))
        while True:
            await asyncio.sleep(0.3)
            if self.holding or (standing := await self.standing()) is None:
                continue
            recorded, waiting = standing
            for scripted in self.script:
                if waiting < 30 and recorded.get(scripted.id) == scripted.now and self.random.random() < pace:
                    scripted.advance()

    async def recorded(self, *, within: float) -> None:
        """Wait until the last balances are recorded."""
        await self.until(self._is_recorded, within=within)

    async def _is_recorded(self) -> bool:
        standing = await self.standing()
        return standing is not None and all(standing[0].get(scripted.id) == scripted.now for scripted in self.script)

    async def _is_told(self) -> bool:
        standing = await self.standing()
        return standing is not None and not standing[1]

    async def until(self, condition: Callable[[], Awaitable[bool]], *, within: float) -> None:
        """Wait for what another process does."""
        async with asyncio.timeout(within):
            while not await condition():  # noqa: ASYNC110 -- what it waits for is another process
                await asyncio.sleep(0.1)

    async def delivered(self, *, within: float) -> None:
        """Wait until the last balances are recorded and nothing waits in the outbox."""
        await self.recorded(within=within)
        await self.until(self._is_told, within=within)

    async def answered(self, answer: Decimal | Failure, *, within: float) -> None:
        """Wait until this answer is recorded of every organization."""
        if isinstance(answer, Decimal):
            await self.recorded(within=within)
            return

        async def is_recorded() -> bool:
            return set((await asyncio.to_thread(self.records.failures)).values()) == {answer.kind.value}

        await self.until(is_recorded, within=within)

    @property
    def port(self) -> int:
        """The vendor's."""
        return int(self.vendor.url.rpartition(":")[2])

    async def living(self) -> int:
        """The daemon's process, as soon as there is one."""

        async def lives() -> bool:
            return self.process is not None and self.process.returncode is None

        await self.until(lives, within=30)
        assert self.process
        return self.process.pid

    def look(self) -> Sample:
        assert self.process is not None
        return sample(self.process.pid)

    def weigh(self) -> Counts:
        """Nothing lost, nothing invented?"""
        settings = self.write_config()
        rules = {scripted.name: settings.organizations[scripted.name].rules for scripted in self.script}
        heard = {}
        for name in rules:
            notify = settings.organizations[name].notify
            heard[name] = {c: CHANNELS[c] for c in (notify if notify is not None else CHANNELS)}
        return weigh(self, rules, heard, more=self.more)

    def demand(self, subject: str, *demands: Demand) -> None:
        self.more.setdefault(subject, []).extend(demands)

    def read_anew(self) -> None:
        """Forget the connection that reads: the file is another one."""
        self.records.close()
        self.records = Records(self.database_url, self.records.forgotten)

    @property
    def database_file(self) -> Path:
        return Path(str(sa.make_url(self.database_url).database))

    @property
    def where(self) -> Path:
        """The directory that holds the database file: a small tmpfs where root could mount one."""
        return self.database_file.parent


def knows_localhost() -> bool:
    """Whether a name can be used for this machine, so that it can fail to be resolved: a bare one has no /etc/hosts."""
    try:
        socket.getaddrinfo("localhost", None, family=socket.AF_INET)
    except OSError:
        return False
    return True


ALL = frozenset(CHANNELS)
LEAST = {least: frozenset(c for c, minimum in CHANNELS.items() if minimum <= least) for least in Severity}


def _invite(world: World, crowd: int) -> None:
    """Let the key see as many more organizations."""
    if crowd:
        many = [SandboxOrganization(f"crowd-{n}", f"Crowd {n}", Decimal(9000)) for n in range(crowd)]
        world.vendor.organizations |= {each.id: each for each in many}
        world.vendor.keys[KEY] = [*world.vendor.keys[KEY], *(each.id for each in many)]
        world.extra += 'organizations = "all"\n'


def _entering(world: World) -> Callable[[], None]:
    """Done in the daemon's process before it begins."""
    group, mortal, memory = world.memory_group, world.options.mortal, world.options.memory_mib

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        elif memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory * 2**20, memory * 2**20))
        if mortal:
            for capability in WRITES_ANYWHERE:
                ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    return enter


@asynccontextmanager
async def open_world(
    folder: Path,
    database_url: str,
    options: Options,
    *,
    seed: int,
    server: Server | None = None,
    prepare: Callable[[World], Awaitable[None]] | None = None,
) -> AsyncIterator[World]:
    """A world whose daemon runs and has recorded its first balances."""
    async with open_stage(folder, database_url, seed=seed, organizations=options.organizations, kind=World) as world:
        world.options, world.server, world.stale_after = options, server, options.stale_after
        world.interposed = Interposed(folder)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(world.interposed.close)
            if prepare:
                await prepare(world)
            world.before = _entering(world)
            world.every = options.every
            _invite(world, options.crowd)
            world.may_start.set()
            world.write_config()
            await world.start()
            tasks = [asyncio.create_task(world.supervise(), name="supervise")]
            stack.push_async_callback(_end, world, tasks)
            await world.recorded(within=60 + options.crowd / 50)
            tasks.append(asyncio.create_task(world.walk(), name="walk"))
            yield world


async def _end(world: World, tasks: list[asyncio.Task[None]]) -> None:
    world.supervising = False
    for task in tasks[1:]:
        task.cancel()
    assert world.process is not None
    if world.process.returncode is None:
        os.kill(world.process.pid, signal.SIGCONT)
        world.process.terminate()
        try:
            async with asyncio.timeout(15):
                await world.process.wait()
        except TimeoutError:
            world.process.kill()
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for receiver in world.receivers.values():
        receiver.behaviour = Behaviour.TAKE

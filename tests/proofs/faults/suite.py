"""Runs faults against a world, and says of each what held and what it cost."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from random import Random

from tests.proofs.faults import changed, network, postgresql, process, refusals, sqlite, strange, untold, vendor
from tests.proofs.faults.fault import Cannot, Fault
from tests.proofs.faults.limits import limited, mounted
from tests.proofs.faults.measure import Logged, Sample, logged_since, logs
from tests.proofs.faults.scene import Scene, play
from tests.proofs.faults.world import Options, World, open_world
from tests.support.server import Server, running_server, upgraded
from tests.support.wait import patience

FAULTS: list[Fault] = [
    *vendor.FAULTS,
    *network.FAULTS,
    *sqlite.FAULTS,
    *postgresql.FAULTS,
    *refusals.FAULTS,
    *process.FAULTS,
]
SCENES: list[Scene] = [*untold.SCENES, *changed.SCENES, *strange.SCENES]
NAMED_WITHIN = 45.0  # seconds beyond its length that a fault goes on until the log names it
MORE_DESCRIPTORS = 6  # that may stay: connections that are kept alive


@dataclass
class Row:
    """One line of the table."""

    name: str
    database: str
    recovered: float = 0.0  # seconds from the end of the fault to the next balance recorded
    demanded: int = 0
    doubles: int = 0
    logged: Logged | None = None
    before: Sample | None = None
    after: Sample | None = None
    descriptors: int = 0  # that it may have afterwards
    problems: list[str] = field(default_factory=list)
    cannot: str = ""
    waits_for: str = ""


async def run_fault(world: World, fault: Fault, database: str) -> Row:
    """Bring a fault about, take it away, and look."""
    row = Row(f"{fault.name} {world.limited_by}".strip(), database, waits_for=fault.waits_for)
    loop = asyncio.get_running_loop()
    world.holding = True
    await world.delivered(within=60 + world.options.crowd / 50)  # thousands take longer
    row.before, positions, ended, weighed = world.look(), logs(world.folder), len(world.ends), world.weigh()
    world.first = world.first or row.before
    # A vendor that cuts its connections leaves fewer for a moment: what may stay is that of the beginning, too.
    row.descriptors = max(world.first.descriptors, row.before.descriptors) + MORE_DESCRIPTORS
    world.holding = False
    try:
        async with fault.inflict(world):
            await asyncio.sleep(fault.lasts)
            await _until_named(world, fault, positions)
    except Cannot as why:
        row.cannot = str(why)
        return row
    over = loop.time()
    if not world.holding:
        world.holding = True
        await _move_on(world, within=fault.within * patience(), row=row)
        row.recovered = loop.time() - over
    try:
        await world.delivered(within=fault.settles)
    except TimeoutError:
        row.problems.append("something still waits in the outbox")
    counts = world.weigh()
    row.demanded = counts.demanded - weighed.demanded
    row.doubles = counts.doubles_after_kill + counts.doubles_after_silence
    row.doubles -= weighed.doubles_after_kill + weighed.doubles_after_silence
    row.logged = logged_since(world.folder, positions)
    row.after = await _back_to(world, row, fault)
    _judge(row, fault, world.ends[ended:])
    for name, count in counts.faults().items():
        if count > getattr(weighed, name):
            row.problems.append(f"{name.replace('_', ' ')}: {count - getattr(weighed, name)}")
            row.problems += counts.notes[len(weighed.notes) :][:5]
    return row


async def _until_named(world: World, fault: Fault, positions: dict[Path, int]) -> None:
    """Go on with a fault until the log names it: a busy machine may not have come to it, or a check may wait it out."""

    async def is_named() -> bool:
        return bool(logged_since(world.folder, positions).names(fault.cause))

    if fault.cause:
        with suppress(TimeoutError):  # which is a problem, and found as such
            await world.until(is_named, within=NAMED_WITHIN)


async def _move_on(world: World, *, within: float, row: Row) -> None:
    """Let every balance move on that may, and wait until they are recorded: then the daemon has recovered."""
    standing = await world.standing()
    for scripted in world.script:
        if standing and standing[0].get(scripted.id) == scripted.now:
            scripted.advance()
    try:
        await world.recorded(within=within)
    except TimeoutError:
        row.problems.append(f"it did not recover within {within:g} s")


async def _back_to(world: World, row: Row, fault: Fault) -> Sample | None:
    """A look when memory and descriptors are back where they were, or after so long."""
    assert row.before
    for _ in range(40):
        await asyncio.sleep(0.5)
        try:
            after = world.look()
        except OSError:
            continue
        if after.descriptors <= row.descriptors and after.memory <= row.before.memory + fault.growth:
            return after
    return world.look()


def _judge(row: Row, fault: Fault, ends: Sequence[int]) -> None:
    assert row.logged
    assert row.before
    if fault.cause and not row.logged.names(fault.cause):
        row.problems.append("no line of the log names the cause")
    if row.logged.lines > fault.lines + len(ends):
        row.problems.append(f"{row.logged.lines} lines of the log, of which {row.logged.distinct} are distinct")
    if row.logged.repeated > fault.repeats + len(ends):  # every start has its own to say
        row.problems.append(f"the same line {row.logged.repeated} times")
    if row.logged.tracebacks:
        row.problems.append(f"{row.logged.tracebacks} tracebacks")
    if unexpected := [code for code in ends if code not in fault.ends]:
        row.problems.append(f"it ended with {unexpected}")
    if row.after is None:
        return
    if row.after.descriptors > row.descriptors:
        row.problems.append(f"descriptors: {row.before.descriptors} before, {row.after.descriptors} after")
    if row.after.memory > row.before.memory + fault.growth:
        row.problems.append(f"memory: {row.before.memory:.0f} MiB before, {row.after.memory:.0f} after")


# --- worlds -----------------------------------------------------------------------------------------------------------


@contextmanager
def database(kind: str, folder: Path, *, large: bool) -> Iterator[tuple[str, Server | None]]:
    """The URL of an empty, migrated database; a SQLite file is on a small file system where there can be one."""
    if kind == "sqlite":
        with mounted(folder / "state", large=large) as where:
            yield upgraded(f"sqlite:///{where / 'monitor.db'}"), None
        return
    with running_server() as server:
        yield upgraded(server.new()), server


@asynccontextmanager
async def standing_world(kind: str, options: Options, *, seed: int) -> AsyncIterator[World]:
    """A world with its database and its limits; what it leaves is kept only when somebody has to read it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))

    async def prepare(world: World) -> None:
        if options.tls:
            await network.stand_before(world)
        stack.enter_context(limited(world))

    with database(kind, folder, large=options.crowd > 0) as (url, server):
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(
                open_world(folder, url, options, seed=seed, server=server, prepare=prepare)
            )
            yield world
    shutil.rmtree(folder, ignore_errors=True)


async def run_scenes(scenes: Iterable[Scene], kind: str) -> AsyncIterator[Row]:
    """What is played on commands and daemons of its own."""
    async for scene, seen in play(scenes, kind):
        yield Row(scene.name, kind, demanded=seen.told, logged=seen.logged, problems=seen.problems, cannot=seen.cannot)


async def run(faults: Iterable[Fault], kind: str, *, seed: int) -> AsyncIterator[Row]:
    """Each fault in turn; those that need the same world share one, until one of them has done harm."""
    wanted = [fault for fault in faults if kind in fault.databases]
    wanted.sort(key=lambda fault: repr(fault.options))
    for options, group in groupby(wanted, key=lambda fault: fault.options):
        left = list(group)
        while left:
            try:
                async with standing_world(kind, options, seed=seed) as world:
                    while left:
                        fault = left.pop(0)
                        row = await _run_safely(world, fault, kind)
                        yield row
                        if row.problems:
                            break
            except Cannot as why:
                while left:
                    yield Row(left.pop(0).name, kind, cannot=str(why))
            except Exception as error:  # noqa: BLE001 -- a world that did not come to be, or to its end
                if left:
                    yield Row(left.pop(0).name, kind, problems=[f"no world: {type(error).__name__}: {error}"])


async def _run_safely(world: World, fault: Fault, kind: str) -> Row:
    """A fault that the suite itself cannot cope with is a problem, and not the end of the others."""
    try:
        return await run_fault(world, fault, kind)
    except Exception as error:  # noqa: BLE001 -- a time that ran out, a daemon that is gone
        last = max(world.folder.glob("life-*.log"), key=lambda path: path.stat().st_mtime).read_text()[-1500:]
        return Row(fault.name, kind, problems=[f"{type(error).__name__}: {error}", last])


# --- together ---------------------------------------------------------------------------------------------------------


def combined(parts: Sequence[Fault], *, seed: int) -> Fault:
    """Several faults at the same time, each beginning and ending at an instant of its own."""
    random = Random(seed)

    @asynccontextmanager
    async def inflict(world: World) -> AsyncIterator[None]:
        async def run_part(fault: Fault) -> None:
            await asyncio.sleep(random.uniform(0, 3))
            async with fault.inflict(world):
                await asyncio.sleep(fault.lasts)

        await asyncio.gather(*map(run_part, parts))
        yield

    return Fault(
        " + ".join(part.name for part in parts),
        inflict,
        lasts=0,
        within=max(part.within for part in parts) + 30,
        settles=max(part.settles for part in parts),
        lines=sum(part.lines for part in parts) + 10,
        ends=frozenset().union(*(part.ends for part in parts)) | {75},
        combines=False,
    )


def combinations(count: int, kind: str, *, seed: int) -> list[Fault]:
    """So many random combinations of two or three faults."""
    random = Random(seed)
    able = [f for f in FAULTS if f.combines and not f.waits_for and kind in f.databases and f.options == Options()]
    return [
        Fault(**{**vars(combined(random.sample(able, random.choice((2, 3))), seed=seed + n)), "databases": (kind,)})
        for n in range(count)
    ]

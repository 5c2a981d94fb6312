"""The process's own world: the clock stepped, a suspend, no descriptors, little memory, signals at random instants."""

import asyncio
import os
import re
import resource
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from tests.proofs.faults.fault import BOTH, Cannot, Fault
from tests.proofs.faults.vendor import away
from tests.proofs.faults.world import Options, World

HOUR = 3600.0


@asynccontextmanager
async def stepped(world: World, *, hours: float) -> AsyncIterator[None]:
    """The wall clock is stepped, and stepped back at the end."""
    if world.interposed is None or world.interposed.why_not:
        raise Cannot(f"the clock cannot be stepped: {world.interposed and world.interposed.why_not}")
    world.interposed.step_clock(hours * HOUR)
    try:
        yield
    finally:
        world.interposed.step_clock(-hours * HOUR)


@asynccontextmanager
async def suspended(world: World) -> AsyncIterator[None]:
    """The daemon stands still; whoever looks has to see that first."""
    pid = await world.living()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        await _require_seen(world)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _require_seen(world: World) -> None:
    """Raise `AssertionError` unless `status` begins with it that nobody polls."""
    command = (sys.executable, "-m", "monitor", "status", "--config", str(world.folder / "config.toml"))
    process = await asyncio.create_subprocess_exec(*command, env=world.environment(0), stdout=PIPE)
    first, _, _ = (await process.communicate())[0].decode().partition("\n")
    if not re.fullmatch(r"(no daemon: nothing has|the daemon \(pid .*\) has not) polled for \d+ seconds", first):
        raise AssertionError(f"status begins with {first!r}")


@asynccontextmanager
async def without_descriptors(world: World) -> AsyncIterator[None]:
    """No file, socket or process can be opened any more; what is open is cut, so that something has to be."""
    pid = await world.living()
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))
    port = world.port
    await world.vendor.stop()
    await world.vendor.start(port)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@asynccontextmanager
async def struck(world: World, *, number: signal.Signals, times: int) -> AsyncIterator[None]:
    """A signal at random instants; the supervisor starts the daemon again."""
    for _ in range(times):
        await asyncio.sleep(world.random.uniform(0.2, 3))
        if number is signal.SIGKILL:
            world.kill("at any instant")
        elif world.process is not None and world.process.returncode is None:
            world.process.send_signal(number)
    yield


@asynccontextmanager
async def nothing(_: World) -> AsyncIterator[None]:
    """What is limited is so from the start."""
    yield


CROWD = Options(crowd=9_990, every="20s")
FAULTS = [
    Fault("clock: five hours forward, and back", partial(stepped, hours=5), lasts=6, databases=BOTH, quick=True),
    Fault("clock: five hours back, and forward", partial(stepped, hours=-5), lasts=6, databases=BOTH),
    Fault("suspend (SIGSTOP) for 20 s", suspended, lasts=20, databases=BOTH, within=30),
    Fault("no descriptors left", without_descriptors, "open files|descriptors", lasts=8, within=30, quick=True),
    Fault(
        "memory limited to 160 MiB, 500 organizations",
        nothing,
        lasts=30,
        options=Options(memory_mib=160, organizations=500),
        combines=False,
        within=40,
    ),
    Fault("10,000 organizations", nothing, lasts=40, options=CROWD, combines=False, within=120, growth=30),
    Fault(
        "10,000 organizations: connection refused", away, "refused", lasts=40, options=CROWD, combines=False, within=120
    ),
    Fault(
        "SIGTERM at random instants",
        partial(struck, number=signal.SIGTERM, times=4),
        lasts=1,
        ends=frozenset({0, -signal.SIGTERM}),  # the latter before Python has begun
        databases=BOTH,
        quick=True,
    ),
    Fault(
        "SIGKILL at random instants",
        partial(struck, number=signal.SIGKILL, times=4),
        lasts=1,
        ends=frozenset({-signal.SIGKILL}),
        databases=BOTH,
        quick=True,
    ),
    Fault(
        "SIGHUP at random instants",
        partial(struck, number=signal.SIGHUP, times=4),
        lasts=1,
        ends=frozenset({-signal.SIGHUP}),  # before Python has begun
        databases=BOTH,
        quick=True,
    ),
]

"""What is done to the daemons: each strike waits until another leads, or the same one again, and mends itself."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from monitor.errors import DatabaseError
from tests.proofs.standby.stage import Daemon, Disturbance, Stage

TIMEOUT = 120.0  # seconds until a take-over, or the recording of balances, counts as none at all
LONG = 20.0  # seconds without a server: longer than the lease


async def kill(stage: Stage) -> None:
    """SIGKILL; another daemon takes its place as a standby."""
    leader = await stage.leader()
    hit = _begin(stage, "killed", leader)
    leader.process.kill()
    await leader.process.wait()
    hit.unmarked = await asyncio.to_thread(stage.unmarked, [leader.life])
    await _until_another_leads(stage, hit)
    hit.ended = time.time()
    await stage.start()


async def stop(stage: Stage) -> None:
    """SIGSTOP at any instant, for longer than the lease."""
    leader = await stage.leader()
    hit = _begin(stage, "stopped", leader)
    leader.process.send_signal(signal.SIGSTOP)
    hit.unmarked = await asyncio.to_thread(stage.unmarked, [leader.life])
    await _wake_late(stage, leader, hit)


async def stop_writing(stage: Stage) -> None:
    """SIGSTOP in the middle of a transaction that has written."""
    for _ in range(50):
        leader = await stage.leader()
        if not await asyncio.to_thread(stage.evidence.wait_until_writing, leader.name, 20):
            continue
        hit = _begin(stage, "stopped in a transaction", leader)
        leader.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        if await asyncio.to_thread(stage.evidence.is_writing, leader.name):
            hit.unmarked = await asyncio.to_thread(stage.unmarked, [leader.life])
            await _wake_late(stage, leader, hit)
            return
        leader.process.send_signal(signal.SIGCONT)
        stage.disturbances.remove(hit)
    raise RuntimeError("no transaction could be caught")


async def _wake_late(stage: Stage, leader: Daemon, hit: Disturbance) -> None:
    """Let another lead for a while, then let the old leader go on."""
    await _until_another_leads(stage, hit)
    await asyncio.sleep(stage.random.uniform(0, 6))
    leader.process.send_signal(signal.SIGCONT)
    hit.ended = time.time()


async def cut(stage: Stage) -> None:
    """End the leader's connections, or everybody's, on the server's side."""
    leader = await stage.leader()
    everybody = stage.random.random() < 0.5
    hit = _begin(stage, "cut off", None if everybody else leader)
    hit.unmarked = await asyncio.to_thread(stage.unmarked, [daemon.life for daemon in stage.running])
    names = [daemon.name for daemon in (stage.running if everybody else [leader])]
    await asyncio.to_thread(stage.evidence.cut, names)
    hit.ended = time.time()
    await _until_recorded(stage, hit)


async def restart(stage: Stage) -> None:
    """Restart PostgreSQL, every other time by a crash; now and then it is away for longer than the lease."""
    await stage.leader()
    number = sum(hit.kind.startswith("restarted") for hit in stage.disturbances)
    long = number % 5 == 4
    hit = _begin(stage, "restarted, away for long" if long else "restarted", None)
    hit.unmarked = await asyncio.to_thread(stage.unmarked, [daemon.life for daemon in stage.running])
    await asyncio.to_thread(stage.server.halt, crash=number % 2 == 1)
    await asyncio.sleep(LONG if long else stage.random.uniform(0, 2))
    await asyncio.to_thread(stage.server.resume)
    hit.ended = time.time()
    await _until_recorded(stage, hit)


STRIKES: tuple[Callable[[Stage], Awaitable[None]], ...] = (kill, stop, cut, restart, kill, stop_writing, cut, restart)


def _begin(stage: Stage, kind: str, struck: Daemon | None) -> Disturbance:
    hit = Disturbance(kind, struck.life if struck else None, time.time())
    stage.disturbances.append(hit)
    return hit


async def _until_another_leads(stage: Stage, hit: Disturbance) -> None:
    while hit.takeover is None:
        if time.time() - hit.began > TIMEOUT:
            hit.takeover = TIMEOUT
            return
        with suppress(DatabaseError):
            pid = await asyncio.to_thread(stage.evidence.leader)
            if pid and any(daemon.process.pid == pid and daemon.life != hit.life for daemon in stage.running):
                hit.takeover = time.time() - hit.began
        await asyncio.sleep(0.05)
    await _until_recorded(stage, hit)


async def _until_recorded(stage: Stage, hit: Disturbance) -> None:
    """Until a balance that was fetched afterwards is recorded."""
    while True:
        stage.require_running()
        hit.recorded = time.time() - hit.began
        if hit.recorded > 2 * TIMEOUT:
            return
        with suppress(DatabaseError):
            at = await asyncio.to_thread(stage.evidence.checked_at)
            if at and at.timestamp() > max(hit.began, hit.ended) + 0.2:
                return
        await asyncio.sleep(0.1)

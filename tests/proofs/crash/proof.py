"""One proof: so many kills, each at an instant of its own kind, then calm, and the verdict."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

from monitor.config import Settings
from monitor.model import Rules, Severity
from monitor.sandbox import Behaviour
from tests.proofs.crash.script import demanded
from tests.proofs.crash.stage import CHANNELS, Stage, open_stage
from tests.proofs.crash.verdict import Counts, weigh

WAYS = ("at any instant", "at any instant", "while starting", "while polling", "before the answer", "after the answer")


async def prove(
    folder: Path,
    database_url: str,
    *,
    kills: int,
    seed: int,
    organizations: int = 10,
    outage: float = 6,
    longest_life: float = 20,
    least_demanded: int = 0,
) -> Counts:
    """Run the daemon on a migrated database, kill it so often, and weigh what happened.

    Receivers fail for up to `outage` seconds; a kill whose occasion has not come after `longest_life` happens anyway.
    On a slow machine little happens between kills: they go on until the script demands `least_demanded` notifications.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with open_stage(folder, database_url, seed=seed, organizations=organizations) as stage:
        settings = stage.write_config()
        world = [asyncio.create_task(stage.walk())]
        world += [asyncio.create_task(stage.trouble(r, longest=outage)) for r in stage.receivers.values()]
        for number in count():
            if number >= kills and _demanded(stage, settings) >= least_demanded:
                break
            await stage.start()
            await _run_until_killed(stage, stage.random.choice(WAYS), longest_life)
            await stage.clean_up()
            if number % 20 == 19:
                print(
                    f"{number + 1} kills, {len(stage.seen.arrivals)} arrivals, {loop.time() - began:.0f} s", flush=True
                )
        await _settle(stage, world)
        if (code := await stage.stop()) != 0:
            raise RuntimeError(f"stopped in peace, it ended with {code}")
        rules, heard = _expectations(stage, settings)
        counts = weigh(stage, rules, heard)
        counts.seconds = loop.time() - began
        return counts


def _expectations(stage: Stage, settings: Settings) -> tuple[dict[str, Rules], dict[str, dict[str, Severity]]]:
    """The rules of each organization, and the least severity of each channel that hears of it."""
    organizations = {scripted.name: settings.organizations[scripted.name] for scripted in stage.script}
    rules = {name: organization.rules for name, organization in organizations.items()}
    return rules, {name: _hearing(organization.notify) for name, organization in organizations.items()}


def _demanded(stage: Stage, settings: Settings) -> int:
    """How many notifications the script demands so far."""
    rules, heard = _expectations(stage, settings)
    return sum(len(demanded(scripted, rules[scripted.name], heard[scripted.name])) for scripted in stage.script)


def _hearing(notify: tuple[str, ...] | None) -> dict[str, Severity]:
    return {name: CHANNELS[name] for name in (notify if notify is not None else CHANNELS)}


async def _run_until_killed(stage: Stage, way: str, longest: float) -> None:
    """Let the daemon run until the instant of its death."""
    assert stage.process is not None
    ways: dict[str, Callable[[], None]] = {
        "at any instant": lambda: _kill_within(stage, 8, way),
        "while starting": lambda: _kill_within(stage, 1.5, way),
        "while polling": lambda: _on(stage, "asked", stage.random.randint(1, 4 * len(stage.script)), way),
        "before the answer": lambda: _on(stage, "arrived", stage.random.randint(1, 4), way),
        "after the answer": lambda: _on(stage, "arrived", stage.random.randint(1, 4), way, within=0.03),
    }
    ways[way]()
    with suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await stage.process.wait()
    stage.asked = stage.arrived = lambda: None
    if stage.process.returncode is None:
        stage.kill("at last")


def _kill_within(stage: Stage, seconds: float, way: str) -> None:
    struck = partial(_kill_life, stage, stage.life.number, way)
    asyncio.get_running_loop().call_later(stage.random.uniform(0, seconds), struck)


def _kill_life(stage: Stage, number: int, way: str) -> None:
    """Only the life that it was meant for."""
    if stage.life.number == number:
        stage.kill(way)


def _on(stage: Stage, occasion: str, count: int, way: str, *, within: float = 0) -> None:
    """Strike at the so-many-th occasion of this life, or a moment after it."""
    left = count

    def happened() -> None:
        nonlocal left
        left -= 1
        if left == 0 and within:
            _kill_within(stage, within, way)
        elif left == 0:
            stage.kill(way)

    setattr(stage, occasion, happened)


async def _settle(stage: Stage, world: list[asyncio.Task[None]]) -> None:
    """The last life: nothing fails any more, and everything that waits is delivered."""
    for task in world:
        task.cancel()
    await asyncio.gather(*world, return_exceptions=True)
    assert all(receiver.behaviour is Behaviour.TAKE for receiver in stage.receivers.values())
    await stage.start()
    await stage.settle()

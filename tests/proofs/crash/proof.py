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
from tests.proofs.crash.stage import CHANNELS, Stage, stage
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
    async with stage(folder, database_url, seed=seed, organizations=organizations) as one:
        settings = one.write_config()
        world = [asyncio.create_task(one.walk())]
        world += [asyncio.create_task(one.trouble(r, longest=outage)) for r in one.receivers.values()]
        for number in count():
            if number >= kills and _demanded(one, settings) >= least_demanded:
                break
            await one.start()
            await _live(one, one.random.choice(WAYS), longest_life)
            await one.bury()
            if number % 20 == 19:
                print(f"{number + 1} kills, {len(one.seen.arrivals)} arrivals, {loop.time() - began:.0f} s", flush=True)
        await _calm(one, world)
        if (code := await one.stop()) != 0:
            raise RuntimeError(f"stopped in peace, it ended with {code}")
        rules, heard = _expectations(one, settings)
        counts = weigh(one, rules, heard)
        counts.seconds = loop.time() - began
        return counts


def _expectations(one: Stage, settings: Settings) -> tuple[dict[str, Rules], dict[str, dict[str, Severity]]]:
    """The rules of each organization, and the least severity of each channel that hears of it."""
    organizations = {scripted.name: settings.organizations[scripted.name] for scripted in one.script}
    rules = {name: organization.rules for name, organization in organizations.items()}
    return rules, {name: _hearing(organization.notify) for name, organization in organizations.items()}


def _demanded(one: Stage, settings: Settings) -> int:
    """How many notifications the script demands so far."""
    rules, heard = _expectations(one, settings)
    return sum(len(demanded(scripted, rules[scripted.name], heard[scripted.name])) for scripted in one.script)


def _hearing(notify: tuple[str, ...] | None) -> dict[str, Severity]:
    return {name: CHANNELS[name] for name in (notify if notify is not None else CHANNELS)}


async def _live(one: Stage, way: str, longest: float) -> None:
    """Let the daemon run until the instant of its death."""
    assert one.process is not None
    ways: dict[str, Callable[[], None]] = {
        "at any instant": lambda: _strike_within(one, 8, way),
        "while starting": lambda: _strike_within(one, 1.5, way),
        "while polling": lambda: _on(one, "asked", one.random.randint(1, 4 * len(one.script)), way),
        "before the answer": lambda: _on(one, "arrived", one.random.randint(1, 4), way),
        "after the answer": lambda: _on(one, "arrived", one.random.randint(1, 4), way, within=0.03),
    }
    ways[way]()
    with suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await one.process.wait()
    one.asked = one.arrived = lambda: None
    if one.process.returncode is None:
        one.strike("at last")


def _strike_within(one: Stage, seconds: float, way: str) -> None:
    struck = partial(_strike_life, one, one.life.number, way)
    asyncio.get_running_loop().call_later(one.random.uniform(0, seconds), struck)


def _strike_life(one: Stage, number: int, way: str) -> None:
    """Only the life that it was meant for."""
    if one.life.number == number:
        one.strike(way)


def _on(one: Stage, occasion: str, count: int, way: str, *, within: float = 0) -> None:
    """Strike at the so-many-th occasion of this life, or a moment after it."""
    left = count

    def happened() -> None:
        nonlocal left
        left -= 1
        if left == 0 and within:
            _strike_within(one, within, way)
        elif left == 0:
            one.strike(way)

    setattr(one, occasion, happened)


async def _calm(one: Stage, world: list[asyncio.Task[None]]) -> None:
    """The last life: nothing fails any more, and everything that waits is delivered."""
    for task in world:
        task.cancel()
    await asyncio.gather(*world, return_exceptions=True)
    assert all(receiver.behaviour is Behaviour.TAKE for receiver in one.receivers.values())
    await one.start()
    await one.settle()

"""From the fall of a balance at the vendor to the alert at the receiver: the real daemon, polling every second.

`python -m benchmarks.latency [ORGANIZATIONS [FALLS]]`.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

from benchmarks.cost import KEY, config, environment
from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor

SPAN = 4.0  # seconds between falls, and as much again at most by chance


async def measure(organizations: int, falls: int) -> list[float]:
    """Return the seconds of each alert."""
    watched = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in range(organizations)]
    arrived: dict[str, float] = {}

    def receive(message: Received) -> None:
        for number in range(organizations):
            if f"o{number} " in message.title or f"o{number} " in message.message:
                arrived.setdefault(f"o{number}", time.monotonic())

    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor({KEY: [one.id for one in watched]}, watched))
        receiver = await stack.enter_async_context(Receiver(receive))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = config(folder, vendor.url, "1s", organizations)
        path.write_text(path.read_text().replace("[rules]", '[rules]\nrunway = "off"') + "[channels.ops]\n")
        environ = environment() | {"CREDIT_MONITOR_CHANNELS__OPS__URL": receiver.url()}
        command = (sys.executable, "-m", "monitor", "run", "--config", str(path))
        process = await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.DEVNULL)
        try:
            await asyncio.sleep(5 + organizations / 100)
            return [await _fall(watched, number, arrived) for number in range(falls)]
        finally:
            process.terminate()
            await process.wait()


async def _fall(watched: list[SandboxOrganization], number: int, arrived: dict[str, float]) -> float:
    await asyncio.sleep(SPAN * (1 + random.random()))
    began = time.monotonic()
    watched[number].credits = Decimal(900)
    while f"o{number}" not in arrived:  # noqa: ASYNC110 -- what it waits for is another process
        await asyncio.sleep(0.01)
    return arrived[f"o{number}"] - began


def main() -> None:
    organizations, falls = [*map(int, sys.argv[1:]), *(30, 20)[len(sys.argv) - 1 :]]
    seconds = sorted(asyncio.run(measure(organizations, falls)))
    print(
        f"{organizations} organizations, {falls} falls: "
        f"median {statistics.median(seconds):.2f} s, worst {seconds[-1]:.2f} s"
    )


if __name__ == "__main__":
    main()

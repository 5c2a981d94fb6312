"""From the fall of a balance at the vendor to the alert at the receiver: the real daemon, polling every second.

`python -m benchmarks.latency [--organizations 30 1000] [--database sqlite|postgresql] [--falls 20] [--check]`.  With
`--check` the daemon polls once an hour, `credit-monitor check` is started at the fall, and the time runs from its first
question to the vendor.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

from benchmarks.cost import KEY, config, environment
from benchmarks.measure import more, table
from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from tests.proofs.crash.__main__ import database

SPAN = 4.0  # seconds between falls, and as much again at most by chance


async def measure(organizations: int, falls: int, database_url: str, *, by_check: bool) -> list[float]:
    """Return the seconds of each alert."""
    watched = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in range(organizations)]
    arrived: dict[str, float] = {}

    def receive(message: Received) -> None:
        for number in range(falls):
            if f"o{number} " in message.title or f"o{number} " in message.message:
                arrived.setdefault(f"o{number}", time.monotonic())

    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor({KEY: [one.id for one in watched]}, watched))
        receiver = await stack.enter_async_context(Receiver(receive))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = config(folder, vendor.url, "1h" if by_check else "1s", organizations)
        text = path.read_text().replace("[rules]", '[rules]\nrunway = "off"').replace('"1d"', '"3d"')
        path.write_text(text.replace(f"sqlite:///{folder}/bench.db", database_url) + "[channels.ops]\n")
        environ = environment() | {"CREDIT_MONITOR_CHANNELS__OPS__URL": receiver.url()}
        process = await _start("run", path, environ)
        try:
            await asyncio.sleep(5 + organizations / 100)
            seconds = []
            for number in range(falls):
                await asyncio.sleep(SPAN * (1 + random.random()))
                began = time.monotonic()
                watched[number].credits = Decimal(900)
                if by_check:
                    asked = len(vendor.requests)
                    checking = await _start("check", path, environ)
                    while len(vendor.requests) == asked:  # noqa: ASYNC110 -- likewise
                        await asyncio.sleep(0.01)
                    began = time.monotonic()
                while f"o{number}" not in arrived:  # noqa: ASYNC110 -- what it waits for is another process
                    await asyncio.sleep(0.01)
                seconds.append(arrived[f"o{number}"] - began)
                if by_check:
                    await checking.wait()
            return seconds
        finally:
            process.terminate()
            await process.wait()


async def _start(command: str, path: Path, environ: dict[str, str]) -> asyncio.subprocess.Process:
    nowhere = asyncio.subprocess.DEVNULL
    arguments = (sys.executable, "-m", "monitor", command, "--config", str(path))
    return await asyncio.create_subprocess_exec(*arguments, env=environ, stdout=nowhere, stderr=nowhere)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.latency", description=__doc__)
    parser.add_argument("--organizations", type=int, nargs="*", default=[30, 1000])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--falls", type=int, default=20)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = []
    for kind in options.database:
        for organizations in options.organizations:
            with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
                measured = measure(organizations, options.falls, url, by_check=options.check)
                seconds = sorted(asyncio.run(measured))
            load = os.getloadavg()[0]
            row = (kind, f"{organizations:,}", f"{statistics.median(seconds):.2f}", f"{seconds[-1]:.2f}", f"{load:.0f}")
            more(" ".join(row))
            rows.append(row)
    print(f"\nSeconds from the fall to the receiver, {options.falls} falls each{', by check' * options.check}")
    table(("database", "organizations", "median", "worst", "load of the machine"), rows)


if __name__ == "__main__":
    main()

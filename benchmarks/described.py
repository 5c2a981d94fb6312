"""CPU of one check of a described vendor beside Stability's, in one run; and memory where no description is used.

The server is a process of its own, so that only the monitor's work is counted.
"""

import asyncio
import multiprocessing
import subprocess
import sys
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from statistics import median
from typing import Final

from monitor.config.vendors import built_in
from monitor.model import Generation
from monitor.providers import Access, Provider, open_provider
from monitor.sandbox.loopback import Loopback, Reply, Request

CHECKS: Final = 1500  # of each vendor in a round
ROUNDS: Final = 7
AT_ONCE: Final = 10
VENDORS: Final = ("openrouter", "deepseek", "telnyx", "twocaptcha", "venice")
MOST: Final = 1.3  # times what a check of Stability costs


BODIES: Final = {
    built_in(name).url.fill({}, "http://x").removeprefix("http://x").partition("?")[0]: built_in(name).samples[0].body  # type: ignore[union-attr]
    for name in VENDORS
}


def _answer(request: Request) -> Reply:
    body = BODIES.get(request.path.partition("?")[0], '{"credits": 0.6336833840314097}')
    return Reply(body=body.encode())


def _serve(port: Connection) -> None:
    async def run() -> None:
        server = Loopback(_answer)
        await server.start()
        port.send(server.port)
        await asyncio.Event().wait()

    asyncio.run(run())


def _open(name: str | None, base_url: str) -> Provider:
    description = built_in(name) if name else None
    access = Access(base_url, "sk-key", Generation.V1, None, timedelta(seconds=30), description=description)
    return open_provider(access)


async def _cost(provider: Provider) -> float:
    """Seconds of CPU for one check."""

    async def work() -> None:
        for _ in range(CHECKS // AT_ONCE):
            await provider.fetch(None)

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return (time.process_time() - began) / CHECKS


async def _measure(url: str) -> dict[str, list[float]]:
    providers = {name: _open(name, url) for name in VENDORS} | {"stability": _open(None, url)}
    costs: dict[str, list[float]] = {name: [] for name in providers}
    for _ in range(ROUNDS):
        for name, provider in providers.items():
            costs[name].append(await _cost(provider))
    for provider in providers.values():
        await provider.aclose()
    return costs


def _memory(code: str) -> tuple[int, bool]:
    """Resident KiB of a new process after some code, and whether that loaded the library of paths."""
    script = f"import sys\n{code}\nprint(open('/proc/self/status').read().split('VmRSS:')[1].split()[0],"
    script += " 'jsonpath_rfc9535' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    return int(shown[0]), shown[1] == "True"


def main() -> int:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    port = ours.recv()
    costs = asyncio.run(_measure(f"http://127.0.0.1:{port}"))
    server.terminate()
    stability = median(costs["stability"])
    worst = 0.0
    for name, each in costs.items():
        ratios = median(cost / base for cost, base in zip(each, costs["stability"], strict=True))
        worst = max(worst, ratios)
        print(f"{name:<12} {median(each) * 1e6:7.0f} µs a check, {ratios:.2f} of Stability's")
    plain = "import monitor.providers.stability, monitor.config"
    for what, code in {
        "without a description": plain,
        "with one": f"{plain}\nimport monitor.providers.described",
    }.items():
        resident, has_paths = _memory(code)
        print(f"{what}: {resident / 1024:.1f} MiB resident, library of paths {'loaded' if has_paths else 'not loaded'}")
    print(
        f"Stability {stability * 1e6:.0f} µs; at most {MOST} of it is promised: {'kept' if worst <= MOST else 'BROKEN'}"
    )
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())

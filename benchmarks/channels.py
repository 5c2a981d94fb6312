"""How soon a healthy channel hears of a fall beside channels that hang, and what that takes of memory and tasks.

A real daemon, held to the limits of its systemd unit by control groups where they can be made (that takes root).
`python -m benchmarks.channels [json|jsons|mailto|slow] [COUNT ...]`; `slow` ones answer, after eight seconds.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from benchmarks.measure import more, table
from monitor.sandbox import Behaviour, Received, Receiver, SandboxOrganization, Vendor
from tests.support import daemon
from tests.support.wait import until

KEY = "sk-" + "b" * 48
COUNTS = (0, 20, 50)
LIMITS = {"memory": 512 * 2**20, "pids": 128}  # MemoryMax and TasksMax of systemd/credit-monitor.service
FILES = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}
STEPS = (  # balance, and seconds until the next; a message that is worse ends the one that hangs after 10 s
    ("first message", 900, 3),
    ("while they hang", 100, 40),
    ("when they have hung twice", 5000, 3),
)
SLOWNESS = 8.0  # seconds
URLS = {
    "json": "json://127.0.0.1:{port}/{number}",
    "slow": "json://127.0.0.1:{port}/{number}",
    "jsons": "jsons://127.0.0.1:{port}/{number}",
    "mailto": "mailto://127.0.0.1:{port}/?from=a@example.com&to=b{number}@example.com",
}
CONFIG = """
[database]
url = "sqlite:///{folder}/bench.db"
[poll]
every = "1s"
[rules]
credits = {{ warning = 1000, critical = 200 }}
runway = "off"
[accounts.bench]
base_url = "{url}"
rate_limit = "off"
[organizations.farm]
id = "org-1"
[organizations.video]
id = "org-2"
[organizations.sound]
id = "org-3"
"""


@dataclass
class Usage:
    """The most that a daemon and its descendants took."""

    pss: float = 0  # MiB
    tasks: int = 0
    children: int = 0
    group: float | None = None  # MiB, as the control group counts: with page tables and caches
    killed: int = 0  # for want of memory


@dataclass
class Stage:
    """A daemon, its vendor, a healthy channel, and what arrived there and when."""

    folder: Path
    environ: Mapping[str, str]
    vendor: Vendor
    healthy: Receiver
    arrivals: list[float]
    groups: list[Path]
    usage: Usage = field(default_factory=Usage)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        def join() -> None:
            for group in self.groups:
                (group / "cgroup.procs").write_text("0")

        asked = len(self.vendor.requests)
        self.process = await daemon.launch(self.folder, self.environ, log=self.folder / "log", before=join)
        await until(lambda: len(self.vendor.requests) > asked)

    async def stop(self) -> None:
        assert self.process is not None
        await daemon.stop(self.process)

    def fall(self, balance: int, organization: str = "org-1") -> None:
        self.vendor.organizations[organization].credits = Decimal(balance)

    async def latency(self, balance: int, organization: str = "org-1") -> float:
        """Seconds from a new balance at the vendor until the healthy channel has heard of it."""
        heard, began = len(self.arrivals), time.monotonic()
        self.fall(balance, organization)
        await until(lambda: len(self.arrivals) > heard)
        return self.arrivals[-1] - began

    async def latency_after_hanging(self) -> float:
        """The same when the healthy channel, too, hung the last time."""
        self.healthy.behaviour = Behaviour.HANG
        self.fall(900, "org-2")
        await asyncio.sleep(15)
        self.healthy.behaviour = Behaviour.TAKE
        return await self.latency(100, "org-2")

    async def latency_of_start(self) -> float:
        """The same from the first poll of a daemon that is started: it begins with every channel at once."""
        await self.stop()
        self.fall(900, "org-3")
        heard = len(self.arrivals)
        await self.start()
        began = time.monotonic()
        await until(lambda: len(self.arrivals) > heard)
        return self.arrivals[-1] - began

    async def sample(self) -> None:
        """Note what is taken, again and again."""
        while True:
            await asyncio.sleep(0.25)
            assert self.process is not None
            family = list(descendants(self.process.pid))
            usage = self.usage
            usage.pss = max(usage.pss, sum(map(pss, family)) / 1024)
            usage.tasks = max(usage.tasks, sum(map(tasks, family)))
            usage.children = max(usage.children, len(family) - 2)  # without the daemon and the template

    def read_groups(self) -> None:
        for group in self.groups:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with suppress(OSError):
                    self.usage.group = int((group / name).read_text()) / 2**20
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    counts = dict(line.split() for line in (group / name).read_text().splitlines())
                    self.usage.killed = int(counts.get("oom_kill", 0))


def descendants(process_id: int) -> Iterator[int]:
    yield process_id
    for thread in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(OSError):
            for child in thread.read_text().split():
                yield from descendants(int(child))


def pss(process_id: int) -> int:
    """Proportional memory, KiB: what is shared by several counts once."""
    try:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def tasks(process_id: int) -> int:
    return len(list(Path(f"/proc/{process_id}/task").glob("*")))


@contextmanager
def limited() -> Iterator[list[Path]]:
    """Control groups with the unit's limits, version 2 or 1; fewer where they cannot be made."""
    groups = []
    root = Path("/sys/fs/cgroup")
    for controller, limit in LIMITS.items():
        for place, file in zip((root, root / controller), FILES[controller], strict=True):
            group = place / f"credit-monitor-bench-{controller}-{os.getpid()}"
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / file).exists():  # else another version's, or no control group at all
                (group / file).write_text(str(limit))
                groups.append(group)
                break
            group.rmdir()
    try:
        yield groups
    finally:
        for group in groups:
            with suppress(OSError):
                group.rmdir()


@asynccontextmanager
async def silent(kind: str) -> AsyncIterator[int]:
    """The port of a receiver that accepts every connection and never says a word; `slow`: or only late."""
    kept = []

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        if kind == "slow":
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            asyncio.get_running_loop().call_later(SLOWNESS, writer.write, answer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=256)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in kept:
            writer.close()


@asynccontextmanager
async def stage(kind: str, hanging: int) -> AsyncIterator[Stage]:
    arrivals: list[float] = []

    def arrived(_: Received) -> None:
        arrivals.append(time.monotonic())

    names = [f"org-{number}" for number in (1, 2, 3)]
    watched = [SandboxOrganization(name, name, Decimal(5000)) for name in names]
    async with Vendor({KEY: names}, watched) as vendor, Receiver(arrived) as healthy, silent(kind) as port:
        urls = {f"hanging-{n:02}": URLS[kind].format(port=port, number=n) for n in range(hanging)}
        urls["healthy"] = healthy.url()  # the last one, and so the last to be started
        with tempfile.TemporaryDirectory() as name, limited() as groups:
            folder = Path(name)
            (folder / "config.toml").write_text(
                CONFIG.format(folder=folder, url=vendor.url) + "".join(f"[channels.{channel}]\n" for channel in urls)
            )
            one = Stage(folder, daemon.environment({"bench": KEY}, urls), vendor, healthy, arrivals, groups)
            await one.start()
            sampling = asyncio.create_task(one.sample())
            try:
                await asyncio.sleep(3)
                yield one
            finally:
                sampling.cancel()
                one.read_groups()
                await one.stop()


async def measure(kind: str, hanging: int) -> tuple[dict[str, float], Usage]:
    seconds: dict[str, float] = {}
    async with stage(kind, hanging) as one:
        for what, balance, pause in STEPS:
            seconds[what] = await one.latency(balance)
            await asyncio.sleep(pause)
        seconds["when it hung, too"] = await one.latency_after_hanging()
        seconds["from a start"] = await one.latency_of_start()
        await asyncio.sleep(3)
    more(f"{hanging} hanging ({kind}): {', '.join(f'{what} {took:.1f} s' for what, took in seconds.items())}")
    return seconds, one.usage


def main() -> None:
    kind, *counts = sys.argv[1:] or ["json"]
    results = {hanging: asyncio.run(measure(kind, hanging)) for hanging in map(int, counts or COUNTS)}
    steps, _ = next(iter(results.values()))
    print(f"\nSeconds from a fall at the vendor to a healthy channel ({kind}; polls every second)")
    table(
        ("hanging", *steps, "PSS, MiB", "group, MiB", "killed", "tasks", "children", "load"),
        [
            (
                f"{hanging}",
                *(f"{took:.1f}" for took in seconds.values()),
                f"{usage.pss:.0f}",
                "-" if usage.group is None else f"{usage.group:.0f}",
                f"{usage.killed}",
                f"{usage.tasks}",
                f"{usage.children}",
                f"{os.getloadavg()[0]:.0f}",
            )
            for hanging, (seconds, usage) in results.items()
        ],
    )


if __name__ == "__main__":
    main()

"""`python -m tests.proofs.soak [--minutes 10] [--days 30] [--organizations 500]`: a month in the life of one daemon.

The daemon's process is the real one but for its wall clock, which is made to run fast here, before it begins: `daemon`
is the only reader of it.  Monotonic clocks, time-outs and the schedule run as ever, so a poll a second stands for a
poll every 72 minutes: a month of alerts, reminders, history and forecasts, and six hundred polls.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from benchmarks.cost import snapshots
from monitor import cli
from monitor.daemon import process
from monitor.sandbox import Behaviour, Fault, Receiver, SandboxOrganization, Vendor
from tests.proofs.faults.measure import Sample, sample
from tests.support import daemon

KEY = "sk-soak0000000000000000000000000000000000000000000001"
CALM = 10.0  # seconds at the start in which the clock is the machine's: the first poll is due by that one
WINDOW = 30.0  # seconds in which wake-ups are counted
IDLE = 60.0
HEAD = "\n| day | snapshots | memory MiB (PSS) | descriptors | threads | database MiB | wake-ups a minute | … a check |"


# --- the daemon's process ---------------------------------------------------------------------------------------------


def run_fast(speed: float, command: Sequence[str]) -> None:
    """Be the daemon, with a wall clock that runs so many times as fast; `command` is what follows `credit-monitor`."""
    plain, began = process.wall_clock, time.monotonic()

    def fast() -> object:
        ahead = max(time.monotonic() - began - CALM, 0) * (speed - 1)
        return plain() + timedelta(seconds=ahead)

    process.wall_clock = fast
    sys.argv = ["credit-monitor", *command]
    cli.main()


async def start(folder: Path, speed: float) -> asyncio.subprocess.Process:
    program = ("-m", "tests.proofs.soak", "--speed", str(speed))
    environ = daemon.environment({"studio": KEY}, {})
    return await daemon.launch(folder, environ, log=folder / "daemon.log", program=program)


# --- the world --------------------------------------------------------------------------------------------------------


def write_config(folder: Path, vendor: Vendor, receiver: Receiver, *, every: str) -> None:
    (folder / "config.toml").write_text(
        f'[database]\nurl = "sqlite:///{folder}/bench.db"\n[poll]\nevery = "{every}"\n[rules]\nstale_after = "1d"\n'
        f'[accounts.studio]\nbase_url = "{vendor.url}"\nrate_limit = "off"\norganizations = "all"\n'
        f'[channels.ops]\nurl = "{receiver.url()}"\n'
    )


def course(number: int, seed: int) -> Iterator[Decimal]:
    """Balances of one organization: used up day by day, and topped up; one in five comes near its end now and then."""
    drawn = random.Random(f"{seed}-{number}")
    left = drawn.uniform(20_000, 40_000)
    use = left / drawn.uniform(60, 240)
    while True:
        left -= use * drawn.uniform(0, 2)
        if left < (150 if number % 5 == 0 else 15_000):
            left += drawn.uniform(20_000, 30_000)
        yield round(Decimal(left), 2)


async def go_wrong_now_and_then(vendor: Vendor, receiver: Receiver, drawn: random.Random) -> None:
    """A month has bad days: the vendor fails for a poll or ten, the receiver refuses for a while."""
    while True:
        await asyncio.sleep(drawn.uniform(10, 40))
        vendor.fault = drawn.choice((Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.RESET, Fault.NULL))
        await asyncio.sleep(drawn.uniform(1, 10))
        vendor.fault = None
        receiver.behaviour = Behaviour.REFUSE
        await asyncio.sleep(drawn.uniform(1, 5))
        receiver.behaviour = Behaviour.TAKE


# --- what is measured -------------------------------------------------------------------------------------------------


async def wakeups(pid: int, seconds: float) -> float:
    """How often its threads were woken, a minute."""
    before = sample(pid).wakeups
    await asyncio.sleep(seconds)
    return (sample(pid).wakeups - before) * 60 / seconds


def size(folder: Path) -> float:
    """Of the database, MiB."""
    return sum(path.stat().st_size for path in folder.glob("bench.db*")) / 2**20


async def line(folder: Path, pid: int, day: float) -> str:
    before = snapshots(folder)
    woken = await wakeups(pid, WINDOW)
    seen: Sample = sample(pid)
    checks = max(snapshots(folder) - before, 1)
    return (
        f"| {day:.0f} | {snapshots(folder):,} | {seen.memory:.1f} | {seen.descriptors} | {seen.threads} "
        f"| {size(folder):.1f} | {woken:,.0f} | {woken * WINDOW / 60 / checks:.1f} |"
    )


async def idle(folder: Path) -> str:
    """A daemon on this database between two polls that are five minutes apart, by the machine's clock."""
    running = await start(folder, 1)
    await asyncio.sleep(15)
    woken, seen = await wakeups(running.pid, IDLE), sample(running.pid)
    await daemon.stop(running)
    return f"{woken:.0f} wake-ups a minute, {seen.memory:.1f} MiB"


async def soak(*, minutes: float, days: float, organizations: int, seed: int) -> int:
    """Print the table; return the exit code."""
    folder, messages = Path(tempfile.mkdtemp(prefix="soak-")), []
    courses = [course(n, seed) for n in range(organizations)]
    listed = [
        SandboxOrganization(f"org-{n}", f"Organization {n}", partial(next, balances))
        for n, balances in enumerate(courses)
    ]
    vendor = Vendor({KEY: [organization.id for organization in listed]}, listed)
    seconds = minutes * 60
    async with vendor, Receiver(messages.append) as receiver:
        write_config(folder, vendor, receiver, every="5m")
        print(f"idle, at the start: {await idle(folder)}", flush=True)
        write_config(folder, vendor, receiver, every="1s")
        running = await start(folder, days * 86_400 / seconds)
        troubles = asyncio.create_task(go_wrong_now_and_then(vendor, receiver, random.Random(seed)))
        print(HEAD)
        print("|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        began = time.monotonic()
        await asyncio.sleep(CALM + 30)
        for share in (0, 0.1, 0.25, 0.5, 0.75, 1):
            await asyncio.sleep(max(began + CALM + share * seconds - WINDOW - time.monotonic(), 0))
            day = (time.monotonic() + WINDOW - began - CALM) / seconds * days
            print(await line(folder, running.pid, day), flush=True)
        troubles.cancel()
        code = await daemon.stop(running)
        write_config(folder, vendor, receiver, every="5m")
        print(f"\nidle, at the end: {await idle(folder)}")
    log = (folder / "daemon.log").read_text(errors="replace")
    print(
        f"{len(messages):,} messages; {log.count('Traceback')} tracebacks; {len(log.splitlines()):,} lines; exit {code}"
    )
    return int(code != 0 or "Traceback" in log)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.proofs.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of real time")
    parser.add_argument("--days", type=float, default=30, help="of simulated time")
    parser.add_argument("--organizations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    # The daemon's process is this program, too, and is started like every other one.
    parser.add_argument("--speed", type=float, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.speed:
        run_fast(given.speed, given.command)
        return
    kept = {"days": given.days, "organizations": given.organizations, "seed": given.seed}
    sys.exit(asyncio.run(soak(minutes=given.minutes, **kept)))


if __name__ == "__main__":
    main()

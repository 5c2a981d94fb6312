"""What watching costs: CPU of a check beside a bare loop of the same HTTP client, memory, and start-up.

Every measurement runs in a process of its own, against the simulated vendor in another.
"""

import asyncio
import json
import os
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY = "sk-" + "b" * 48
SIZES = (10, 100, 1000)
ROUNDS = 3
CHECKS = 2000  # for each size and round
FLAT_POLLS = 1000


@contextmanager
def vendor(organizations: int) -> Iterator[str]:
    """The simulated vendor as a process; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.toml"
        ids = [f"org-{n}" for n in range(organizations)]
        tables = "".join(f'[organizations.{id_}]\ncredits = "5000.25"\n' for id_ in ids)
        script.write_text(f"[keys]\n{json.dumps(KEY)} = {json.dumps(ids)}\n{tables}")
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor.sandbox", "--script", script], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()


def config(folder: Path, url: str, every: str, organizations: int) -> Path:
    listed = "".join(f'[organizations.o{n}]\nid = "org-{n}"\n' for n in range(organizations))
    path = folder / "config.toml"
    path.write_text(
        f'[database]\nurl = "sqlite:///{folder}/bench.db"\n[poll]\nevery = "{every}"\n[rules]\nstale_after = "1d"\n'
        f'[accounts.bench]\nbase_url = "{url}"\nrate_limit = "off"\n{listed}'
    )
    return path


def environment() -> dict[str, str]:
    return os.environ | {"CREDIT_MONITOR_ACCOUNTS__BENCH__API_KEY": KEY}


# --- CPU of a check ---------------------------------------------------------------------------------------------------


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def bare(url: str, organizations: int) -> float:
    """CPU seconds a request of a bare loop: the same client, transport and number in flight, and nothing else."""
    import httpx
    from httpx_aiohttp import AiohttpTransport

    from monitor.poll.poller import IN_FLIGHT

    async with httpx.AsyncClient(transport=AiohttpTransport(verify=False)) as client:

        async def work(ids: Iterator[int]) -> None:
            for n in ids:
                headers = {"Authorization": f"Bearer {KEY}", "Organization": f"org-{n}", "Accept": "application/json"}
                (await client.get(f"{url}/v1/user/balance", headers=headers)).json()

        async def once() -> None:
            ids = iter(range(organizations))
            await asyncio.gather(*(work(ids) for _ in range(min(IN_FLIGHT, organizations))))

        await once()
        rounds = max(1, CHECKS // organizations)
        began = cpu()
        for _ in range(rounds):
            await once()
        return (cpu() - began) / (rounds * organizations)


async def ours(url: str, organizations: int) -> float:
    """CPU seconds a check of ours: fetch, record, judge, on SQLite."""
    from monitor import app
    from monitor import config as configuration
    from monitor.daemon.process import wall_clock

    with tempfile.TemporaryDirectory() as folder:
        settings = configuration.load(config(Path(folder), url, "5m", organizations), environment())
        parts = app.open_parts(settings, app.open_database(settings), clock=wall_clock)
        (poll,) = parts.polls
        await poll.run()
        rounds = max(1, CHECKS // organizations)
        began = cpu()
        for _ in range(rounds):
            await poll.run()
        spent = (cpu() - began) / (rounds * organizations)
        await parts.close()
        return spent


def alone(what: str, url: str, organizations: int) -> float:
    """One measurement in a process of its own, milliseconds."""
    command = [sys.executable, "-m", "benchmarks.cost", what, url, str(organizations)]
    return float(subprocess.check_output(command, env=environment(), text=True)) * 1000


def print_cpu() -> None:
    print(
        f"\nCPU of a check, milliseconds (median of {ROUNDS} ratios; the bare loop uses the same client and transport)"
    )
    print(f"{'organizations':>14}{'bare loop':>12}{'ours':>10}{'ratio':>8}")
    for size in SIZES:
        with vendor(size) as url:
            pairs = [(alone("bare", url, size), alone("ours", url, size)) for _ in range(ROUNDS)]
        ratio = statistics.median(b / a for a, b in pairs)
        least = [min(column) for column in zip(*pairs, strict=True)]
        print(f"{size:>14}{least[0]:>12.3f}{least[1]:>10.3f}{ratio:>8.2f}")


# --- the daemon -------------------------------------------------------------------------------------------------------


def resident(pid: int) -> float:
    """Resident memory, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def daemon(folder: Path, url: str, every: str, organizations: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "monitor", "run", "--config", config(folder, url, every, organizations)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def snapshots(folder: Path) -> int:
    """How many snapshots are stored; 0 while there is no table yet."""
    try:
        with sqlite3.connect(f"file:{folder}/bench.db?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM snapshots").fetchone()[0])
    except sqlite3.Error:
        return 0


def until_stored(folder: Path, count: int, step: float) -> None:
    while snapshots(folder) < count:
        time.sleep(step)


def first_snapshot(url: str) -> tuple[float, float]:
    """Seconds from start to the first stored snapshot: with an empty database, and with one that is there."""
    with tempfile.TemporaryDirectory() as name:
        times = []
        for already in (0, 1):
            began = time.monotonic()
            with daemon(Path(name), url, "1s", 1):
                until_stored(Path(name), snapshots(Path(name)) + 1 if already else 1, 0.005)
                times.append(time.monotonic() - began)
            time.sleep(1.1)  # so that the next start finds its poll due
        return times[0], times[1]


def print_daemon() -> None:
    with vendor(1) as url:
        starts = [first_snapshot(url) for _ in range(ROUNDS)]
    print(
        f"\nstart to first stored snapshot: {statistics.median(s[0] for s in starts):.2f} s with an empty database, "
        f"{statistics.median(s[1] for s in starts):.2f} s with one that is there"
    )
    with vendor(1000) as url, tempfile.TemporaryDirectory() as name, daemon(Path(name), url, "2s", 1000) as process:
        until_stored(Path(name), 10_000, 0.5)
        print(f"daemon, 1,000 organizations, after 10 polls, first start: {resident(process.pid):.1f} MiB")
        restart = Path(name)
        process.send_signal(signal.SIGTERM)
        process.wait()
        with daemon(restart, url, "2s", 1000) as again:
            until_stored(restart, snapshots(restart) + 10_000, 0.5)
            print(f"daemon, 1,000 organizations, after 10 polls, restarted: {resident(again.pid):.1f} MiB")


def print_flat() -> None:
    with vendor(20) as url, tempfile.TemporaryDirectory() as name, daemon(Path(name), url, "1s", 20) as process:
        marks = (20, FLAT_POLLS // 2, FLAT_POLLS)
        memory = []
        for polls in marks:
            until_stored(Path(name), polls * 20, 0.5)
            memory.append(f"{resident(process.pid):.1f}")
        print(f"daemon, 20 organizations, after {', '.join(map(str, marks))} polls: {', '.join(memory)} MiB")


def print_help() -> None:
    command = [sys.executable, "-m", "monitor", "--help"]
    times = []
    for _ in range(7):
        began = time.monotonic()
        subprocess.check_output(command)
        times.append(time.monotonic() - began)
    print(f"credit-monitor --help: {statistics.median(times) * 1000:.0f} ms")


def main(*, flat: bool = True) -> None:
    print_cpu()
    print_daemon()
    print_help()
    if flat:
        print_flat()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(asyncio.run({"bare": bare, "ours": ours}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
    else:
        main(flat="--quick" not in sys.argv)

"""`python -m benchmarks.capacity`: how many organizations one daemon can watch, and what that costs.

A real daemon polls a vendor without limits as fast as it can.  The vendor is a process of its own and takes processor
time of the same machine, so the checks a second of a CPU second say more than those of the clock.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.measure import more, table
from monitor.errors import DatabaseError
from monitor.store.engines import open_reader, transaction
from tests.proofs.crash.__main__ import database

SIZES = ((1_000, 10), (5_000, 20), (10_000, 50), (20_000, 100), (50_000, 100))  # organizations, accounts
SECONDS = 30.0  # of one measurement, at least
LEVELS = 'credits = { warning = 1000, critical = 200 }\nstale_after = "1d"\n'


@dataclass(frozen=True)
class Sample:
    """Where a daemon is: checks stored, CPU seconds, resident MiB, and its largest so far."""

    at: float
    checks: int
    cpu: float
    memory: float
    peak: float


@contextmanager
def vendor() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.standin"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def daemon(
    folder: Path, database_url: str, vendor_url: str, size: tuple[int, int]
) -> Iterator[subprocess.Popen[bytes]]:
    organizations, accounts = size
    keys = "".join(
        f'[accounts.a{n}]\nbase_url = "{vendor_url}"\nrate_limit = "off"\napi_key = "sk-{n:048}"\n'
        for n in range(accounts)
    )
    listed = "".join(
        f'[organizations.o{n}]\naccount = "a{n % accounts}"\nid = "org-{n}"\n' for n in range(organizations)
    )
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n[poll]\nevery = "1s"\n[rules]\n{LEVELS}{keys}{listed}')
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "monitor", "run", "--config", path], stderr=log, stdout=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def measure(kind: str, url: str, size: tuple[int, int]) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="cm-capacity-") as name, database(kind, Path(name)) as database_url:
        folder = Path(name)
        began = time.monotonic()
        with daemon(folder, database_url, url, size) as process:
            reader = open_reader(database_url)
            first = _wait(reader, process, at_least=1)
            start = first.at - began
            warm = _wait(reader, process, at_least=size[0])  # every organization once: everything has been allocated
            last = _wait(reader, process, at_least=warm.checks + 2 * size[0], seconds=SECONDS)
            reader.dispose()
        dropped = (folder / "log").read_text().count("were dropped")
        errors = sum(" ERROR " in line or "Traceback" in line for line in (folder / "log").read_text().splitlines())
    checks, cpu, seconds = last.checks - warm.checks, last.cpu - warm.cpu, last.at - warm.at
    more(f"{kind} {size}: {checks / seconds:,.0f} checks a second, {cpu / checks * 1000:.3f} ms CPU each")
    return (
        f"{size[0]:,} in {size[1]}",
        f"{checks / seconds:,.0f}",
        f"{cpu / checks * 1000:.3f} ms",
        f"{cpu / seconds:.0%}",
        f"{checks / cpu * 300:,.0f}",
        f"{start:.1f} s ({first.cpu:.1f} s CPU)",
        f"{last.memory:.0f} MiB ({last.peak:.0f})",
        f"{dropped + errors}",
    )


def _wait(reader: sa.Engine, process: subprocess.Popen[bytes], *, at_least: int, seconds: float = 0) -> Sample:
    began = time.monotonic()
    while True:
        assert process.poll() is None, "the daemon has ended"
        sample = _sample(reader, process.pid)
        if sample.checks >= at_least and sample.at - began >= seconds:
            return sample
        time.sleep(0.1)


def _sample(reader: sa.Engine, pid: int) -> Sample:
    try:
        with transaction(reader) as tx:
            checks = tx.exec_driver_sql("SELECT coalesce(sum(snapshots), 0) FROM balance_days").scalar_one()
    except DatabaseError:
        checks = 0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return Sample(time.monotonic(), int(checks), cpu, sizes["VmRSS"], sizes["VmHWM"])


HEAD = (
    "organizations, accounts",
    "checks a second",
    "CPU a check",
    "of one CPU",
    "checks in 5 min of CPU",
    "start to first balance",
    "memory (peak)",
    "errors",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.capacity", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--organizations", type=int, help="only this size")
    arguments = parser.parse_args()
    sizes = [size for size in SIZES if arguments.organizations in (None, size[0])]
    for kind in ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,):
        with vendor() as url:
            print(f"\n## One daemon on {kind}, polling as fast as it can")
            table(HEAD, [measure(kind, url, size) for size in sizes])
            print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()

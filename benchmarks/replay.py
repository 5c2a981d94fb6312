"""How quickly history is replayed: 100 days of snapshots five minutes apart, all rules on.

    python -m benchmarks.replay

Snapshots a second of one core's time (CPU, not waiting): the deciding alone, from a CSV file, from a SQLite database.
Beside them the peak of memory, in a process of its own, for one year and for four: it must not grow.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from monitor import backtest, config
from monitor.config import Settings
from monitor.model import Snapshot
from monitor.poll import named, rules_of
from monitor.store import accounts, engines, migrate, organizations
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import snapshots

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
A_DAY = timedelta(days=1) // STEP
ROUNDS = 5
FILE = """
[database]
url = "sqlite:///{folder}/replay.db"
[rules]
credits = {{ warning = 1000, critical = 200 }}
runway = {{ warning = "7d", critical = "2d" }}
spend = "40/1h"
confirm_checks = {confirm}
[accounts.studio]
[organizations.farm]
id = "org-farm"
"""


def history(days: int) -> Iterable[Snapshot]:
    """Busy days and quiet nights, a burst now and then, a top-up when little is left."""
    chance, balance = random.Random(7), Decimal(9000)
    for n in range(days * A_DAY):
        at = START + n * STEP
        most = 2_000_000 if 8 <= at.hour < 20 else 200_000
        balance -= Decimal(chance.randint(0, most)).scaleb(-6) * (20 if chance.random() < 0.002 else 1)
        balance += 9000 if balance < 100 else 0
        yield Snapshot(at, balance)


def settings(folder: Path, *, confirm: int = 1) -> Settings:
    path = folder / "config.toml"
    path.write_text(FILE.format(folder=folder, confirm=confirm))
    return config.load(path, {"HOME": str(folder)})


def fill(configured: Settings, days: int) -> None:
    engine = open_writer(configured.database.url)
    migrate.upgrade(engine)
    with transaction(engine) as tx:
        account = accounts.ensure_account(tx, "studio", base_url="https://api.stability.ai", generation="v1")
        organizations.ensure_organization(
            tx,
            base_url="https://api.stability.ai",
            vendor_id="org-farm",
            name="farm",
            account=account.name,
            title=None,
        )
        rows = [
            {"organization_id": 1, "taken_at": snapshot.taken_at, "credits": snapshot.credits}
            for snapshot in history(days)
        ]
        tx.execute(sa.insert(snapshots), rows)
    engine.dispose()


def from_database(configured: Settings) -> tuple[int, int]:
    engine = engines.open_reader(configured.database.url)
    led = backtest.courses(engine, configured)
    notifications = sum(1 for _ in backtest.replay(engine, led))
    engine.dispose()
    return sum(course.judged for course in led.values()), notifications


def from_snapshots(configured: Settings, known: Iterable[Snapshot]) -> tuple[int, int]:
    course = backtest.Course.begin("farm", rules_of(configured, named(configured, "farm")))
    notifications = sum(1 for _ in backtest.replay_snapshots(course, known))
    return course.judged, notifications


def measure(name: str, run: Callable[[], tuple[int, int]]) -> None:
    rates = []
    for _ in range(ROUNDS):
        began = time.process_time()
        judged, notifications = run()
        rates.append(judged / (time.process_time() - began))
    middle = sorted(rates)[ROUNDS // 2]
    print(f"{name:34}{judged:>9,}{notifications:>7,}{middle:>12,.0f}{min(rates):>10,.0f}")


def peak(days: int) -> float:
    """MiB, of a process that replays so many days from a database."""
    with tempfile.TemporaryDirectory() as folder:
        fill(settings(Path(folder)), days)
        command = [sys.executable, "-m", "benchmarks.replay", "--peak", folder]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    if "--peak" in sys.argv:
        from_database(settings(Path(sys.argv[-1])))
        status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        return
    print(f"{'':34}{'checks':>9}{'said':>7}{'median/s':>12}{'worst/s':>10}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configured, known = settings(folder), list(history(100))
        path = folder / "history.csv"
        path.write_text("taken_at,credits\n" + "".join(f"{s.taken_at.isoformat()},{s.credits}\n" for s in known))
        fill(configured, 100)
        measure("deciding alone", lambda: from_snapshots(configured, known))
        measure("from a CSV file", lambda: from_snapshots(configured, backtest.read_snapshots(path)))
        measure("from a SQLite database", lambda: from_database(configured))
        confirming = settings(folder, confirm=3)
        measure("the same, confirm_checks = 3", lambda: from_database(confirming))
    for days in (365, 4 * 365):
        print(f"peak memory for {days:,} days: {peak(days):.1f} MiB")


if __name__ == "__main__":
    main()

"""What clear levels and confirmation do: alerts per crossing of one level, on real usage with small automatic top-ups.

    python -m benchmarks.hysteresis [FOLDER]

Each series falls from 3,000 credits.  Whenever 30 minutes end below 1,000, the vendor's auto-charge adds a little (a
quarter of the series' usual use in a day): so the balance wanders around the level, as it does for people who let it.
"""

import csv
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from monitor.backtest import Course, replay_snapshots
from monitor.model import Reason, Rules, Rung, Severity, Snapshot

LEVEL = Decimal(1000)
DAYS = 15  # that 3,000 credits would last at the usual use
START = datetime(2026, 1, 1, tzinfo=UTC)


def balances(file: Path) -> Iterator[Decimal]:
    """One balance every 30 minutes."""
    rates = [float(row["rate"]) for row in csv.DictReader(file.open())]
    a_day = 3000 / DAYS
    scale = a_day / (statistics.mean(rates) * 48)
    balance = 3000.0
    for rate in rates:
        balance -= rate * scale
        yield Decimal(balance).quantize(Decimal("0.000001"))
        if balance < float(LEVEL):
            balance += a_day / 4


def alerts(walk: list[Decimal], clear: Decimal, confirm: int) -> int:
    rules = Rules(credits=(Rung(Severity.WARNING, LEVEL, clear),), confirm_checks=confirm, remind={})
    snapshots = [Snapshot(START + n * timedelta(minutes=30), balance) for n, balance in enumerate(walk)]
    notifications = replay_snapshots(Course.begin("x", rules), snapshots)
    return sum(notification.reason is Reason.OPENED for notification in notifications)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "traces"
    walks = [list(balances(file)) for file in sorted(folder.glob("*.csv"))]
    if not walks:
        sys.exit(f"no series in {folder}: name the folder that has them")
    crossings = sum(a >= LEVEL > b for walk in walks for a, b in pairwise(walk))
    print(f"{len(walks)} series, {sum(map(len, walks))} snapshots, {crossings} crossings of the level from above")
    print(f"{'rule':34}{'alerts':>8}{'per crossing':>14}")
    for name, clear, confirm in (
        ("no clear level", LEVEL, 1),
        ("clear at level + 5 % (default)", LEVEL * Decimal("1.05"), 1),
        ("default, confirm_checks = 2", LEVEL * Decimal("1.05"), 2),
        ("clear at level + 20 %", LEVEL * Decimal("1.2"), 1),
    ):
        opened = sum(alerts(walk, clear, confirm) for walk in walks)
        print(f"{name:34}{opened:>8}{opened / crossings:>14.3f}")


if __name__ == "__main__":
    main()

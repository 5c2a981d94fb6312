"""How well the runway forecast warns, beside the estimators people use today.

    python -m benchmarks.forecast [FOLDER]

FOLDER holds usage series and `runway_cases.py`, which draws the cases; by default `../shared/traces` beside the
project.  First the cases as drawn there, then harder ones: other stretches, other steps, holes, top-ups, grants that
expire.
"""

import csv
import importlib.util
import math
import random
import statistics
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from monitor.forecast import Estimator, Runway, Unknown
from monitor.model import Snapshot

WANTED = 72.0  # hours: the rule's level ...
CLEAR = WANTED * 1.25  # ... and its clear level
HISTORY = 14 * 24.0  # hours before the rule may open
STEP = 0.5
SEEDS = range(101, 106)
DRAWN = 10  # cases per series and seed

Points = list[tuple[float, float]]  # hours since the stretch began, credits; the last one is 0
Estimate = Callable[[Points, int], float]


class Stretch(NamedTuple):
    """The balances of one case."""

    series: str
    begins: datetime
    points: Points


@dataclass
class Outcome:
    """What one estimator did on one case."""

    lead: float | None = None
    raw: int = 0  # openings without a clear level, as `runway_cases.py` counts them
    alerts: int = 0  # openings with it, as the daemon counts them
    inside: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    opened_inside: bool | None = None


# --- cases ------------------------------------------------------------------------------------------------------------


def load_cases(folder: Path) -> Any:
    """The module `runway_cases` of that folder."""
    spec = importlib.util.spec_from_file_location("runway_cases", folder / "runway_cases.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def begin(file: Path) -> datetime:
    with file.open() as rows:
        return datetime.fromisoformat(next(csv.DictReader(rows))["at"]).astimezone(UTC)


def given(module: Any, folder: Path) -> list[Stretch]:
    return [
        Stretch(
            case.series,
            begin(folder / f"{case.series}.csv") + timedelta(hours=case.start * STEP),
            [(i * STEP, left) for i, left in enumerate(case.credits)],
        )
        for case in module.cases(folder)
    ]


class Reseeded:
    """Stands in for the module `random` inside `runway_cases`, so that it draws other cases from the same series."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def Random(self, name: str) -> random.Random:  # noqa: N802
        return random.Random(f"{name} {self._seed}")


def redrawn(module: Any, folder: Path, seeds: Sequence[int], per_series: int = DRAWN) -> list[Stretch]:
    stretches = []
    module.CASES_PER_SERIES = per_series
    for seed in seeds:
        module.random = Reseeded(seed)
        stretches += given(module, folder)
    return stretches


def resampled(stretch: Stretch, instants: Sequence[float]) -> Stretch:
    """The same use, seen at other instants."""
    times = [at for at, _ in stretch.points]
    points = []
    for at in instants:
        right = min(max(bisect_left(times, at), 1), len(times) - 1)
        (a, before), (b, after) = stretch.points[right - 1], stretch.points[right]
        points.append((at, before + (after - before) * (at - a) / (b - a)))
    return stretch._replace(points=[*points, stretch.points[-1]])


def every(hours: float) -> Callable[[Stretch], Stretch]:
    def step(stretch: Stretch) -> Stretch:
        return resampled(stretch, [i * hours for i in range(math.ceil(stretch.points[-1][0] / hours))])

    return step


def irregular(stretch: Stretch) -> Stretch:
    """A snapshot after 1 to 120 minutes, as it comes."""
    rng, at, instants = random.Random(stretch.begins.isoformat()), 0.0, []
    while at < stretch.points[-1][0]:
        instants.append(at)
        at += min(max(rng.expovariate(2), 1 / 60), 2)
    return resampled(stretch, instants)


def with_holes(stretch: Stretch) -> Stretch:
    """Every three days or so nothing is seen for 2 to 30 hours; not in the last five days."""
    rng, holes, at = random.Random(stretch.begins.isoformat()), [], 0.0
    while (at := at + rng.uniform(24, 120)) < stretch.points[-1][0] - 120 - 30:
        holes.append((at, at := at + rng.uniform(2, 30)))
    points = [point for point in stretch.points if not any(a < point[0] < b for a, b in holes)]
    return stretch._replace(points=points)


def with_steps(by_credits: float, times: int, first: float, last: float) -> Callable[[Stretch], Stretch]:
    """At so many instants between `first` and `last` (hours) the balance rises (or falls) at once."""

    def change(stretch: Stretch) -> Stretch:
        rng = random.Random(stretch.begins.isoformat())
        instants = [rng.uniform(first, last) for _ in range(times)]
        points = [(at, left - by_credits * sum(at < step for step in instants)) for at, left in stretch.points]
        return stretch._replace(points=points)

    return change


HARDER: dict[str, Callable[[Stretch], Stretch]] = {
    "every 5 minutes": every(1 / 12),
    "every hour": every(1),
    "every 6 hours": every(6),
    "1 to 120 minutes apart": irregular,
    "holes of 2 to 30 hours": with_holes,
    "three top-ups in the history": with_steps(3000, 3, 24, HISTORY - 24),
    "a grant of 3,000 expires": with_steps(-3000, 1, HISTORY - 96, HISTORY + 48),
}


def average(hours: float) -> Estimate:
    """Use over the last hours, continued; a top-up counts as negative use, as in people's own scripts."""

    def estimate(points: Points, now: int) -> float:
        at, left = points[now]
        since = max(0, bisect_right(points, (at - hours, math.inf)) - 1)
        rate = (points[since][1] - left) / (at - points[since][0])
        return left / rate if rate > 0 else math.inf

    return estimate


def by(estimate: Estimate) -> Callable[[Stretch], Iterator[Runway | Unknown]]:
    def runways(stretch: Stretch) -> Iterator[Runway | Unknown]:
        for now in range(1, len(stretch.points)):
            hours = estimate(stretch.points, now)
            yield Runway(hours, hours, hours)

    return runways


def snapshots(stretch: Stretch) -> list[Snapshot]:
    six = Decimal("0.000001")
    return [Snapshot(stretch.begins + timedelta(hours=at), Decimal(left).quantize(six)) for at, left in stretch.points]


def ours(stretch: Stretch) -> Iterator[Runway | Unknown]:
    usage = Estimator()
    first, *rest = snapshots(stretch)
    usage.add(first)
    for snapshot in rest:
        usage.add(snapshot)
        yield usage.runway()


def outcome(stretch: Stretch, runways: Iterator[Runway | Unknown]) -> Outcome:
    result, low, firing = Outcome(), False, False
    end = stretch.points[-1][0]
    for (at, _), runway in zip(stretch.points[1:-1], runways, strict=False):
        if at < HISTORY or isinstance(runway, Unknown):
            continue
        truth, inside = end - at, runway.low <= end - at <= runway.high
        result.inside.append(inside)
        result.widths.append((runway.high - runway.low) / runway.likely if 0 < runway.likely < math.inf else 0.0)
        below = runway.likely < WANTED
        if below and result.lead is None:
            result.lead, result.opened_inside = truth, inside
        result.raw += below and not low
        result.alerts += below and not firing
        low, firing = below, runway.likely < (CLEAR if firing else WANTED)
    return result


# --- the tables -------------------------------------------------------------------------------------------------------

HEAD = (
    f"{'estimator':22}{'cases':>7}{'median':>9}{'p90':>9}{'alerts/case':>13}{'<48 h':>10}{'<24 h':>10}"
    f"{'with clear':>12}{'inside':>9}{'at open':>9}{'width':>8}"
)


def line(module: Any, name: str, results: Sequence[Outcome], *, band: bool) -> str:
    """The row of `runway_cases.py`; alerts with a clear level; truths within low to high; the band's width."""
    row: str = module.row(name, [(result.lead, result.raw) for result in results])
    row += f"{statistics.mean(result.alerts for result in results):12.3f}"
    if band:
        row += f"{statistics.mean(statistics.mean(result.inside) for result in results):9.0%}"
        row += f"{statistics.mean(bool(result.opened_inside) for result in results):9.0%}"
        row += f"{statistics.median(statistics.median(result.widths) for result in results):8.2f}"
    return row


def table(module: Any, title: str, stretches: Sequence[Stretch], baselines: dict[str, Estimate]) -> None:
    print(f"\n{title}\n{HEAD}")
    for name, estimate in baselines.items():
        results = [outcome(stretch, by(estimate)(stretch)) for stretch in stretches]
        print(line(module, name, results, band=False), flush=True)
    results = [outcome(stretch, ours(stretch)) for stretch in stretches]
    print(line(module, "monitor.forecast", results, band=True), flush=True)


def by_series(module: Any, stretches: Sequence[Stretch]) -> None:
    print(f"\nRe-drawn, series by series\n{HEAD}")
    for series in dict.fromkeys(stretch.series for stretch in stretches):
        results = [outcome(stretch, ours(stretch)) for stretch in stretches if stretch.series == series]
        print(line(module, series[:22], results, band=True), flush=True)


def speed(stretches: Sequence[Stretch]) -> str:
    prepared = [snapshots(stretch) for stretch in stretches]
    begun = time.perf_counter()
    for history in prepared:
        usage = Estimator()
        for snapshot in history:
            usage.add(snapshot)
            usage.runway()
    took = (time.perf_counter() - begun) / sum(map(len, prepared))
    return f"{took * 1e6:.1f} µs per snapshot (add and runway), state of {len(usage.dump())} bytes"


def main() -> int:
    beside = Path(__file__).resolve().parents[2] / "shared" / "traces"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else beside
    if not (folder / "runway_cases.py").is_file():
        print(f"{folder} has no runway_cases.py: name the folder that holds the usage series", file=sys.stderr)
        return 66
    module = load_cases(folder)
    averages = {"average of 24 h": average(24), "average of 7 d": average(168)}
    cases = given(module, folder)
    linear = {f"predict_linear {h} h": by_index(module.predict_linear(h)) for h in (1, 6, 24)}
    table(module, "The cases of runway_cases.py", cases, linear | averages)
    print(speed(cases))
    others = redrawn(module, folder, SEEDS)
    table(module, "Re-drawn: other seeds, other stretches", others, averages)
    by_series(module, others)
    half = others[::2]
    for title, harder in HARDER.items():
        table(module, f"Re-drawn, {title}", [harder(stretch) for stretch in half], averages)
    return 0


def by_index(estimate: Callable[[list[float], int], float]) -> Estimate:
    """An estimator of `runway_cases.py`, which counts in steps of 30 minutes."""

    def adapted(points: Points, now: int) -> float:
        back = points[max(0, now - 100) : now + 1]
        return estimate([left for _, left in back], len(back) - 1)

    return adapted


if __name__ == "__main__":
    sys.exit(main())

"""Medians, and Markdown tables of them."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TIMES = 7
SLOW_TIMES = 5  # of what takes longer than a second; ...
SLOWEST_TIMES = 1  # ... than half a minute


@dataclass(frozen=True)
class Measured:
    """What it gives, and milliseconds: the median, and the fastest, which a busy machine disturbs least."""

    result: Any
    median: float
    fastest: float

    def __str__(self) -> str:
        return f"{self.median:,.1f} ({self.fastest:,.1f}) ms"


def measure(work: Callable[[], Any]) -> Measured:
    """How long something takes once the caches are warm."""
    began = time.perf_counter()
    result = work()
    first = time.perf_counter() - began
    count = TIMES if first < 1 else SLOW_TIMES if first < 30 else SLOWEST_TIMES
    times = [_once(work) for _ in range(count)]
    return Measured(result, statistics.median(times), min(times))


def _once(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def more(text: str) -> None:
    """How far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A Markdown table; all columns but the first to the right."""
    print(f"\n| {' | '.join(head)} |")
    print(f"|---|{'---:|' * (len(head) - 1)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    sys.stdout.flush()

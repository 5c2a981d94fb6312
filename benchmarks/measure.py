"""Medians, and Markdown tables of them."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
TIMES = 7
SLOW_TIMES = 5  # of what takes longer than ...
SLOW = 1.0  # ... so many seconds


def median_ms(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and how long it takes once the caches are warm: the median of seven, of five when it is slow."""
    began = time.perf_counter()
    found = work()
    times = SLOW_TIMES if time.perf_counter() - began > SLOW else TIMES
    return found, statistics.median(_once(work) for _ in range(times))


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

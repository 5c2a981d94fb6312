"""A real usage series turned into a falling balance.

Only the shape of the series matters: it is scaled to whatever span and fall the caller wants.
"""

import csv
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import accumulate

_PLACES = Decimal("0.000001")


@cache
def spent_shares() -> tuple[float, ...]:
    """The share of all use that is spent after each row of the series: rises from above 0 to 1."""
    text = (files(__package__) / "usage.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    spent = list(accumulate(float(row["rate"]) for row in rows))
    return tuple(share / spent[-1] for share in spent)


def spent(progress: float) -> float:
    """The share spent at a point of the series (0 is its begin, 1 its end), straight between two rows."""
    shares = (0.0, *spent_shares())
    position = min(max(progress, 0.0), 1.0) * (len(shares) - 1)
    row = min(int(position), len(shares) - 2)
    return shares[row] + (shares[row + 1] - shares[row]) * (position - row)


def balance(start: Decimal, end: Decimal, *, progress: float) -> Decimal:
    """The balance at a point of the series, when it falls from `start` to `end` over the whole of it."""
    return (start - (start - end) * Decimal(spent(progress))).quantize(_PLACES)

"""The line of blocks, for every course a balance can take."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.sparkline import BLOCKS, POINTS, Trace, Traces

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)


def trace(*balances: str | int | Decimal, every: timedelta = timedelta(minutes=5)) -> Trace:
    found = Trace()
    for number, balance in enumerate(balances):
        found.add(BEGIN + number * every, Decimal(balance))
    return found


@pytest.mark.parametrize(
    ("balances", "line"),
    [
        ((), ""),
        ((5,), "▄"),
        ((5, 5, 5), "▄▄▄"),
        ((0, 7), "▁█"),
        ((-8, -4, 0), "▁▅█"),
        ((3, 2, 1, 0), "█▆▃▁"),
    ],
)
def test_a_course_is_drawn_from_its_lowest_to_its_highest(balances, line):
    assert trace(*balances).drawn(60) == line


def test_a_gap_shows_the_balance_before_it():
    found = trace(0, 8)
    found.add(BEGIN + timedelta(hours=1), Decimal(8))
    assert found.drawn(3) == "███"


def test_all_at_one_instant_is_one_step():
    assert len(trace(1, 2, 3, every=timedelta(0)).drawn(60)) == 3


@given(st.lists(st.decimals(-(10**12), 10**12, places=6), min_size=1, max_size=3 * POINTS), st.integers(1, 60))
def test_no_course_is_too_long_or_too_odd(balances, width):
    found = trace(*balances)
    line = found.drawn(width)
    assert len(found.points) <= POINTS
    assert len(line) == min(width, len(balances))
    assert set(line) <= set(BLOCKS)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_where_nobody_watches_nothing_is_drawn(encoding):
    assert Traces.for_terminal(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is None

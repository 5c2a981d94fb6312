from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.model import Snapshot
from monitor.proration import DAY, HOUR, floor, prorate, share

MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)

amounts = st.decimals(-(10**9), 10**9, places=6)
instants = st.integers(0, 40 * 86_400_000_000).map(lambda micros: MIDNIGHT + timedelta(microseconds=micros))
pairs = (
    st.tuples(instants, amounts, instants, amounts)
    .filter(lambda pair: pair[0] != pair[2])
    .map(lambda pair: tuple(sorted((Snapshot(pair[0], pair[1]), Snapshot(pair[2], pair[3])), key=lambda s: s.taken_at)))
)


def at(hours: float, balance: str) -> Snapshot:
    return Snapshot(MIDNIGHT + hours * HOUR, Decimal(balance))


def test_a_change_within_one_hour_stays_in_it():
    assert list(prorate(at(1.25, "10"), at(1.75, "7.5"), HOUR)) == [(MIDNIGHT + HOUR, Decimal("2.5"), 0)]


def test_a_change_is_shared_out_by_time():
    shares = list(prorate(at(22, "100"), at(30, "20"), DAY))
    assert shares == [(MIDNIGHT, Decimal(20), 0), (MIDNIGHT + DAY, Decimal(60), 0)]


def test_what_cannot_be_divided_is_never_lost():
    shares = list(prorate(at(0, "0.000001"), at(3, "0"), HOUR))
    assert [used for _, used, _ in shares] == [0, 0, Decimal("0.000001")]


def test_a_snapshot_at_midnight_ends_the_day_before():
    assert [start for start, *_ in prorate(at(12, "5"), at(24, "4"), DAY)] == [MIDNIGHT]


def test_a_top_up_is_no_negative_use():
    assert list(prorate(at(0, "1"), at(1, "11"), HOUR)) == [(MIDNIGHT, 0, Decimal(10))]


@given(pairs, st.sampled_from([HOUR, DAY]))
def test_the_parts_add_up_to_the_change_and_have_one_sign(pair, step):
    before, after = pair
    shares = list(prorate(before, after, step))
    assert sum(topped_up - used for _, used, topped_up in shares) == after.credits - before.credits
    assert all(used >= 0 and topped_up >= 0 and not (used and topped_up) for _, used, topped_up in shares)
    assert [start for start, *_ in shares] == [shares[0].starts_at + n * step for n in range(len(shares))]


@given(pairs)
def test_the_hours_of_a_day_add_up_to_the_day(pair):
    hours = {}
    for start, used, topped_up in prorate(*pair, HOUR):
        day = hours.setdefault(floor(start, DAY), [Decimal(0), Decimal(0)])
        day[0] += used
        day[1] += topped_up
    assert {start: [used, topped_up] for start, used, topped_up in prorate(*pair, DAY)} == hours


@given(pairs, st.lists(instants, min_size=1, max_size=6))
def test_a_share_of_any_stretch_adds_up_with_its_neighbours(pair, cuts):
    edges = [MIDNIGHT - DAY, *sorted(cuts), MIDNIGHT + 60 * DAY]
    shares = [share(*pair, since, until) for since, until in pairwise(edges)]
    assert sum(shares) == pair[1].credits - pair[0].credits

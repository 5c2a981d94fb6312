"""The forecast: what it knows, what it refuses to guess, and what must not mislead it."""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from monitor.forecast import Estimator, Runway, Unknown
from monitor.model import Snapshot

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Rate = Callable[[datetime], float]


def even(_: datetime) -> float:
    return 10.0


def office(at: datetime) -> float:
    """Weekdays from 8 to 18."""
    return 24.0 if at.weekday() < 5 and 8 <= at.hour < 18 else 0.0


def history(rate: Rate, days: float, *, step: timedelta = HOUR / 2, balance: float = 100_000.0) -> list[Snapshot]:
    """From Monday 0:00 on, the balance falling by `rate` credits an hour."""
    at, snapshots = MONDAY, []
    while at <= MONDAY + timedelta(days=days):
        snapshots.append(Snapshot(at, Decimal(str(round(balance, 6)))))
        balance -= rate(at) * (step / HOUR)
        at += step
    return snapshots


def fold(snapshots: Iterable[Snapshot]) -> Estimator:
    usage = Estimator()
    for snapshot in snapshots:
        usage.add(snapshot)
    return usage


def runway(usage: Estimator) -> Runway:
    result = usage.runway()
    assert isinstance(result, Runway)
    return result


def ending_with(snapshots: Sequence[Snapshot], balance: float) -> list[Snapshot]:
    """The same use, ending with that balance."""
    shift = Decimal(str(balance)) - snapshots[-1].credits
    return [Snapshot(s.taken_at, s.credits + shift) for s in snapshots]


def test_nothing_is_known_without_a_snapshot():
    assert Estimator().runway() == Unknown(timedelta(hours=24))


def test_unknown_says_how_much_history_is_missing():
    assert fold(history(even, days=0.75)).runway() == Unknown(timedelta(hours=6))


def test_a_day_of_use_is_enough_for_a_wide_answer():
    result = runway(fold(ending_with(history(even, days=1), 240)))
    assert result.likely == pytest.approx(24)
    assert result.low < 16
    assert result.high > 36


def test_even_use_over_weeks_gives_a_narrow_answer():
    result = runway(fold(ending_with(history(even, days=28), 720)))
    assert result.likely == pytest.approx(72, rel=0.01)
    assert 56 < result.low < result.likely < result.high < 90


def test_every_interval_of_the_polls_gives_the_same_answer():
    likely = [
        runway(fold(ending_with(history(office, days=15, step=step), 600))).likely
        for step in (timedelta(minutes=5), timedelta(minutes=20), HOUR)
    ]
    assert likely == pytest.approx([likely[0]] * 3, rel=0.03)


def test_a_weekend_ahead_is_known_after_three_weeks():
    usage = fold(ending_with(history(office, days=25.75), 120))  # Friday 18:00, half a working day left
    assert runway(usage).likely > 50


def test_the_night_is_not_the_day():
    night = runway(fold(ending_with(history(office, days=22), 72))).likely  # Tuesday 0:00
    noon = runway(fold(ending_with(history(office, days=22.5), 72))).likely  # Tuesday 12:00
    assert night == pytest.approx(11, abs=1)
    assert noon == pytest.approx(3, abs=1)


def test_nothing_used_is_never_empty():
    assert runway(fold(history(lambda _: 0.0, days=4))) == Runway(math.inf, math.inf, math.inf)


@pytest.mark.parametrize("balance", [0, -3])
def test_an_empty_account_has_no_runway(balance):
    assert runway(fold(ending_with(history(even, days=4), balance))) == Runway(0, 0, 0)


def test_a_top_up_lengthens_the_runway_and_changes_no_rate():
    snapshots = ending_with(history(even, days=10), 240)
    usage = fold(snapshots)
    usage.add(Snapshot(snapshots[-1].taken_at + HOUR / 2, Decimal(1240)))
    assert runway(usage).likely == pytest.approx(124, rel=0.02)


def test_top_ups_every_other_day_hide_no_use():
    snapshots = history(even, days=14)
    sawtooth = [Snapshot(s.taken_at, (s.credits - 100_000) % 480 + 20) for s in snapshots]
    assert runway(fold(sawtooth)).likely == pytest.approx(float(sawtooth[-1].credits) / 10, rel=0.05)


def test_an_expiring_grant_changes_no_rate():
    snapshots = history(even, days=20)
    dropped = [Snapshot(s.taken_at, s.credits - (5000 if i >= 700 else 0)) for i, s in enumerate(snapshots)]
    plain, after = (runway(fold(ending_with(kept, 720))).likely for kept in (snapshots, dropped))
    assert after == pytest.approx(plain, rel=0.01)


def test_falls_that_come_again_and_again_are_use():
    weekly = [
        Snapshot(s.taken_at, s.credits - 1000 * (i // (3 * 48))) for i, s in enumerate(history(even, days=25))
    ]  # 1,000 every third day beside 240 a day
    likely = runway(fold(ending_with(weekly, 5733))).likely
    assert likely == pytest.approx(240, rel=0.15)


def test_a_burst_of_one_day_is_not_taken_for_the_rate():
    burst = history(lambda at: 100.0 if at.date() == datetime(2026, 6, 18, tzinfo=UTC).date() else 10.0, days=19)
    assert 45 < runway(fold(ending_with(burst, 720))).likely < 73


@pytest.mark.parametrize("rate", [50.0, 2.0])
def test_a_lasting_shift_of_the_level_is_believed_within_days(rate):
    shifted = history(lambda at: 10.0 if at < MONDAY + timedelta(days=20) else rate, days=26)
    assert runway(fold(ending_with(shifted, 72 * rate))).likely == pytest.approx(72, rel=0.25)


def test_a_gap_counts_its_use_and_leaves_the_rhythm():
    whole = history(office, days=23.5)
    out = (MONDAY + timedelta(days=16.4), MONDAY + timedelta(days=17.6))
    holed = [s for s in whole if not out[0] < s.taken_at < out[1]]
    full, partial = (runway(fold(ending_with(kept, 600))).likely for kept in (whole, holed))
    assert partial == pytest.approx(full, rel=0.1)


def test_use_older_than_the_memory_is_forgotten():
    snapshots = history(even, days=10)
    usage = fold(snapshots)
    usage.add(Snapshot(snapshots[-1].taken_at + timedelta(days=40), Decimal(1)))
    assert usage.runway() == Unknown(timedelta(hours=24))


@pytest.mark.parametrize("back", [timedelta(0), timedelta(minutes=7), timedelta(hours=30), timedelta(days=400)])
def test_a_clock_stepped_back_freezes_nothing(back):
    snapshots = ending_with(history(even, days=20), 1440)
    usage = fold(snapshots)
    for snapshot in history(even, days=5):
        at = snapshots[-1].taken_at - back + (snapshot.taken_at - MONDAY)
        usage.add(Snapshot(at, snapshot.credits - 100_000 + 1440))
    assert runway(usage).likely == pytest.approx(24, rel=0.2)


def test_what_is_kept_does_not_grow_with_the_number_of_snapshots():
    many = fold(history(lambda at: 7.123456 + at.minute, days=40, step=timedelta(minutes=7)))
    assert len(many.dump()) < 4096


# Enough of what happens to balances: falls small and huge, rises, pauses, gaps, and a clock that steps back.
moves = st.lists(
    st.tuples(
        st.one_of(st.floats(0.01, 5), st.floats(5, 80), st.sampled_from([0.0, -0.5, -40.0, -900.0, 700.0])),
        st.one_of(st.floats(0, 50), st.sampled_from([0.0, 5000.0, -3000.0, 1e11])),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=25,
)


def walked(steps: Sequence[tuple[float, float, int]]) -> list[Snapshot]:
    at, balance, snapshots = MONDAY, 100_000.0, [Snapshot(MONDAY, Decimal(100_000))]
    for hours, used, times in steps:
        for _ in range(times):
            at, balance = at + timedelta(hours=hours), balance - used
            at = max(at, MONDAY - timedelta(days=9000))
            snapshots.append(Snapshot(at, Decimal(str(round(balance, 6)))))
    return snapshots


@examples(25)
@given(moves, st.floats(0, 1))
def test_saving_and_loading_anywhere_changes_no_forecast(steps, cut):
    snapshots = walked(steps)
    place = int(cut * len(snapshots))
    straight, before = fold(snapshots[:place]), fold(snapshots[:place])
    loaded = Estimator.load(before.dump())
    assert loaded.runway() == straight.runway()
    for snapshot in snapshots[place:]:
        straight.add(snapshot)
        loaded.add(snapshot)
        assert loaded.runway() == straight.runway()
    assert loaded.dump() == straight.dump()


@examples(25)
@given(moves)
def test_asking_changes_nothing_and_the_answer_is_in_order(steps):
    asked, silent = Estimator(), Estimator()
    for snapshot in walked(steps):
        asked.add(snapshot)
        silent.add(snapshot)
        result = asked.runway()
        if isinstance(result, Runway):
            assert 0 <= result.low <= result.likely <= result.high
        else:
            assert timedelta(0) < result.missing <= timedelta(hours=24)
    assert asked.dump() == silent.dump()


@examples(12)
@given(st.floats(0.001, 100_000), st.floats(1, 40))
def test_the_unit_of_the_credits_is_of_no_matter(scale, days):
    rate = lambda at: 1.0 + at.hour  # noqa: E731
    plain = ending_with(history(rate, days=days), 500)
    scaled = [Snapshot(s.taken_at, s.credits * Decimal(str(scale))) for s in plain]
    assert runway(fold(scaled)).likely == pytest.approx(runway(fold(plain)).likely, rel=1e-6)

"""What is told of incidents that come and go: the cases people meet, and the law over random sources."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.judge import apply, flapping_window, judge, judge_account, level
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Reason,
    Rejections,
    Rule,
    Rules,
    Rung,
    Severity,
    Snapshot,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
LADDER = (Rung(CRITICAL, Decimal(200), Decimal(210)), Rung(WARNING, Decimal(1000), Decimal(1050)))
REFUSED = Failure(FailureKind.CREDENTIAL_REJECTED, "x")
DENIED = Failure(FailureKind.ACCESS_DENIED, "x")
DOWN = Failure(FailureKind.UNAVAILABLE, "x")
CLEAR, LOW, EMPTY = 5000, 500, 100


class Source:
    """An organization and its key, judged check after check; `told` has what a channel hears of one rule."""

    def __init__(self, rule: Rule = Rule.CREDITS, *, every: timedelta = 5 * MINUTE, confirm: int = 1) -> None:
        self.rule, self.every = rule, every
        self.rules = Rules(
            credits=LADDER, stale_after=30 * MINUTE, confirm_checks=confirm, remind={}, quiet=flapping_window(every)
        )
        self.organization = Organization(1, "farm", "org-1", "studio")
        self.incidents: dict[Rule, OpenIncident] = {}
        self.rejections = Rejections()
        self.at = START - every
        self.told: list[tuple[datetime, Reason, Severity]] = []
        self.verdicts = []

    def check(self, outcome: object, *, after: timedelta | None = None) -> None:
        self.at += self.every if after is None else after
        result = outcome if isinstance(outcome, Failure) else Snapshot(self.at, Decimal(str(outcome)))
        check = Check(1, 1, self.at, result)
        verdicts, self.rejections = judge_account(self.incidents, check, rejections=self.rejections, rules=self.rules)
        self._keep(verdicts)
        judged = judge(self.organization, check, incidents=self.incidents, rules=self.rules, explained=bool(verdicts))
        self.organization = judged.organization
        self._keep(judged.verdicts)

    def _keep(self, verdicts) -> None:
        for verdict in verdicts:
            _, self.incidents = apply(self.incidents, verdict, at=self.at)
            if verdict.rule is self.rule:
                self.verdicts.append(verdict)
                if verdict.told:
                    self.told.append((self.at, verdict.reason, verdict.severity))

    def checks(self, outcomes: Iterable[object]) -> list[tuple[float, str, Severity]]:
        for outcome in outcomes:
            self.check(outcome)
        return self.heard()

    def heard(self) -> list[tuple[float, str, Severity]]:
        return [((at - START) / MINUTE, reason.value, severity) for at, reason, severity in self.told]

    def by_hour(self) -> list[int]:
        counts: dict[int, int] = {}
        for at, *_ in self.told:
            hour = (at - self.told[0][0]) // HOUR
            counts[hour] = counts.get(hour, 0) + 1
        return [counts.get(hour, 0) for hour in range(max(counts, default=-1) + 1)]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Rule.CREDITS, CLEAR, LOW),
        (Rule.CREDITS, CLEAR, EMPTY),
        (Rule.CREDITS, LOW, EMPTY),
        (Rule.CREDENTIAL, CLEAR, REFUSED),
        (Rule.ACCESS, CLEAR, DENIED),
    ],
)
@pytest.mark.parametrize("every", [SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR])
def test_a_source_that_alternates_at_every_check_is_told_four_times_in_its_first_hour_and_once_in_each_later_one(
    rule, good, bad, every
):
    source = Source(rule, every=every)
    hours = 2 if every is SECOND else 12
    source.checks([bad, good] * (hours * HOUR // every // 2 + 1))
    first, *later = source.by_hour()
    assert first <= 4
    assert max(later, default=0) <= 1
    assert len(later) >= hours - 2  # and somebody hears of it in every hour


def test_the_first_end_and_the_first_return_are_told_at_once():
    source = Source()
    assert source.checks([LOW, CLEAR, LOW]) == [
        (0, "opened", WARNING),
        (5, "resolved", WARNING),
        (10, "opened", WARNING),
    ]
    assert [verdict.quiet_for for verdict in source.verdicts] == [None, None, 30 * MINUTE]
    assert source.incidents[Rule.CREDITS].opened_at == START  # the same incident goes on


def test_worse_again_after_easing_is_a_return_and_a_severity_worse_than_any_told_is_told_at_once():
    source = Source()
    assert source.checks([LOW, CLEAR, LOW, CLEAR, EMPTY]) == [
        (0, "opened", WARNING),
        (5, "resolved", WARNING),
        (10, "opened", WARNING),
        (20, "opened", CRITICAL),
    ]
    assert Source().checks([EMPTY, LOW, EMPTY, LOW, EMPTY]) == [
        (0, "opened", CRITICAL),
        (5, "eased", WARNING),
        (10, "escalated", CRITICAL),
    ]


def test_its_end_comes_when_it_has_been_quiet_for_a_whole_window():
    source = Source()
    source.checks([LOW, CLEAR] * 6)  # the last return is at minute 50
    before = len(source.told)
    source.checks([CLEAR] * 4)
    assert len(source.told) == before
    assert source.incidents[Rule.CREDITS].is_flapping
    source.check(CLEAR)
    assert source.heard()[before:] == [(80, "resolved", WARNING)]
    assert source.checks([CLEAR] * 50) == source.heard()


def test_unknown_neither_ends_nor_returns():
    source = Source()
    source.checks([LOW, CLEAR, LOW, CLEAR])
    before = source.heard()
    assert source.checks([DOWN] * 12) == before
    source.check(CLEAR)
    assert source.heard()[len(before) :] == [(80, "resolved", WARNING)]


def test_a_state_that_stays_bad_is_told_within_its_hour():
    source = Source()
    source.checks([LOW, CLEAR, LOW, CLEAR, LOW, CLEAR])
    assert source.checks([LOW] * 20)[3:] == [(70, "reminder", WARNING)]


def test_one_that_eases_while_it_flaps_and_stays_so_is_told_within_its_hour():
    source = Source()
    assert source.checks([LOW, CLEAR, EMPTY, *[LOW] * 40]) == [
        (0, "opened", WARNING),
        (5, "resolved", WARNING),
        (10, "opened", CRITICAL),
        (70, "reminder", WARNING),
    ]


def test_one_that_comes_back_after_its_end_was_told_is_told_again_within_the_hour():
    source = Source()
    source.checks([LOW, CLEAR, LOW, *[CLEAR] * 7, *[LOW] * 20])
    assert source.heard()[3:] == [(40, "resolved", WARNING), (100, "opened", WARNING)]


def test_the_present_reading_is_what_levels_use():
    source = Source()
    source.checks([EMPTY, CLEAR, EMPTY, CLEAR])
    assert source.incidents[Rule.CREDITS].is_flapping
    assert level(source.organization, source.incidents, source.rules) is None
    source.check(LOW)
    assert level(source.organization, source.incidents, source.rules) is WARNING


def test_after_its_window_it_is_another_incident():
    source = Source()
    source.check(LOW)
    source.check(CLEAR)
    source.check(LOW, after=31 * MINUTE)
    assert source.incidents[Rule.CREDITS].opened_at == source.at
    assert [reason for _, reason, _ in source.heard()] == ["opened", "resolved", "opened"]
    assert source.verdicts[-1].quiet_for is None


def test_a_clock_stepped_back_freezes_nothing():
    source = Source()
    source.checks([LOW, CLEAR, LOW, CLEAR])
    source.check(CLEAR, after=-3 * HOUR)
    assert source.heard()[-1][1] == "resolved"


@pytest.mark.parametrize(
    ("every", "expected"),
    [(SECOND, 30 * MINUTE), (10 * MINUTE, 30 * MINUTE), (20 * MINUTE, HOUR), (3 * HOUR, 2 * HOUR)],
)
def test_a_window_is_three_polls_and_between_half_an_hour_and_two(every, expected):
    assert flapping_window(every) == expected


OUTCOMES = {
    Rule.CREDITS: (CLEAR, LOW, EMPTY, DOWN),
    Rule.CREDENTIAL: (CLEAR, REFUSED, DOWN),
    Rule.ACCESS: (CLEAR, DENIED, DOWN),
}


@st.composite
def sources(draw):
    rule = draw(st.sampled_from(list(OUTCOMES)))
    every = draw(st.sampled_from([MINUTE, 5 * MINUTE, 20 * MINUTE, 45 * MINUTE]))
    runs = draw(st.lists(st.tuples(st.sampled_from(OUTCOMES[rule]), st.integers(1, 12)), min_size=1, max_size=40))
    confirm = draw(st.integers(1, 3))
    return rule, every, confirm, [outcome for outcome, times in runs for _ in range(times)]


@examples(100)
@example((Rule.CREDITS, 5 * MINUTE, 1, [LOW, CLEAR] * 60))
@given(sources())
def test_the_law_over_random_sources(drawn):
    rule, every, confirm, outcomes = drawn
    source = Source(rule, every=every, confirm=confirm)
    bad_since: datetime | None = None
    run = 0
    for outcome in outcomes:
        source.check(outcome)
        is_bad = source.incidents.get(rule) is not None and source.incidents[rule].is_firing
        run = run + 1 if is_bad and outcome is not DOWN else 0 if outcome is not DOWN else run
        bad_since = bad_since or source.at if is_bad else None
        if bad_since and source.at - bad_since > HOUR + every and outcome is not DOWN:
            # Whoever listens has heard of it since it became bad, or in the hour before.
            assert any(at >= bad_since - HOUR and reason is not Reason.RESOLVED for at, reason, _ in source.told)
    for _ in range(3 * HOUR // every + 3):
        source.check(CLEAR)
    reasons = [reason for _, reason, _ in source.told]
    turns = [reason for reason in reasons if reason in (Reason.OPENED, Reason.RESOLVED)]
    assert reasons[-1:] in ([], [Reason.RESOLVED])  # the end always comes
    assert not any(reason is following is Reason.RESOLVED for reason, following in pairwise(turns))
    assert_few(source)


def assert_few(source: Source) -> None:
    """Of each incident at most four messages in its first hour, and two in any later one: its state and its end."""
    ends = [at for at, reason, _ in source.told if reason is Reason.RESOLVED]
    told = [at for at, *_ in source.told]
    for start in told:
        within = [at for at in told if start <= at < start + HOUR]
        incidents_begun = 1 + sum(start <= at < start + HOUR - source.rules.quiet for at in ends)
        assert len(within) <= 4 * incidents_begun

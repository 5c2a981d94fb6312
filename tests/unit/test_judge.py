"""The state table row for row, and the laws as properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.forecast import Runway, Unknown
from monitor.judge import TABLE, Signal, apply, judge, judge_account, reconcile
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
    SpendLimit,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
LADDER = (Rung(CRITICAL, Decimal(200), Decimal(210)), Rung(WARNING, Decimal(1000), Decimal(1050)))
RULES = Rules(credits=LADDER, stale_after=timedelta(minutes=30), remind={})  # reminders have their own tests
FRESH = Organization(id=1, name="render-farm", vendor_id="org-1", account="studio")
DOWN = Failure(FailureKind.UNAVAILABLE, "the vendor does not answer")


class World:
    """One organization judged check after check, its incidents carried as the store would."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.organization = FRESH
        self.incidents: dict[Rule, OpenIncident] = {}
        self.at = START
        self.runway: Runway | Unknown | None = None
        self.spent: Decimal | None = None
        self.said: list[tuple[Rule, Reason, Severity]] = []

    def check(self, outcome: object, minutes: float = 5) -> list[tuple[Rule, Reason, Severity]]:
        self.at += timedelta(minutes=minutes)
        result = outcome if isinstance(outcome, Failure) else Snapshot(self.at, Decimal(str(outcome)))
        judged = judge(
            self.organization,
            Check(1, 1, self.at, result),
            incidents=self.incidents,
            rules=self.rules,
            runway=self.runway,
            spent=self.spent,
        )
        self.organization = judged.organization
        for verdict in judged.verdicts:
            _, self.incidents = apply(self.incidents, verdict, at=self.at)
        said = [(v.rule, v.reason, v.severity) for v in judged.verdicts if v.told]
        self.said += said
        return said


def standing_at(severity: Severity | None) -> World:
    world = World()
    world.check({None: 5000, WARNING: 900, CRITICAL: 100}[severity])
    return world


# One row for each cell of the table: what stands, the next check, what is said of `credits`.
CELLS = [
    (None, 999.999999, (Reason.OPENED, WARNING)),
    (None, 199, (Reason.OPENED, CRITICAL)),
    (None, 1000, None),
    (None, DOWN, None),
    (WARNING, 199, (Reason.ESCALATED, CRITICAL)),
    (WARNING, 800, None),
    (WARNING, 205, None),
    (WARNING, 1049.999999, None),
    (WARNING, 1050, (Reason.RESOLVED, WARNING)),
    (WARNING, DOWN, None),
    (CRITICAL, 50, None),
    (CRITICAL, 209.999999, None),
    (CRITICAL, 210, (Reason.EASED, WARNING)),
    (CRITICAL, 1049, (Reason.EASED, WARNING)),
    (CRITICAL, 5000, (Reason.RESOLVED, CRITICAL)),
    (CRITICAL, DOWN, None),
    (None, Failure(FailureKind.NO_CREDITS, "no credits"), (Reason.OPENED, CRITICAL)),
    (WARNING, Failure(FailureKind.NO_CREDITS, "no credits"), (Reason.ESCALATED, CRITICAL)),
    (CRITICAL, Failure(FailureKind.NO_CREDITS, "no credits"), None),
]


@pytest.mark.parametrize(("standing", "outcome", "expected"), CELLS)
def test_the_state_table(standing, outcome, expected):
    said = standing_at(standing).check(outcome)
    assert said == ([(Rule.CREDITS, *expected)] if expected else [])


def test_every_state_and_signal_has_its_row():
    possible = {(firing, signal) for firing in (False, True) for signal in Signal}
    # Nothing that stands cannot stay the same or get better.
    assert set(TABLE) == possible - {(False, Signal.SAME), (False, Signal.BETTER)}


KINDS_THAT_KEEP_SILENT = [FailureKind.UNAVAILABLE, FailureKind.RATE_LIMITED, FailureKind.UNEXPECTED_ANSWER]


@pytest.mark.parametrize("kind", KINDS_THAT_KEEP_SILENT)
def test_a_failure_is_stale_only_after_stale_after(kind):
    world = World()
    world.check(5000)
    assert world.check(Failure(kind, "x"), minutes=30) == []
    assert world.check(Failure(kind, "x"), minutes=0.1) == [(Rule.STALE, Reason.OPENED, WARNING)]
    assert world.check(Failure(kind, "x"), minutes=600) == []
    assert world.check(4999) == [(Rule.STALE, Reason.RESOLVED, WARNING)]


def test_an_organization_that_never_answered_is_stale_from_its_first_attempt_on():
    world = World()
    assert world.check(DOWN) == []
    assert world.check(DOWN, minutes=29) == []
    assert world.check(DOWN, minutes=2) == [(Rule.STALE, Reason.OPENED, WARNING)]


def test_a_clock_stepped_back_neither_clears_stale_nor_freezes_the_balance():
    world = World()
    world.check(5000)
    world.check(DOWN, minutes=31)
    assert world.check(DOWN, minutes=-25) == []
    assert world.check(100, minutes=-600) == [
        (Rule.CREDITS, Reason.OPENED, CRITICAL),
        (Rule.STALE, Reason.RESOLVED, WARNING),
    ]


def test_denied_access_is_critical_and_keeps_stale_quiet():
    world = World()
    world.check(5000)
    denied = Failure(FailureKind.ACCESS_DENIED, "the vendor denies access")
    assert world.check(denied) == [(Rule.ACCESS, Reason.OPENED, CRITICAL)]
    assert world.check(denied, minutes=600) == []
    assert world.check(DOWN, minutes=600) == []
    assert world.check(5000) == [(Rule.ACCESS, Reason.RESOLVED, CRITICAL)]


def test_no_credits_is_an_answer_not_silence():
    world = World()
    world.check(5000)
    spent = Failure(FailureKind.NO_CREDITS, "no credits")
    world.check(spent)
    assert world.check(spent, minutes=600) == []


def test_a_rejected_key_explains_the_silence_of_its_organizations():
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "the vendor rejects the key")
    late = START + timedelta(days=1)
    organization = replace(FRESH, snapshot=Snapshot(START, Decimal(5000)))
    judged = judge(organization, Check(1, 1, late, rejected), incidents={}, rules=RULES, explained=True)
    assert judged.verdicts == ()


REFUSED = Failure(FailureKind.CREDENTIAL_REJECTED, "x")


def of_key(outcomes, *, rules=RULES):
    """What is decided of a key, by polls of one check each: `None` is a snapshot."""
    incidents, rejections, said = {}, Rejections(), []
    for minutes, outcome in enumerate(outcomes):
        at = START + minutes * timedelta(minutes=45)  # further apart than what comes back
        check = Check(1, 1, at, outcome or Snapshot(at, Decimal(1)))
        verdicts, rejections = judge_account(incidents, check, rejections=rejections, rules=rules)
        said.append([verdict.reason for verdict in verdicts])
        for verdict in verdicts:
            _, incidents = apply(incidents, verdict, at=at)
    return said


def test_a_key_is_rejected_at_once_and_back_with_any_snapshot():
    assert of_key([None, REFUSED, REFUSED, DOWN, None, None]) == [[], [Reason.OPENED], [], [], [Reason.RESOLVED], []]


def test_a_key_is_confirmed_by_polls_in_a_row_and_not_by_answers():
    confirmed = replace(RULES, confirm_checks=2)
    assert of_key([REFUSED, None, REFUSED, DOWN, REFUSED, REFUSED], rules=confirmed) == [
        *([], [], [], []),
        [Reason.OPENED],
        [],
    ]
    rejections = Rejections()
    for number in range(5):
        check = Check(1, number, START, REFUSED, poll_at=START)
        verdicts, rejections = judge_account({}, check, rejections=rejections, rules=confirmed)
        assert (verdicts, rejections) == ((), Rejections(1, START))


def test_a_snapshot_in_a_poll_with_a_rejection_clears_nothing():
    standing = {Rule.CREDENTIAL: OpenIncident(1, Rule.CREDENTIAL, CRITICAL, START)}
    answer = Check(1, 1, START, Snapshot(START, Decimal(1)), poll_at=START)
    assert judge_account(standing, answer, rejections=Rejections(1, START), rules=RULES) == ((), Rejections(1, START))
    later = replace(answer, poll_at=START + timedelta(minutes=5))
    (verdict,), rejections = judge_account(standing, later, rejections=Rejections(1, START), rules=RULES)
    assert (verdict.reason, rejections) == (Reason.RESOLVED, Rejections())


def test_confirmation_counts_checks_in_a_row_and_unknown_neither_adds_nor_resets():
    world = World(replace(RULES, confirm_checks=3))
    assert world.check(900) == world.check(900) == world.check(DOWN) == []
    assert world.check(900) == [(Rule.CREDITS, Reason.OPENED, WARNING)]
    assert world.check(100) == world.check(1020) == world.check(100) == world.check(100) == []
    assert world.check(100) == [(Rule.CREDITS, Reason.ESCALATED, CRITICAL)]


def test_used_and_topped_up_add_up_every_fall_and_rise():
    world = World()
    for balance in (1000, 900, 1500, 1400.5, 1400.5):
        world.check(balance)
    assert (world.organization.used, world.organization.topped_up) == (Decimal("199.5"), Decimal(600))
    assert world.organization.top_up.credits == 600


# --- runway, spend, shares, outages, reminders ------------------------------------------------------------------------

RUNWAY = Rules(runway=(Rung(CRITICAL, Decimal(48), Decimal(60)), Rung(WARNING, Decimal(168), Decimal(210))), remind={})


def hours(likely: float) -> Runway:
    return Runway(likely, likely, likely)


def test_runway_goes_by_the_likely_time_and_unknown_says_nothing():
    world = World(RUNWAY)
    said = []
    steps = [None, Unknown(timedelta(hours=3)), hours(300), hours(160), hours(205), hours(40), hours(59), hours(61)]
    for world.runway in [*steps, Unknown(timedelta(hours=1)), hours(float("inf"))]:
        said += world.check(5000 - len(said))
    assert said == [
        (Rule.RUNWAY, Reason.OPENED, WARNING),
        (Rule.RUNWAY, Reason.ESCALATED, CRITICAL),
        (Rule.RUNWAY, Reason.EASED, WARNING),
        (Rule.RUNWAY, Reason.RESOLVED, WARNING),
    ]


def test_spend_opens_above_its_limit_and_ends_at_its_clear_level():
    world = World(Rules(spend=SpendLimit(Decimal(500), timedelta(hours=1), Decimal(400)), remind={}))
    said = []
    for spent in ("0", "500", "500.000001", "450", "400"):
        world.spent = Decimal(spent)
        said.append(world.check(5000))
    opened, resolved = (Rule.SPEND, Reason.OPENED, WARNING), (Rule.SPEND, Reason.RESOLVED, WARNING)
    assert said == [[], [], [opened], [], [resolved]]


def test_a_share_of_the_last_top_up_counts_once_a_top_up_was_seen():
    share = Rung(WARNING, Decimal("0.2"), Decimal("0.25"), of_top_up=True)
    world = World(Rules(credits=(share,), remind={}))
    assert world.check(10) == []
    assert world.check(10_010) == []
    assert world.check(2000) == []
    assert world.check("1999.999999") == [(Rule.CREDITS, Reason.OPENED, WARNING)]
    # This rise is the last top-up now, and a quarter of it is less than the balance.
    assert world.check("2499") == [(Rule.CREDITS, Reason.RESOLVED, WARNING)]


def test_an_outage_never_hides_that_a_balance_is_low():
    organization = replace(FRESH, snapshot=Snapshot(START, Decimal(5000)))
    low = Check(1, 1, START + timedelta(hours=2), Snapshot(START + timedelta(hours=2), Decimal(5)))
    judged = judge(organization, low, incidents={}, rules=RULES, explained=True)
    assert [v.rule for v in judged.verdicts] == [Rule.CREDITS]


GAPS = {CRITICAL: (timedelta(hours=4), timedelta(hours=8), timedelta(days=1)), WARNING: (timedelta(days=1),)}


@pytest.mark.parametrize(
    ("balance", "expected"),
    [(100, [4, 12, 36, 60]), (900, [24, 48])],
)
def test_reminders_come_with_growing_gaps(balance, expected):
    world = World(replace(RULES, remind=GAPS))
    world.check(balance, minutes=0)
    reminded = [h for h in range(1, 72) if world.check(balance, minutes=60) if world.said[-1][1] is Reason.REMINDER]
    assert reminded == expected


def test_a_worsening_begins_the_gaps_anew():
    world = World(replace(RULES, remind=GAPS))
    world.check(900)
    world.check(900, minutes=23 * 60)
    assert world.check(100, minutes=30) == [(Rule.CREDITS, Reason.ESCALATED, CRITICAL)]
    assert world.check(100, minutes=31) == []
    assert world.check(DOWN, minutes=4 * 60)[0] == (Rule.CREDITS, Reason.REMINDER, CRITICAL)


# --- changed rules ----------------------------------------------------------------------------------------------------


def test_a_lowered_level_ends_an_incident_as_reconfigured():
    world = standing_at(WARNING)
    lower = replace(RULES, credits=(Rung(WARNING, Decimal(500), Decimal(525)),))
    (verdict,) = reconcile(world.organization, incidents=world.incidents, rules=lower)
    assert (verdict.reason, verdict.reconfigured) == (Reason.RESOLVED, True)


def test_a_lowered_critical_level_eases_as_reconfigured():
    world = standing_at(CRITICAL)
    lower = replace(RULES, credits=(Rung(CRITICAL, Decimal(50), Decimal(60)), LADDER[1]))
    (verdict,) = reconcile(world.organization, incidents=world.incidents, rules=lower)
    assert (verdict.reason, verdict.severity, verdict.reconfigured) == (Reason.EASED, WARNING, True)


@pytest.mark.parametrize("standing", [None, WARNING, CRITICAL])
def test_unchanged_rules_reconcile_to_nothing(standing):
    world = standing_at(standing)
    assert reconcile(world.organization, incidents=world.incidents, rules=RULES) == ()


def test_a_raised_level_opens_nothing_before_the_next_check():
    world = standing_at(None)
    higher = replace(RULES, credits=(Rung(WARNING, Decimal(9000), Decimal(9450)),))
    assert reconcile(world.organization, incidents={}, rules=higher) == ()


def test_a_rule_switched_off_ends_its_incident():
    world = standing_at(CRITICAL)
    world.check(DOWN, minutes=60)
    ended = reconcile(world.organization, incidents=world.incidents, rules=Rules())
    assert {(v.rule, v.reason, v.reconfigured) for v in ended} == {
        (Rule.CREDITS, Reason.RESOLVED, True),
        (Rule.STALE, Reason.RESOLVED, True),
    }


# --- laws -------------------------------------------------------------------------------------------------------------

balances = st.decimals(min_value=-50, max_value=1500, places=6).map(str)
failures = st.sampled_from([Failure(kind, "x") for kind in FailureKind])
outcomes = st.lists(st.tuples(st.one_of(balances, failures), st.integers(-60, 120)), max_size=40)
confirmations = st.integers(1, 3)


def play(steps: list, confirm: int) -> World:
    world = World(replace(RULES, confirm_checks=confirm))
    for outcome, minutes in steps:
        world.check(outcome, minutes)
    return world


@given(outcomes, confirmations)
def test_opened_and_resolved_alternate(steps, confirm):
    for rule in Rule:
        ends = [r for told, r, _ in play(steps, confirm).said if told is rule and r in (Reason.OPENED, Reason.RESOLVED)]
        assert ends[::2] == [Reason.OPENED] * len(ends[::2])
        assert ends[1::2] == [Reason.RESOLVED] * len(ends[1::2])


@given(outcomes, balances, confirmations)
def test_judging_the_same_snapshot_twice_changes_nothing(steps, balance, confirm):
    world = play(steps, confirm)
    world.check(balance)
    before = (world.organization, dict(world.incidents))
    assert world.check(balance, minutes=0) == []
    assert before == (world.organization, world.incidents)


@given(outcomes, confirmations)
def test_reminders_are_never_closer_than_allowed_and_never_for_what_is_over(steps, confirm):
    world = World(replace(RULES, confirm_checks=confirm, remind=GAPS))
    last: dict[Rule, datetime] = {}
    for outcome, minutes in steps:
        standing = dict(world.incidents)
        for rule, reason, severity in world.check(outcome, minutes * 10):
            if reason is Reason.REMINDER:
                assert rule in standing
                assert world.at - last[rule] >= GAPS[severity][0]
            last[rule] = world.at


@given(outcomes, confirmations)
def test_failures_other_than_no_credits_never_open_nor_close_credits(steps, confirm):
    noisy = [(o, m) for o, m in steps if not (isinstance(o, Failure) and o.kind is FailureKind.NO_CREDITS)]
    quiet, waited = [], 0
    for outcome, minutes in noisy:  # the same balances at the same instants
        waited += minutes
        if not isinstance(outcome, Failure):
            quiet.append((outcome, waited))
            waited = 0

    def credits_of(world: World) -> list:
        return [told for told in world.said if told[0] is Rule.CREDITS]

    def is_clear(walk: list) -> bool:
        """Whether no snapshot has the instant of the one before it: with the same figure it would be the same."""
        at = accumulate(minutes for _, minutes in walk)
        taken = [instant for instant, (outcome, _) in zip(at, walk, strict=True) if not isinstance(outcome, Failure)]
        return all(before != after for before, after in pairwise(taken))

    if is_clear(noisy) and is_clear(quiet):
        assert credits_of(play(noisy, confirm)) == credits_of(play(quiet, confirm))


@given(st.lists(st.sampled_from(["1000", "1049.999999", "1020.5"]), max_size=30), st.booleans())
def test_inside_the_band_nothing_is_said(steps, firing):
    world = standing_at(WARNING if firing else None)
    world.said.clear()
    for balance in steps:
        world.check(balance)
    assert world.said == []


@given(outcomes, confirmations)
def test_severity_is_always_the_worst_rung_below_or_held(steps, confirm):
    world = play(steps, confirm)
    incident = world.incidents.get(Rule.CREDITS)
    last = world.organization
    if last.failure is None and last.snapshot and last.snapshot.credits < 200 and confirm == 1:
        assert incident is not None
        assert incident.severity is CRITICAL
    if last.failure is None and last.snapshot and last.snapshot.credits >= 1050:
        assert incident is None or not incident.is_firing  # one that ended is kept for a while, for it may come back

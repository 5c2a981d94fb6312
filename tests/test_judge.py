"""The state table row for row, and the laws as properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.judge import TABLE, Signal, judge, judge_account, reconcile
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Reason,
    Rule,
    Rules,
    Rung,
    Severity,
    Snapshot,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
LADDER = (Rung(CRITICAL, Decimal(200), Decimal(210)), Rung(WARNING, Decimal(1000), Decimal(1050)))
RULES = Rules(credits=LADDER, stale_after=timedelta(minutes=30))
FRESH = Organization(id=1, name="render-farm", vendor_id="org-1", account="studio")
DOWN = Failure(FailureKind.UNAVAILABLE, "the vendor does not answer")


class World:
    """One organization judged check after check, its incidents carried as the store would."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.organization = FRESH
        self.incidents: dict[Rule, OpenIncident] = {}
        self.at = START
        self.said: list[tuple[Rule, Reason, Severity]] = []

    def check(self, outcome: object, minutes: float = 5) -> list[tuple[Rule, Reason, Severity]]:
        self.at += timedelta(minutes=minutes)
        result = outcome if isinstance(outcome, Failure) else Snapshot(self.at, Decimal(str(outcome)))
        judged = judge(
            self.organization,
            Check(1, 1, self.at, result),
            incidents=self.incidents,
            rules=self.rules,
        )
        self.organization = judged.organization
        for verdict in judged.verdicts:
            if verdict.reason is Reason.RESOLVED:
                del self.incidents[verdict.rule]
            else:
                self.incidents[verdict.rule] = OpenIncident(1, verdict.rule, verdict.severity, self.at)
        said = [(v.rule, v.reason, v.severity) for v in judged.verdicts]
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
    judged = judge(organization, Check(1, 1, late, rejected), incidents={}, rules=RULES, rejected=True)
    assert judged.verdicts == ()


def test_a_key_is_rejected_at_once_and_back_with_any_snapshot():
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "x")
    opened = judge_account(None, rejected)
    assert (opened.reason, opened.severity) == (Reason.OPENED, CRITICAL)
    incident = OpenIncident(1, Rule.CREDENTIAL, CRITICAL, START)
    assert judge_account(incident, rejected) is None
    assert judge_account(incident, DOWN) is None
    assert judge_account(incident, Snapshot(START, Decimal(1))).reason is Reason.RESOLVED
    assert judge_account(None, Snapshot(START, Decimal(1))) is None


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
def test_failures_other_than_no_credits_never_open_nor_close_credits(steps, confirm):
    quiet = [(o, m) for o, m in steps if not isinstance(o, Failure)]
    noisy = [(o, m) for o, m in steps if not (isinstance(o, Failure) and o.kind is FailureKind.NO_CREDITS)]

    def credits_of(world: World) -> list:
        return [told for told in world.said if told[0] is Rule.CREDITS]

    # A snapshot that repeats the instant and figure of the last is the same snapshot: leave such walks out.
    if all(minutes for _, minutes in steps):
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
        assert incident is None

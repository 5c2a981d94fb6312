"""How far a silence reaches, as a table, and what that opens and ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.judge import Extent, Tally, extent, judge_outage, may_begin, never_listed
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    OpenIncident,
    Organization,
    Reason,
    Rule,
    Rules,
    Severity,
    Snapshot,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
RULES = Rules(stale_after=timedelta(minutes=30), remind={}, confirm_checks=3)
DOWN = Failure(FailureKind.UNAVAILABLE, "the vendor does not answer")
FAILED = Check(1, 1, START, DOWN)
ANSWERED = Check(1, 1, START, Snapshot(START, Decimal(5)))
STANDS = {Rule.OUTAGE: OpenIncident(1, Rule.OUTAGE, Severity.WARNING, START - timedelta(hours=1))}
OPENED, RESOLVED = (Reason.OPENED,), (Reason.RESOLVED,)

# the account's tally and those of the others: silent, answered, not asked
EXTENTS = [
    ((1, 0, 0), [], Extent.NONE),  # a single silent organization is stale
    ((2, 0, 0), [], Extent.ACCOUNT),
    ((2, 0, 5), [], Extent.ACCOUNT),  # those not asked since the start say nothing ...
    ((1, 0, 1), [], Extent.NONE),
    ((2, 1, 0), [], Extent.NONE),  # one that answers: the vendor is there
    ((2, 0, 0), [(0, 1, 0)], Extent.ACCOUNT),
    ((2, 0, 0), [(0, 0, 1)], Extent.ACCOUNT),  # ... nor that everything is out
    ((2, 0, 0), [(1, 0, 0)], Extent.EVERYTHING),
    ((1, 0, 0), [(1, 0, 0)], Extent.EVERYTHING),
    ((1, 0, 0), [(1, 0, 0), (0, 0, 0)], Extent.EVERYTHING),  # an account without organizations counts nowhere
    ((1, 0, 0), [(1, 0, 0), (3, 1, 0)], Extent.NONE),
    ((1, 0, 1), [(1, 0, 0)], Extent.NONE),
    ((0, 0, 0), [(4, 0, 0)], Extent.NONE),
    ((0, 0, 0), [(4, 0, 0), (1, 0, 0)], Extent.EVERYTHING),
]


@pytest.mark.parametrize(("account", "others", "expected"), EXTENTS)
def test_how_far_a_silence_reaches(account, others, expected):
    assert extent(Tally(*account), [Tally(*other) for other in others]) is expected


# what stands of everything and of the account, the check, how far it reaches -> what is decided of each
DECISIONS = [
    ({}, {}, FAILED, Extent.NONE, (), ()),
    ({}, {}, FAILED, Extent.ACCOUNT, (), OPENED),
    ({}, {}, FAILED, Extent.EVERYTHING, OPENED, ()),
    ({}, STANDS, FAILED, Extent.EVERYTHING, OPENED, ()),
    (STANDS, {}, FAILED, Extent.ACCOUNT, (), ()),  # while everything is out, no account is said to be
    (STANDS, {}, FAILED, Extent.NONE, (), ()),
    ({}, STANDS, FAILED, Extent.NONE, (), ()),
    ({}, STANDS, ANSWERED, Extent.NONE, (), RESOLVED),
    (STANDS, {}, ANSWERED, Extent.NONE, RESOLVED, ()),
    (STANDS, STANDS, ANSWERED, Extent.NONE, RESOLVED, RESOLVED),
    ({}, {}, ANSWERED, Extent.NONE, (), ()),
]


@pytest.mark.parametrize(("everything", "account", "check", "reach", "of_everything", "of_account"), DECISIONS)
def test_what_a_check_decides_of_outages(everything, account, check, reach, of_everything, of_account):
    outage = judge_outage(check, reach, everything=everything, account=account, rules=RULES)
    assert tuple(verdict.reason for verdict in outage.everything) == of_everything
    assert tuple(verdict.reason for verdict in outage.account) == of_account
    assert {verdict.severity for verdict in (*outage.everything, *outage.account)} <= {Severity.WARNING}


OVERDUE = Organization(1, "farm", "org-1", "studio", snapshot=Snapshot(START - timedelta(hours=1), Decimal(5)))


@pytest.mark.parametrize(
    ("organization", "incidents", "of_account", "rules", "expected"),
    [
        (OVERDUE, (), (), RULES, True),
        (replace(OVERDUE, snapshot=Snapshot(START, Decimal(5))), (), (), RULES, False),
        (replace(OVERDUE, snapshot=None), (), (), RULES, False),  # its first failed check
        (replace(OVERDUE, snapshot=None, failing_since=START - timedelta(hours=1)), (), (), RULES, True),
        (OVERDUE, (Rule.STALE,), (), RULES, False),
        (OVERDUE, (Rule.ACCESS,), (), RULES, False),
        (OVERDUE, (Rule.CREDITS,), (), RULES, True),
        (OVERDUE, (), (Rule.CREDENTIAL,), RULES, False),
        (OVERDUE, (), (), replace(RULES, stale_after=None), False),
    ],
)
def test_only_an_overdue_organization_whose_silence_nothing_explains_begins_an_outage(
    organization, incidents, of_account, rules, expected
):
    standing = {rule: OpenIncident(1, rule, Severity.WARNING, START) for rule in Rule}
    found = may_begin(
        organization,
        FAILED,
        incidents={rule: standing[rule] for rule in incidents},
        of_account={rule: standing[rule] for rule in of_account},
        rules=rules,
    )
    assert found is expected


@pytest.mark.parametrize(
    ("known", "minutes", "rejected", "expected"),
    [(0, 31, False, True), (0, 30, False, False), (1, 31, False, False), (0, 31, True, False), (0, None, False, False)],
)
def test_an_account_whose_list_never_came_is_out_after_stale_after(known, minutes, rejected, expected):
    first = None if minutes is None else START - timedelta(minutes=minutes)
    of_account = {Rule.CREDENTIAL: OpenIncident(1, Rule.CREDENTIAL, Severity.CRITICAL, START)} if rejected else {}
    check = replace(FAILED, organization_id=None)
    found = never_listed(check, known=known, first_failed_at=first, of_account=of_account, rules=RULES)
    assert found is expected


TALLIES = st.builds(Tally, *(st.integers(0, 3) for _ in range(3)))


@given(TALLIES, st.lists(TALLIES, max_size=4))
def test_whoever_answered_is_never_said_to_be_out(account, others):
    reach = extent(account, others)
    if account.answered:
        assert reach is Extent.NONE
    if any(tally.answered or tally.not_asked for tally in (account, *others)):
        assert reach is not Extent.EVERYTHING
    if reach is Extent.ACCOUNT:
        assert account.silent > 1

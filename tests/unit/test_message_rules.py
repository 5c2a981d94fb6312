"""What the rules runway, spend and outage say, reminders, and figures in subjects."""

from datetime import timedelta
from decimal import Decimal
from math import inf

import pytest
from figures import changed
from hypothesis import given
from hypothesis import strategies as st
from render_messages import ALL_OUT, AT, BERLIN, EMPTYING, FACTS, LASTING, LESS, NOTIFICATIONS, OUT, SPENT

from monitor.message import render
from monitor.model import Facts, Message, Notification, Reason, Rule, Severity, Subject

HOUR = timedelta(hours=1)
OPENED, REMINDER, RESOLVED = Reason.OPENED, Reason.REMINDER, Reason.RESOLVED


def said(rule: Rule, reason: Reason, facts: Facts, *, subject: Subject = Subject.ORGANIZATION) -> Message:
    return render(Notification("id", 1, subject, rule, reason, Severity.WARNING, facts), timezone=BERLIN)


def closed(facts: Facts) -> Facts:
    return changed(facts, reconfigured=True)


# --- subjects ---------------------------------------------------------------------------------------------------------

SUBJECTS = [
    (Rule.RUNWAY, OPENED, EMPTYING, "WARNING: render-farm will be empty in about 3.1 days, Thursday evening"),
    (Rule.RUNWAY, OPENED, changed(EMPTYING, runway_likely=0.0), "WARNING: render-farm is empty by now"),
    (Rule.RUNWAY, OPENED, changed(EMPTYING, runway_likely=None), "WARNING: render-farm will be empty soon"),
    (
        Rule.RUNWAY,
        OPENED,
        changed(EMPTYING, runway_likely=2000.0),
        "WARNING: render-farm will be empty in more than 60 days",
    ),
    (Rule.RUNWAY, RESOLVED, LASTING, "RESOLVED: render-farm will last about 21 days again"),
    (Rule.RUNWAY, RESOLVED, changed(LASTING, runway_likely=inf), "RESOLVED: nothing of render-farm is used any more"),
    (
        Rule.RUNWAY,
        RESOLVED,
        changed(LASTING, runway_likely=1500.0),
        "RESOLVED: render-farm will last more than 60 days again",
    ),
    (Rule.RUNWAY, RESOLVED, closed(LASTING), "CLOSED: short runway of render-farm: the configuration changed"),
    (
        Rule.SPEND,
        OPENED,
        changed(SPENT, spent=Decimal(812)),
        "WARNING: render-farm used 812 credits within 1 h, more than 500",
    ),
    (
        Rule.SPEND,
        REMINDER,
        changed(SPENT, spent=Decimal(480), opened_at=AT - 9 * HOUR),
        "STILL WARNING: render-farm used 480 credits within 1 h, not yet down to 400 (for 9 h)",
    ),
    (
        Rule.SPEND,
        RESOLVED,
        changed(SPENT, spent=Decimal("120.005")),
        "RESOLVED: render-farm used only 120.01 credits within 1 h",
    ),
    (Rule.SPEND, RESOLVED, closed(SPENT), "CLOSED: high use of render-farm: the configuration changed"),
]
OUTAGES = [
    (
        Subject.ACCOUNT,
        OPENED,
        OUT,
        "WARNING: no balance of any of the 12 organizations of account studio for more than 30 min",
    ),
    (
        Subject.ACCOUNT,
        OPENED,
        changed(OUT, taken_at=None, stale_after=HOUR, organizations=None),
        "WARNING: no balance of any organization of account studio for more than 1 h",
    ),
    (Subject.ACCOUNT, RESOLVED, OUT, "RESOLVED: the balances of account studio can be fetched again"),
    (Subject.ACCOUNT, RESOLVED, closed(OUT), "CLOSED: outage of account studio: the configuration changed"),
    (Subject.MONITOR, OPENED, ALL_OUT, "WARNING: no balance of any account (40 organizations) for more than 30 min"),
    (Subject.MONITOR, RESOLVED, ALL_OUT, "RESOLVED: balances can be fetched again"),
    (Subject.MONITOR, RESOLVED, closed(ALL_OUT), "CLOSED: outage of every account: the configuration changed"),
]


@pytest.mark.parametrize(("rule", "reason", "facts", "subject"), SUBJECTS)
def test_the_subject_has_the_figure_that_decided(rule, reason, facts, subject):
    assert said(rule, reason, facts).subject == subject


@pytest.mark.parametrize(("about", "reason", "facts", "subject"), OUTAGES)
def test_an_outage_names_the_account_or_all_of_them(about, reason, facts, subject):
    assert said(Rule.OUTAGE, reason, facts, subject=about).subject == subject


@pytest.mark.parametrize(
    "reminder", [notification for notification in NOTIFICATIONS if notification.reason is REMINDER]
)
def test_every_reminder_says_that_it_is_one_and_for_how_long(reminder):
    told = render(reminder, timezone=BERLIN)
    assert told.subject.startswith("STILL ")
    assert told.subject.count("for 9 h") + told.subject.count("for 1 d") == 1
    assert "It has stood for" in told.text


# --- figures in subjects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credits", "shown"),
    [
        ("169.94268", "169.94"),
        ("199.999", "199.99"),
        ("148.2", "148.2"),
        ("0.0000003", "0"),
        ("0.0004", "0.0004"),
        ("0", "0"),
        ("-3.256", "-3.26"),
    ],
)
def test_a_subject_shortens_credits_downwards_and_the_body_is_exact(credits, shown):
    facts = changed(FACTS, credits=Decimal(credits), level=Decimal(200), clear=Decimal(210))
    told = said(Rule.CREDITS, OPENED, facts)
    assert told.subject == f"WARNING: render-farm has {shown} credits, below 200"
    assert f"Balance: {Decimal(credits).quantize(Decimal('0.000001')).normalize():f} credits" in told.text


@given(st.decimals(0, 10_000, places=6), st.decimals(1, 10_000, places=6))
def test_a_balance_below_its_level_never_reads_as_the_level_or_more(credits, level):
    words = said(Rule.CREDITS, OPENED, changed(FACTS, credits=credits, level=level, clear=level)).subject
    if credits < level:
        has, below = words.replace(",", "").removeprefix("WARNING: render-farm has ").split(" credits below ")
        assert Decimal(has) < Decimal(below)
    else:
        assert "below" not in words


@given(st.decimals("500.000001", 501, places=6))
def test_use_above_its_limit_never_reads_as_the_limit(spent):
    words = said(Rule.SPEND, OPENED, changed(SPENT, spent=spent)).subject
    assert "used 500 credits" not in words


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_runway_alert_says_the_band_and_its_level():
    told = said(Rule.RUNWAY, OPENED, EMPTYING).text
    assert "render-farm will be empty in about 3.1 days (2.4 to 4.0 days). That is less than 7 d." in told
    assert "Level: 7 d, clear again at 8 d 18 h" in told


def test_a_runway_between_its_levels_says_what_is_missing():
    told = said(Rule.RUNWAY, REMINDER, changed(EMPTYING, runway_likely=190.0)).text
    assert "That is not yet 8 d 18 h, at which it is over." in told


def test_a_runway_ends_by_a_top_up_or_by_less_use():
    assert "again. Topped up since it began: 6,000 credits." in said(Rule.RUNWAY, RESOLVED, LASTING).text
    assert "again. Nothing was topped up since it began: less is used." in said(Rule.RUNWAY, RESOLVED, LESS).text


def test_a_runway_whose_top_ups_are_unknown_ends_without_a_guess():
    assert "opped up since" not in said(Rule.RUNWAY, RESOLVED, changed(LASTING, topped_up=None)).text


def test_a_spend_alert_says_what_to_do():
    told = said(Rule.SPEND, OPENED, SPENT).text
    assert "see whether a job runs wild or somebody else has a key" in told
    assert "Limit: 500 credits within 1 h, clear again at 400" in told


@pytest.mark.parametrize(("about", "facts"), [(Subject.ACCOUNT, OUT), (Subject.MONITOR, ALL_OUT)])
def test_an_outage_says_that_what_was_low_is_still_low(about, facts):
    told = said(Rule.OUTAGE, OPENED, facts, subject=about).text
    assert "What was known before still stands: what was low is still low." in told
    assert f"Organizations: {facts.organizations}" in told
    assert ("Account:" in told) is (about is Subject.ACCOUNT)

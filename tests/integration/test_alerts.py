"""From checks to what is owed to whom, on both databases: outages, silences, quiet hours, grouping, fallback, spend."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from story import DOWN, Story

from monitor.config import QuietHours
from monitor.model import (
    Check,
    DeliveryState,
    Failure,
    FailureKind,
    Rule,
    Rung,
    Severity,
    SpendLimit,
)
from monitor.poll import ForecastCache, settle
from monitor.store import silences

MINUTE = timedelta(minutes=1)

# --- outages ----------------------------------------------------------------------------------------------------------


def test_one_outage_of_an_account_is_one_message_and_its_organizations_keep_quiet(desk):
    desk.settle(a=5000, b=5000, c=5000)
    desk.settle(a=DOWN, b=DOWN, c=5000)
    assert desk.settle(31, a=DOWN, b=DOWN, c=5000) == [("studio", "outage", "opened", "warning")]
    assert desk.settle(60, a=DOWN, b=DOWN, c=5000) == []
    assert desk.settle(a=5000, b=DOWN, c=5000) == [
        ("studio", "outage", "resolved", "warning"),
        ("b", "stale", "opened", "warning"),
    ]


def test_after_a_long_stop_an_outage_is_one_message_from_its_first_failed_checks_on(desk):
    desk.settle(a=5000, b=5000, c=5000)
    began = desk.now + 300 * MINUTE
    assert desk.settle(301, since=began, a=DOWN, b=DOWN) == [("studio", "outage", "opened", "warning")]
    assert desk.settle(1, since=began, c=4990) == []


def test_one_that_fails_first_after_a_stop_is_no_outage_by_itself(desk):
    desk.settle(a=5000, b=5000, c=5000)
    began = desk.now + 300 * MINUTE
    assert desk.settle(301, since=began, a=DOWN) == [("a", "stale", "opened", "warning")]
    assert desk.settle(1, since=began, b=4990, c=5000) == []


def test_what_answers_in_the_same_batch_is_no_part_of_an_outage(desk):
    desk.settle(a=5000, b=5000, c=5000)
    assert desk.settle(31, a=DOWN, b=4990, c=DOWN)[0] == ("a", "stale", "opened", "warning")


def test_an_outage_of_everything_is_one_message(desk):
    desk.settle(a=5000, b=5000, c=5000)
    desk.settle(a=DOWN, b=DOWN, c=DOWN)
    assert desk.settle(31, a=DOWN, b=DOWN, c=DOWN) == [("every account", "outage", "opened", "warning")]
    assert desk.settle(a=5000, b=5000, c=5000) == [("every account", "outage", "resolved", "warning")]


def test_one_organization_that_is_silent_among_others_is_stale_itself(desk):
    desk.settle(a=5000, b=5000, c=5000)
    assert desk.settle(31, a=DOWN, b=4990, c=5000) == [("a", "stale", "opened", "warning")]


def test_an_outage_hides_no_low_balance_and_a_known_one_is_still_reminded_of(desk):
    desk.settle(a=100, b=5000, c=5000)
    desk.settle(a=DOWN, b=DOWN, c=5000)
    desk.settle(31, a=DOWN, b=DOWN, c=5000)
    assert desk.settle(4 * 60, a=DOWN, b=DOWN, c=5000) == [("a", "credits", "reminder", "critical")]


def test_a_revoked_key_over_all_organizations_is_one_message_and_no_outage(desk):
    desk.settle(a=5000, b=5000, c=5000)
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "the vendor rejects the key")
    assert desk.settle(a=rejected, b=rejected, c=5000) == [("studio", "credential", "opened", "critical")]
    assert desk.settle(60, a=rejected, b=rejected, c=5000) == []


# --- silences ---------------------------------------------------------------------------------------------------------


def test_a_silence_suppresses_up_to_its_severity_and_what_stands_at_its_end_is_said(desk):
    desk.settle(a=5000, b=5000)
    desk.silence("a", until=desk.now + timedelta(hours=2))
    assert desk.settle(a=900, b=900) == [
        ("a", "credits", "opened", "warning"),
        ("b", "credits", "opened", "warning"),
    ]
    assert desk.deliver() == [["b credits opened"]]
    desk.settle(a=100)
    assert desk.deliver() == [["a credits escalated"]]
    assert desk.deliver("pager") == [["a credits escalated"]]
    desk.settle(121, a=100)
    assert desk.deliver() == []


def test_what_was_silenced_and_stands_is_said_when_the_silence_ends(desk):
    desk.silence("a", until=desk.now + timedelta(hours=2))
    desk.settle(a=900)
    assert desk.settle(60, a=890) == []
    assert desk.deliver() == []
    assert desk.settle(60, a=880) == [("a", "credits", "reminder", "warning")]
    assert desk.deliver() == [["a credits reminder"]]
    desk.settle(a=5000)
    assert desk.deliver() == [["a credits resolved"]]


def test_what_was_silenced_and_is_over_is_never_said(desk):
    desk.silence("a", until=desk.now + timedelta(hours=2))
    desk.settle(a=900)
    desk.settle(a=5000)
    desk.settle(180, a=5000)
    assert desk.deliver() == []


def test_an_acknowledgement_ends_on_escalation(desk):
    desk.settle(a=900)
    desk.deliver()
    desk.silence("a")
    desk.settle(25 * 60, a=890)
    assert desk.deliver() == []
    desk.settle(a=100)
    assert desk.deliver() == [["a credits escalated"]]
    assert desk.store.write_now(lambda tx: silences.active_silences(tx, at=desk.now)) == []


def test_an_acknowledgement_ends_when_it_is_over(desk):
    desk.settle(a=900)
    desk.silence("a")
    desk.settle(a=5000)
    assert desk.store.write_now(lambda tx: silences.active_silences(tx, at=desk.now)) == []
    assert desk.deliver() == [["a credits resolved"]]


def test_a_rejected_key_is_silenced_only_by_name(desk):
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "x")
    desk.silence("studio", up_to=Severity.CRITICAL, until=desk.now + timedelta(days=1))
    desk.settle(a=rejected)
    assert desk.deliver() == [["studio credential opened"]]
    desk.settle(a=5000)
    desk.deliver()
    desk.silence("studio", up_to=Severity.CRITICAL, rule=Rule.CREDENTIAL, until=desk.now + timedelta(days=1))
    desk.settle(a=rejected)
    assert desk.deliver() == []


def test_of_a_paused_organization_nothing_is_said_until_it_goes_on(desk):
    organizations = dict(desk.settings.organizations)
    paused = desk.settings.model_copy(
        update={"organizations": organizations | {"a": replace(organizations["a"], paused=True)}}
    )
    running, desk.settings = desk.settings, paused
    desk.settle(a=5)
    assert desk.deliver() == desk.deliver("pager") == []
    desk.settings = running
    desk.settle(a=4)
    assert desk.deliver() == [["a credits reminder"]]


# --- quiet hours ------------------------------------------------------------------------------------------------------


def quiet(desk: Story) -> None:
    """Quiet from 22:00 to 07:00 in Berlin: until 06:00 UTC in November."""
    hours = QuietHours(time(22), time(7), ZoneInfo("Europe/Berlin"))
    ops = replace(desk.settings.channels["ops"], quiet_hours=hours)
    desk.settings = desk.settings.model_copy(update={"channels": {**desk.settings.channels, "ops": ops}})
    desk.now = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)


def test_quiet_hours_hold_a_warning_until_they_end(desk):
    quiet(desk)
    desk.settle(a=900)
    assert desk.groups(later=timedelta(hours=6)) == []
    assert desk.groups(later=timedelta(hours=7)) == [["a credits opened"]]


def test_quiet_hours_never_hold_what_is_critical(desk):
    quiet(desk)
    desk.settle(a=900)
    desk.settle(a=100)
    assert desk.deliver() == [["a credits escalated"]]


def test_what_is_no_longer_true_at_the_end_of_quiet_hours_is_not_said(desk):
    quiet(desk)
    desk.settle(a=900)
    desk.settle(60, a=5000)
    desk.now += timedelta(hours=12)
    assert desk.deliver() == []


# --- grouping, order, fallback ----------------------------------------------------------------------------------------


def test_what_comes_due_together_is_one_message_and_stays_the_same_when_sent_again(desk):
    desk.settle(a=900, b=100)
    (group,) = desk.claim()
    assert {desk.name(one) for one in group} == {"a credits opened", "b credits opened"}
    for one in group:
        desk.answer(one.id, "refused with HTTP 503")
    desk.settle(c=100)
    assert [len(group) for group in desk.claim()] == [1, 2]


def test_of_one_incident_only_the_newest_is_sent_and_tells_the_rest(desk):
    desk.settle(a=900)
    desk.settle(a=100)
    desk.settle(a=5000)
    ((delivery,),) = desk.claim()
    assert desk.name(delivery) == "a credits resolved"
    assert [older.reason.value for older in delivery.folded] == ["opened", "escalated"]
    assert desk.deliver() == [["a credits resolved"]]


def test_a_channel_that_fails_for_long_is_stood_in_for_once(desk):
    desk.settle(a=900)
    desk.connect(ops="pager")
    ((delivery,),) = desk.claim()
    for minutes in (0, 14, 1, 5):
        desk.now += minutes * MINUTE
        assert (desk.groups("pager") != []) == (minutes == 5)
        desk.answer(delivery.id, "connection error")
    assert desk.groups("pager") == [["a credits opened"]]


def test_a_refusal_for_good_is_handed_over_at_once(desk):
    desk.settle(a=900)
    desk.connect(ops="pager")
    ((delivery,),) = desk.claim()
    desk.answer(delivery.id, "HTTP 404", retryable=False)
    assert desk.groups("pager") == [["a credits opened"]]


def test_a_delivery_is_given_up_after_a_day_of_attempts_and_the_resolved_goes_only_to_who_was_told(desk):
    desk.settle(a=100)
    desk.deliver("pager")
    ((delivery,),) = desk.claim()
    states = []
    for _ in range(30):
        desk.now += timedelta(hours=1)
        states.append(desk.answer(delivery.id, "connection error"))
        if states[-1] is DeliveryState.GIVEN_UP:
            break
    assert states == [DeliveryState.PENDING] * 23 + [DeliveryState.GIVEN_UP]
    desk.settle(a=5000)
    assert desk.groups() == []
    assert desk.groups("pager") == [["a credits resolved"]]


# --- spend and runway -------------------------------------------------------------------------------------------------


def test_spend_sees_through_a_top_up_and_over_a_restart(desk):
    rules = replace(desk.settings.rules, spend=SpendLimit(Decimal(500), timedelta(hours=1), Decimal(400)))
    organizations = {name: replace(one, rules=rules) for name, one in desk.settings.organizations.items()}
    desk.settings = desk.settings.model_copy(update={"organizations": organizations})
    desk.settle(a=5000)
    desk.settle(10, a=4700)
    desk.settle(10, a=9700)
    desk.forecasts = ForecastCache()  # as after a restart
    assert desk.settle(10, a=9450) == [("a", "spend", "opened", "warning")]
    assert desk.settle(50, a=9440) == [("a", "spend", "resolved", "warning")]


def test_runway_is_judged_the_same_over_restarts_at_any_instant(desk):
    rules = replace(desk.settings.rules, credits=(), runway=(Rung(Severity.WARNING, Decimal(72), Decimal(90)),))
    organizations = {name: replace(one, rules=rules) for name, one in desk.settings.organizations.items()}
    desk.settings = desk.settings.model_copy(update={"organizations": organizations})
    said = []
    for step in range(14 * 24):  # 40 credits an hour each, from 12,000 on: empty after 300 hours
        if step % 7 == 0:
            desk.forecasts = ForecastCache()
        balance = 12_000 - 40 * step
        said += [(step, *one[:3]) for one in desk.settle(60, a=max(balance, 0), b=max(balance, 0))]
        desk.forecasts = desk.forecasts if step % 11 else ForecastCache()
    opened = [(step, name) for step, name, _, reason in said if reason == "opened"]
    assert [name for _, name in opened] == ["a", "b"]
    assert all(abs(300 - 72 - step) <= 2 for step, _ in opened)


def test_a_rejected_key_elsewhere_is_no_part_of_an_outage(desk):
    desk.settle(a=5000, b=5000, c=5000)
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "the vendor rejects the key")
    desk.settle(a=DOWN, b=DOWN, c=rejected)
    assert desk.settle(31, a=DOWN, b=DOWN, c=rejected) == [("studio", "outage", "opened", "warning")]


def test_an_account_whose_list_never_came_is_told(desk):
    nobody = {name: one for name, one in desk.settings.organizations.items() if one.account == "studio"}
    desk.settings = desk.settings.model_copy(update={"organizations": nobody})
    desk.reconcile()
    other = desk.account_of["c"]

    def ask(minutes: int) -> list[str]:
        desk.now += minutes * MINUTE
        check = Check(other, None, desk.now, Failure(FailureKind.ACCESS_DENIED, "not there", 404))
        said = desk.store.write_now(lambda tx: settle(tx, [check], desk.settings, desk.forecasts))
        return [f"{n.facts.name} {n.rule.value} {n.reason.value}" for n in said]

    assert ask(1) == ask(30) == []
    assert ask(1) == ["other outage opened"]
    assert ask(60) == []


def test_a_vendor_of_two_minds_about_a_key_does_not_make_it_flap(desk):
    rejected = Failure(FailureKind.CREDENTIAL_REJECTED, "the vendor rejects the key")
    said = [desk.settle(a=rejected, b=5000 - n) for n in range(4)]
    assert said == [[("studio", "credential", "opened", "critical")], [], [], []]
    assert desk.settle(a=5000, b=5000) == [("studio", "credential", "resolved", "critical")]

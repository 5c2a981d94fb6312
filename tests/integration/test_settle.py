"""A batch of checks is kept, judged, and what is to be said is in the outbox: who hears what, by which figures."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from story import DENIED, DOWN, NOON, REJECTED, SPENT, TOML, Story, of_credits

from monitor.model import Failure, FailureKind
from monitor.store.accounts import mark_polled
from monitor.store.tables import accounts, checks, incidents, notifications, organizations, snapshots

OPENED, ESCALATED, EASED, RESOLVED = "opened", "escalated", "eased", "resolved"
TWO_ORGANIZATIONS = (
    TOML
    + """
[channels.art]
[organizations.studio-b]
account = "studio"
id = "org-2"
notify = ["art"]
rules.credits = { warning = 50 }
"""
)


def at(written: str) -> datetime:
    return datetime.fromisoformat(written)


# --- a whole story ----------------------------------------------------------------------------------------------------


async def test_each_channel_hears_what_its_severity_lets_through_and_the_end_of_what_it_heard(story):
    assert await story.check("1500") == []
    assert await story.check("999.999999") == of_credits("ops", reason=OPENED, severity="warning")
    assert await story.check("500") == []
    assert await story.check("199.5") == of_credits("ops", "boss", reason=ESCALATED, severity="critical")
    assert await story.check("205") == []  # inside the band
    assert await story.check("210") == of_credits("ops", "boss", reason=EASED, severity="warning")
    assert await story.check("1049.999999") == []
    assert await story.check("1050") == of_credits("ops", "boss", reason=RESOLVED, severity="warning")
    assert story.open() == []
    assert len(story.rows(incidents)) == 1


async def test_only_those_who_were_told_the_worse_hear_that_it_eased(story):
    await story.check("900")
    story.mark("ops")
    await story.check("100")
    story.give_up("boss")
    assert await story.check("600") == of_credits("ops", reason=EASED, severity="warning")
    assert await story.check("5000") == of_credits("ops", reason=RESOLVED, severity="warning")


async def test_who_was_never_told_hears_of_no_end(story):
    await story.check("900")
    story.give_up("ops")
    assert await story.check("5000") == []
    assert story.open() == []


async def test_who_heard_of_the_escalation_alone_hears_that_it_eased_and_of_its_end(story):
    await story.check("900")
    story.give_up("ops")
    await story.check("100")
    assert await story.check("600") == of_credits("ops", "boss", reason=EASED, severity="warning")


async def test_an_organization_is_told_to_its_own_channels_by_its_own_rules(story):
    await story.restart(TWO_ORGANIZATIONS)
    assert await story.check("500", "studio-b") == []
    assert await story.check("40", "studio-b") == of_credits("art", reason=OPENED, severity="warning")
    assert await story.check("1", "studio-b") == []  # it has no critical level
    assert await story.check("1") == of_credits("ops", "boss", "art", reason=OPENED, severity="critical")


async def test_an_organization_with_an_empty_notify_list_is_judged_and_told_to_nobody(tmp_path, sqlite_url):
    story = Story(tmp_path, sqlite_url).begin(TOML.replace('id = "org-1"', 'id = "org-1"\nnotify = []'))
    assert await story.check("1") == []
    assert story.open() == [("credits", "critical")]
    assert len(story.rows(notifications)) == 1
    await story.end()


async def test_opened_and_resolved_alternate_over_many_swings(story):
    said = []
    for outcome in ["900", "2000", "100", "2000", DOWN, "1", "2000"]:
        if outcome is not DOWN:
            story.now += timedelta(minutes=27)  # with five more between checks: later than what comes back
        said += [reason for channel, _, reason, _ in await story.check(outcome) if channel == "ops"]
    assert said == [OPENED, RESOLVED] * 3


async def test_a_batch_with_a_whole_story_says_all_of_it_in_order(story):
    """What a database that was away missed is settled at once and in order of arrival."""
    for outcome in ["1500", "900", "100", "600", "5000"]:
        story.now += timedelta(minutes=5)
        story.parts.batch.add(story.result(outcome))
    await story.parts.batch.flush()
    reasons = [(channel, reason) for channel, _, reason, _ in story.heard()]
    assert [reason for channel, reason in reasons if channel == "ops"] == [OPENED, ESCALATED, EASED, RESOLVED]
    assert [reason for channel, reason in reasons if channel == "boss"] == [ESCALATED, EASED, RESOLVED]
    assert len(story.rows(snapshots)) == 5


async def test_the_same_check_twice_says_nothing_twice(story):
    await story.check("900")
    result = story.result("900")
    for _ in range(2):
        story.parts.batch.add(result)
    await story.parts.batch.flush()
    assert story.heard() == []
    (row,) = story.rows(organizations)
    assert (row["credits"], row["previous_credits"]) == (900, None)


async def test_confirm_checks_is_counted_in_the_database_and_survives_a_restart(story):
    toml = TOML.replace("[rules]", "[rules]\nconfirm_checks = 3")
    await story.restart(toml)
    assert await story.check("900") == []
    await story.restart(toml)
    assert await story.check(DOWN) == []
    assert await story.check("900", minutes=6) == []
    await story.restart(toml)
    assert await story.check("901") == of_credits("ops", reason=OPENED, severity="warning")


# --- accounts ---------------------------------------------------------------------------------------------------------


async def test_a_rejected_key_over_fifty_organizations_is_one_notification(story):
    many = "".join(f'[organizations.org{n}]\naccount = "studio"\nid = "id-{n}"\n' for n in range(50))
    await story.restart(TOML + many)
    story.now += timedelta(hours=2)
    for number in range(50):
        story.parts.batch.add(story.result(REJECTED, f"org{number}"))
    await story.parts.batch.flush()
    expected = [(channel, "credential", OPENED, "critical") for channel in ("ops", "boss")]
    assert story.heard() == expected
    assert len(story.rows(notifications)) == 1
    assert await story.check(REJECTED, "org7", minutes=120) == []  # its silence is explained: not stale
    assert await story.check("1500", "org7") == [(c, "credential", RESOLVED, "critical") for c in ("ops", "boss")]
    assert len(story.rows(checks)) == 51


async def test_one_accounts_rejected_key_says_nothing_of_another_and_goes_to_its_own_channels(story):
    toml = TWO_ORGANIZATIONS.replace('account = "studio"\nid = "org-2"', 'account = "lab"\nid = "org-2"')
    toml += '[accounts.lab]\nbase_url = "http://127.0.0.1:9"\n'
    await story.restart(toml)
    assert await story.check(REJECTED, "studio-b") == [("art", "credential", OPENED, "critical")]
    assert story.facts()["name"] == "lab"
    assert await story.check("1500") == []
    assert story.open() == [("credential", "critical")]


async def test_a_rejected_key_at_the_account_endpoint_is_told_too(story):
    story.now += timedelta(minutes=1)
    result = story.result(REJECTED)
    story.parts.batch.add(type(result)(result.account_id, None, story.now, REJECTED))
    await story.parts.batch.flush()
    assert [heard[1:] for heard in story.heard()] == [("credential", OPENED, "critical")] * 2
    assert story.rows(checks)[0]["organization_id"] is None


async def test_a_key_that_was_rejected_is_tried_at_once_after_a_start(story):
    async def due_after(outcome):
        await story.check(outcome)
        story.write(lambda tx: mark_polled(tx, 1, story.now))
        await story.restart(TOML)
        return story.parts.due["studio"] - story.now

    assert await due_after("5000") > timedelta(0)
    assert await due_after(REJECTED) == timedelta(0)
    assert await due_after("5000") > timedelta(0)


# --- answers without a balance ----------------------------------------------------------------------------------------


async def test_an_answer_of_no_credits_is_below_every_level_and_stores_no_snapshot(story):
    await story.check("1500")
    assert await story.check(SPENT) == of_credits("ops", "boss", reason=OPENED, severity="critical")
    facts = story.facts()
    assert (facts["no_credits"], Decimal(facts["credits"])) == (True, 1500)
    assert len(story.rows(snapshots)) == 1
    assert await story.check(DOWN) == []
    assert await story.check("1500") == of_credits("ops", "boss", reason=RESOLVED, severity="critical")


@pytest.mark.parametrize("failure", [DOWN, Failure(FailureKind.UNEXPECTED_ANSWER, "credits is null", 200)])
async def test_a_failed_check_neither_opens_nor_closes_credits(story, failure):
    assert await story.check(failure) == []
    await story.check("100")
    assert await story.check(failure) == []
    assert story.open() == [("credits", "critical")]
    assert await story.check("100") == []


async def test_no_balance_for_longer_than_allowed_is_stale_until_a_fresh_one(story):
    await story.check("1500")
    assert await story.check(DOWN, minutes=30) == []
    assert await story.check(DOWN, minutes=1) == [("ops", "stale", OPENED, "warning")]
    facts = story.facts()
    assert Decimal(facts["credits"]) == 1500
    assert facts["cause"] == DOWN.message
    assert await story.check(DOWN, minutes=60) == []
    assert await story.check("1400") == [("ops", "stale", RESOLVED, "warning")]


async def test_denied_access_is_told_at_once_and_ends_with_a_balance(story):
    assert await story.check(DENIED) == [(c, "access", OPENED, "critical") for c in ("ops", "boss")]
    assert await story.check(DENIED, minutes=120) == []
    assert await story.check("1500") == [(c, "access", RESOLVED, "critical") for c in ("ops", "boss")]


# --- figures ----------------------------------------------------------------------------------------------------------


FIGURES = {"credits", "level", "clear", "previous_credits", "day_ago_credits"}


async def test_a_notification_keeps_the_figures_it_was_judged_by(story):
    for outcome, minutes in [("2000", 0), ("1800.5", 60), ("1700", 23 * 60 - 5), ("148.2", 5)]:
        await story.check(outcome, minutes=minutes)
    await story.check("140")  # what comes later does not change what is kept
    facts = story.facts()
    figures = {key: Decimal(value) for key, value in facts.items() if key in FIGURES}
    assert figures == {
        "credits": Decimal("148.2"),
        "level": 200,
        "clear": 210,
        "previous_credits": 1700,
        "day_ago_credits": 2000,
    }
    assert at(facts["taken_at"]) == at(facts["at"]) == at(facts["opened_at"]) == NOON + timedelta(days=1)
    assert at(facts["previous_at"]) == NOON + timedelta(hours=23, minutes=55)
    assert at(facts["day_ago_at"]) == NOON
    assert (facts["name"], facts["account"], facts["vendor_id"]) == ("farm", "studio", "org-1")


async def test_resolved_says_what_was_topped_up_since_it_opened_and_not_what_came_before(story):
    for outcome in ["1000", "6000", "900", "1000", "950", "5000"]:
        await story.check(outcome)
    facts = story.facts()
    assert Decimal(facts["topped_up"]) == Decimal(100) + 4050
    assert (Decimal(facts["top_up_credits"]), at(facts["top_up_at"])) == (4050, story.now)
    assert at(facts["opened_at"]) == NOON + timedelta(minutes=15)
    (row,) = story.rows(incidents)
    assert (row["opened_credits"], row["resolved_credits"], row["resolved_reason"]) == (900, 5000, "resolved")


async def test_the_first_balance_ever_has_no_change_to_tell(story):
    await story.check("100")
    assert not {"previous_credits", "top_up_credits", "top_up_at"} & story.facts().keys()


async def test_the_worst_severity_of_an_incident_is_kept(story):
    for outcome in ["900", "100", "600", "5000"]:
        await story.check(outcome)
    (row,) = story.rows(incidents)
    assert (row["severity"], row["worst_severity"], row["resolved_at"]) == ("warning", "critical", story.now)


async def test_every_notification_has_an_id_of_its_own(story):
    for _ in range(5):
        story.now += timedelta(minutes=31)
        await story.check("100")
        await story.check("5000")
    ids = [row["id"] for row in story.rows(notifications)]
    assert len(set(ids)) == 10
    assert all(len(one) >= 16 for one in ids)


async def test_no_key_is_anywhere_in_the_database(story):
    await story.check(REJECTED)
    kept = [story.rows(table) for table in (accounts, organizations, checks, incidents, notifications)]
    assert "sk-" not in str(kept)


async def test_what_comes_and_goes_is_one_incident_that_ends_when_it_has_been_quiet(story):
    assert await story.check("900") == of_credits("ops", reason=OPENED, severity="warning")
    assert await story.check("5000") == of_credits("ops", reason=RESOLVED, severity="warning")
    assert await story.check("900") == of_credits("ops", reason=OPENED, severity="warning")
    assert story.facts()["quiet_for"] == "PT30M"
    for outcome in ["5000", "900", "5000", "900", "5000"]:
        assert await story.check(outcome) == []
    await story.restart()  # what is needed stands in the row
    (row,) = story.rows(incidents)
    assert (row["returns"], row["resolved_at"], row["worst_told"]) == (3, None, "warning")
    assert await story.check("100") == of_credits("ops", "boss", reason=OPENED, severity="critical")
    assert await story.check("5000") == []
    assert await story.check("5000", minutes=24) == []
    assert await story.check(DOWN) == []
    assert await story.check("5000", minutes=2) == of_credits("ops", "boss", reason=RESOLVED, severity="critical")
    (row,) = story.rows(incidents)
    assert (row["resolved_at"], row["worst_severity"]) == (story.now, "critical")
    assert await story.check("900", minutes=31) == of_credits("ops", reason=OPENED, severity="warning")
    assert len(story.rows(incidents)) == 2


async def test_a_rule_switched_off_ends_what_flaps_and_is_clear_at_present(story):
    for outcome in ["900", "5000", "900", "5000"]:
        await story.check(outcome)
    await story.restart(
        TOML.replace("[rules]", '[rules]\ncredits = "off"').replace(
            "credits = { warning = 1000, critical = 200 }\n", ""
        )
    )
    (row,) = story.rows(incidents)
    assert row["resolved_reason"] == "reconfigured"


async def test_a_key_that_is_taken_and_refused_in_turn_is_told_four_times_an_hour_at_most(story):
    heard = []
    for number in range(60):
        outcome = REJECTED if number % 2 == 0 else "5000"
        heard += [reason for channel, rule, reason, _ in await story.check(outcome, minutes=1) if channel == "ops"]
    assert heard == [OPENED, RESOLVED, OPENED]

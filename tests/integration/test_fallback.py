"""When a channel is down, who stands in for it, and what it hears when it is back: on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from story import DOWN, START, Story

from monitor.check import expedite
from monitor.config import Channel, QuietHours
from monitor.model import Attempt, DeliveryState, Severity
from monitor.notify import fallback
from monitor.notify.fallback import judge_attempt
from monitor.poll import catch_up
from monitor.store import channels
from monitor.store.channels import ChannelState
from monitor.store.tables import deliveries

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
AFTER = 15 * MINUTE
UP = ChannelState("main")
FAILED, REFUSED = Attempt(1, "HTTP 503"), Attempt(1, "HTTP 403", retryable=False)
UNKNOWN = Attempt(1, "no answer", unknown=True)
FAILING = ChannelState("main", failing_since=START, reason="HTTP 503")
GONE = ChannelState("main", START, START, "HTTP 403")
# `main` alone is notified of; `second` and `third` stand in, in a chain.
CHAIN = """
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.a]
account = "studio"
id = "org-a"
notify = ["main"]
[organizations.b]
account = "studio"
id = "org-b"
notify = ["main"]
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
[channels.main]
fallback = "second"
[channels.second]
fallback = "third"
[channels.third]
"""


# --- the state of a channel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "attempt", "minutes", "after"),
    [
        (UP, FAILED, 0, FAILING),
        (FAILING, FAILED, 14, FAILING),
        (FAILING, FAILED, 15, replace(FAILING, down_since=START + AFTER)),
        (FAILING, UNKNOWN, 15, replace(FAILING, down_since=START + AFTER, reason="no answer")),
        (UP, REFUSED, 0, GONE),
        (FAILING, REFUSED, 1, replace(FAILING, down_since=START + MINUTE, reason="HTTP 403")),
        (GONE, FAILED, 60, replace(GONE, reason="HTTP 503")),
        (GONE, Attempt(1, None), 60, UP),
        (FAILING, Attempt(1, None), 1, UP),
        (FAILING, FAILED, -60, replace(FAILING, failing_since=START - HOUR)),  # the clock was stepped back
    ],
)
def test_the_state_of_a_channel_after_an_attempt(before, attempt, minutes, after):
    assert judge_attempt(before, attempt, at=START + minutes * MINUTE, fallback_after=AFTER) == after


@pytest.mark.parametrize(("asked", "pause", "is_down"), [(5, 5, False), (16, 16, True), (600, 60, True)])
def test_a_service_that_asks_for_a_pause_gets_an_hour_at_most_and_is_down_when_that_is_too_long(asked, pause, is_down):
    state = judge_attempt(UP, replace(FAILED, retry_after=asked * MINUTE), at=START, fallback_after=AFTER)
    assert state.paused_until == START + pause * MINUTE
    assert bool(state.down_since) is is_down
    assert state.is_paused(START + pause * MINUTE - timedelta(seconds=1))
    assert not state.is_paused(START + pause * MINUTE)
    assert not state.is_paused(START - timedelta(seconds=1))  # the clock was stepped back


# --- who stands in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fallbacks", "down", "expected"),
    [
        ({"a": "b"}, {"a"}, "b"),
        ({"a": "b", "b": "c"}, {"a", "b"}, "c"),
        ({"a": "b", "b": "c"}, {"a", "b", "c"}, None),
        ({"a": "b", "b": "a"}, {"a", "b"}, None),
        ({"a": "b", "b": "c", "c": "b"}, {"a", "b"}, "c"),
        ({}, {"a"}, None),
    ],
)
def test_the_first_that_is_up_stands_in_and_cycles_end(desk, fallbacks, down, expected):
    named = {name: Channel(name, Severity.INFO, fallback=fallbacks.get(name)) for name in "abc"}
    assert fallback.stand_in(desk.settings.model_copy(update={"channels": named}), "a", down) == expected


@pytest.fixture
async def chain(tmp_path, database_url):
    story = Story(tmp_path, database_url, START).begin(CHAIN)
    story.settle(a=5000, b=5000)
    yield story
    await story.end()


def change(story: Story, name: str, **values: object) -> None:
    changed = replace(story.settings.channels[name], **values)
    story.settings = story.settings.model_copy(update={"channels": {**story.settings.channels, name: changed}})


def fail(story: Story, channel: str, error: str = "HTTP 403") -> None:
    """Let everything fail that is due on a channel."""
    for group in story.claim(channel):
        for delivery in group:
            story.answer(delivery.id, error, retryable=not error.endswith("403"))


def states(story: Story, channel: str) -> list[str]:
    return [row["state"] for row in story.rows(deliveries, deliveries.c.channel == channel)]


def told(story: Story, channel: str) -> list[list[str]]:
    """Delivers what is due on a channel: the reasons in each message, what is folded in it first."""
    said = []
    for group in story.claim(channel):
        said.append([one.reason.value for delivery in group for one in (*delivery.folded, delivery.said)])
        for delivery in group:
            story.answer(delivery.id)
    return said


def test_a_dead_main_channel_is_stood_in_for_in_every_step_and_need_not_hear_what_ended_meanwhile(chain):
    for balance, reason in ((900, "opened"), (100, "escalated"), (5000, "resolved")):
        chain.settle(a=balance)
        fail(chain, "main")
        assert told(chain, "second") == [[reason]]
    assert states(chain, "main") == ["folded", "folded", "pending"]
    chain.settle(b=900)
    (group,) = (group for group in chain.claim("main") if group[0].said.facts.name == "b")
    chain.answer(group[0].id)
    assert states(chain, "main") == ["folded", "folded", "withdrawn", "delivered"]
    assert chain.write(channels.load) == {}


def test_what_is_still_open_is_told_once_when_the_channel_is_back_and_joined(chain):
    chain.settle(a=900)
    chain.settle(b=100)
    fail(chain, "main")
    chain.settle(a=100)
    fail(chain, "main")
    chain.now += HOUR
    first, *_ = chain.claim("main")
    chain.answer(first[0].id)
    messages = chain.claim("main")
    assert len(messages) == 1
    chain.deliver("main")
    assert states(chain, "main").count("delivered") == 2
    assert chain.deliver("main") == []


def test_it_begins_at_once_for_all_that_waits_and_for_what_comes(chain):
    chain.settle(a=900)
    chain.settle(b=900)
    ((first, _),) = chain.claim("main")
    chain.answer(first.id, "HTTP 403", retryable=False)
    assert len(told(chain, "second")[0]) == 2
    chain.settle(a=100)
    assert told(chain, "second") == [["escalated"]]


def test_a_channel_that_fails_is_down_by_the_clock_alone(chain):
    chain.settle(a=900)
    fail(chain, "main", "HTTP 503")
    chain.settle(14, a=100)
    assert not chain.write(lambda tx: fallback.go_down(tx, chain.settings, "main", at=chain.now)).went_down
    chain.now += MINUTE
    outcome = chain.write(lambda tx: fallback.go_down(tx, chain.settings, "main", at=chain.now))
    assert (outcome.went_down, outcome.stand_in) == (True, "second")
    assert told(chain, "second") == [["opened", "escalated"]]


def test_a_chain_leads_to_the_first_that_is_up_and_is_looked_at_again_when_that_changes(chain):
    chain.settle(a=900)
    fail(chain, "main")
    fail(chain, "second")
    assert told(chain, "third") == [["opened"]]
    chain.settle(a=100)
    assert told(chain, "third") == [["escalated"]]
    chain.settle(b=900)
    fail(chain, "third")
    assert chain.write(channels.load_down) == {"main", "second", "third"}
    chain.settle(a=5000)
    assert "resolved" in [reason for message in told(chain, "second") for reason in message]
    assert chain.write(channels.load_down) == {"main", "third"}


def test_a_cycle_of_dead_channels_ends(chain):
    change(chain, "third", fallback="main")
    chain.settle(a=900)
    for name in ("main", "second", "third"):
        fail(chain, name)
    assert [states(chain, name) for name in ("main", "second", "third")] == [["pending"]] * 3
    assert told(chain, "third") == [["opened"]]
    assert chain.write(channels.load_down) == {"main", "second"}


def test_the_stand_in_s_own_minimum_severity_holds_for_the_worst_of_what_is_told(chain):
    change(chain, "second", min_severity=Severity.CRITICAL)
    chain.settle(a=900)
    fail(chain, "main")
    assert told(chain, "second") == []
    chain.settle(b=100)
    assert told(chain, "second") == [["opened"]]
    chain.settle(a=100)
    assert told(chain, "second") == [["opened", "escalated"]]
    chain.settle(a=300)
    assert told(chain, "second") == [["eased"]]
    chain.settle(a=5000)
    assert told(chain, "second") == [["resolved"]]


def test_better_news_goes_to_the_stand_in_of_whoever_was_told_something_that_it_would_hear(chain):
    change(chain, "second", min_severity=Severity.CRITICAL)
    chain.settle(a=100, b=900)
    chain.deliver("main")
    chain.settle(a=5000, b=5000)
    fail(chain, "main")
    (group,) = chain.claim("second")
    assert [delivery.said.facts.name for delivery in group] == ["a"]


def test_the_stand_in_s_own_quiet_hours_hold(chain):
    change(chain, "second", quiet_hours=QuietHours(time(22), time(7), ZoneInfo("UTC")))
    chain.now = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)
    chain.settle(a=900)
    fail(chain, "main")
    assert chain.claim("second") == []
    assert chain.groups("second", later=8 * HOUR) == [["a credits opened"]]
    chain.settle(b=100)
    assert told(chain, "second") == [["opened"]]


def test_what_quiet_hours_hold_is_given_to_the_stand_in_when_they_end(chain):
    change(chain, "main", quiet_hours=QuietHours(time(22), time(7), ZoneInfo("UTC")))
    chain.settle(b=100)
    fail(chain, "main")
    chain.deliver("second")
    chain.now = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)
    chain.settle(a=900)
    assert told(chain, "second") == []
    chain.now += 8 * HOUR
    fail(chain, "main")
    assert told(chain, "second") == [["opened"]]


def test_a_message_that_a_channel_does_not_take_is_told_elsewhere_though_it_takes_others(chain):
    chain.settle(a=900)
    ((stuck,),) = chain.claim("main")
    for balance in (900, 100, 300, 5000):
        chain.answer(stuck.id, "HTTP 400")
        chain.settle(5, b=balance)
        (other,) = (delivery for group in chain.claim("main") for delivery in group if delivery.id != stuck.id)
        chain.answer(other.id)
    chain.answer(stuck.id, "HTTP 400")
    assert chain.write(channels.load_down) == set()
    assert told(chain, "second") == [["opened"]]


def test_what_was_given_up_while_a_channel_was_down_is_told_again_when_it_is_back(chain):
    chain.settle(a=900)
    fail(chain, "main")
    chain.give_up("main")
    chain.settle(24 * 60, b=100)
    assert states(chain, "main") == ["given_up", "pending"]
    ((delivery,),) = chain.claim("main")
    chain.answer(delivery.id)
    chain.write(lambda tx: catch_up(tx, chain.settings, chain.forecasts, at=chain.now, channel="main"))
    assert chain.groups("main") == [["a credits opened"]]
    chain.deliver("main")
    chain.write(lambda tx: catch_up(tx, chain.settings, chain.forecasts, at=chain.now, channel="main"))
    assert chain.groups("main") == []


def test_older_news_that_is_handed_over_never_follows_what_the_stand_in_knows_already(chain):
    everybody = replace(chain.settings.organizations["a"], notify=("main", "second"))
    chain.settings = chain.settings.model_copy(
        update={"organizations": {**chain.settings.organizations, "a": everybody}}
    )
    change(chain, "second", min_severity=Severity.CRITICAL)
    chain.settle(a=900)
    chain.settle(a=100)
    chain.deliver("second")
    fail(chain, "main")
    assert told(chain, "second") == []
    assert states(chain, "second") == ["delivered"]


def test_a_start_lets_what_was_refused_be_tried_at_once_and_a_mended_channel_all(chain):
    chain.settle(a=900)
    fail(chain, "main")
    fail(chain, "second", "HTTP 503")
    chain.now += timedelta(seconds=1)
    assert [chain.claim(name, later=timedelta(0)) for name in ("main", "second")] == [[], []]
    chain.write(lambda tx: fallback.begin(tx, chain.settings, at=chain.now))
    assert [len(chain.claim(name, later=timedelta(0))) for name in ("main", "second")] == [1, 0]
    chain.write(lambda tx: fallback.begin(tx, chain.settings, at=chain.now, mended=["second"]))
    assert len(chain.claim("second", later=timedelta(0))) == 1


def test_a_message_of_another_command_that_arrives_ends_the_pauses(chain):
    chain.settle(a=900)
    fail(chain, "main")
    chain.now += timedelta(seconds=1)
    assert chain.write(lambda tx: fallback.take_success(tx, chain.settings, "main", at=chain.now))
    assert chain.write(channels.load) == {}
    assert len(chain.claim("main", later=timedelta(0))) == 1


def test_a_test_message_that_arrives_lets_what_waits_be_tried_at_once_and_tells_what_was_given_up(chain):
    chain.settle(a=900)
    chain.settle(b=100)
    fail(chain, "main")
    chain.give_up("main")
    expedite(chain.settings, ["main"], at=chain.now)
    assert chain.write(channels.load) == {}
    (group,) = chain.claim("main", later=MINUTE)
    assert {delivery.said.facts.name for delivery in group} == {"a", "b"}
    expedite(chain.settings, ["main", "second"], at=chain.now)
    assert len(states(chain, "main")) == 4


def test_a_test_message_needs_no_database(chain, tmp_path):
    url = f"sqlite:///{tmp_path}/nowhere/at/all.db"
    nowhere = chain.settings.model_copy(update={"database": replace(chain.settings.database, url=url)})
    expedite(nowhere, ["main"], at=chain.now)
    assert not (tmp_path / "nowhere").exists()


def test_an_outage_of_everything_is_handed_over_like_anything_else(chain):
    chain.settle(a=DOWN, b=DOWN)
    chain.settle(31, a=DOWN, b=DOWN)
    fail(chain, "main")
    assert told(chain, "second") == [["opened"]]


def test_a_success_of_what_was_folded_meanwhile_is_kept(chain):
    chain.settle(a=900)
    ((delivery,),) = chain.claim("main")
    chain.settle(a=100)
    assert chain.answer(delivery.id) is DeliveryState.DELIVERED
    assert told(chain, "main") == [["escalated"]]

"""Top-ups while nothing is open: who is told of them, once, and when not."""

from datetime import timedelta

import pytest
from story import NOON, THREE, Story

from monitor.model import Message, Reason
from monitor.store import deliveries, outbox
from monitor.store.tables import notifications

TOML = THREE.replace("[channels.ops]", "[channels.ops]\ntop_ups = true\nmin_severity = 'critical'").replace(
    "[channels.pager]", "[channels.pager]\ntop_ups = true"
)


@pytest.fixture
async def desk(tmp_path, database_url):
    pager = "pagerduty://a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3@abcdefghijkl"
    story = Story(tmp_path, database_url, NOON, urls={"pager": pager}).begin(TOML)
    yield story
    await story.end()


def told(desk: Story, channel: str = "ops") -> list[str]:
    """The subjects of the messages in words that a channel is sent now."""
    at = desk.now + timedelta(seconds=2)
    groups = desk.write(lambda tx: deliveries.claim_due(tx, channel, at, limit=99))
    return [one.said.subject for group in groups for one in group if isinstance(one.said, Message)]


def test_top_ups_of_a_batch_are_one_message(desk):
    desk.settle(a=5000, b=5000, c=5000)
    desk.settle(a=6000, b="7000.5", c=4990)
    at = desk.now + timedelta(seconds=2)
    ((only,),) = desk.write(lambda tx: deliveries.claim_due(tx, "ops", at, limit=99))
    assert only.said.subject == "TOP-UP: 2 organizations have more credits"
    rows = [line.split() for line in only.said.text.splitlines() if "UTC" in line]
    assert [row[:3] for row in rows] == [["b", "+2,000.5", "7,000.5"], ["a", "+1,000", "6,000"]]


def test_one_top_up_is_told_with_its_figures_whatever_the_minimum_severity(desk):
    desk.settle(a=5000)
    desk.settle(a="5000.25")
    assert told(desk) == ["TOP-UP: a has 5,000.25 credits, 0.25 more"]


def test_nobody_is_paged_for_a_top_up(desk):
    desk.settle(a=5000)
    desk.settle(a=6000)
    assert told(desk, "pager") == []


def test_a_top_up_that_ends_something_or_comes_while_something_is_open_is_told_by_that(desk):
    desk.settle(a=900)
    desk.settle(a=950)
    desk.settle(a=5000)
    assert told(desk) == []


def test_a_top_up_of_what_is_silenced_is_not_told(desk):
    desk.settle(a=5000, b=5000)
    desk.silence("a", until=desk.now + timedelta(hours=4))
    desk.settle(a=6000)
    assert told(desk) == []


def test_a_fall_and_the_first_balance_are_no_top_ups(desk):
    desk.settle(a=5000)
    desk.settle(a=4000)
    desk.settle(a=4000)
    assert told(desk) == []


def test_a_top_up_is_no_digest_and_no_other_channel_stands_in_for_it(desk):
    desk.settle(a=5000)
    desk.settle(a=6000)
    assert desk.write(lambda tx: outbox.last_digest_at(tx, "ops")) is None
    assert [row["reason"] for row in desk.rows(notifications)] == [Reason.DIGEST.value]
    waiting = desk.write(lambda tx: outbox.waiting(tx, "ops", at=desk.now, stand_in="pager", others=[]))
    assert waiting == []

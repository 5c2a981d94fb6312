"""What is owed is sent by real children to real receivers: in order, at least once, and no channel holds up another."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import sqlalchemy as sa
from receivers import web
from story import TOML, Story
from wait import LONG, STOP, until

from monitor import channels
from monitor.channels import PER_MESSAGE
from monitor.notify import delivery, outcomes
from monitor.sandbox import Behaviour, Received, Receiver
from monitor.sandbox.receiver import SLOWNESS
from monitor.store.tables import attempts, deliveries, notifications

CANARY = "canary-channel-90ab77"
VIDEO = '[organizations.video]\naccount = "studio"\nid = "org-2"\n'
EVERYTHING = TOML.replace('min_severity = "critical"\n', "") + VIDEO
OWN = (TOML.replace('id = "org-1"', 'id = "org-1"\nnotify = ["ops"]') + VIDEO + 'notify = ["boss"]\n').replace(
    'min_severity = "critical"\n', ""
)


@dataclass
class Post:
    """A monitor, and a receiver for each of its channels."""

    story: Story
    receivers: dict[str, Receiver]
    received: dict[str, list[Received]] = field(default_factory=dict)

    def titles(self, channel: str) -> list[str]:
        return [one.title for one in self.received[channel]]

    def ids(self, channel: str) -> list[str]:
        """The notification's id in each message that arrived."""
        return [found for one in self.received[channel] for found in re.findall(r"otification (\w{16})", one.message)]

    def states(self, channel: str) -> list[str]:
        return [row["state"] for row in self.story.rows(deliveries, deliveries.c.channel == channel)]

    async def drain(self, *, later: float = 0) -> None:
        self.story.now += timedelta(minutes=later)
        async with asyncio.timeout(LONG):
            await self.story.parts.deliverer.drain()

    def run(self) -> asyncio.Task[None]:
        self.story.now += timedelta(minutes=1)
        return asyncio.create_task(self.story.parts.deliverer.run())


@pytest.fixture
def database_url(request, sqlite_url) -> str:
    """SQLite, but where a database goes away: every child costs a second, and the outbox has tests of its own."""
    return sqlite_url if getattr(request, "param", "sqlite") == "sqlite" else request.getfixturevalue("postgres_url")


both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def post(tmp_path, database_url) -> AsyncIterator[Post]:
    received: dict[str, list[Received]] = {"ops": [], "boss": []}
    async with AsyncExitStack() as stack:
        receivers = {
            name: await stack.enter_async_context(Receiver(messages.append)) for name, messages in received.items()
        }
        urls = {name: one.url(CANARY) for name, one in receivers.items()}
        one = Post(Story(tmp_path, database_url, urls=urls).begin(EVERYTHING), receivers, received)
        yield one
        await one.story.end()


async def stopped(task: asyncio.Task) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- order ------------------------------------------------------------------------------------------------------------


async def test_draining_sends_what_is_due(post):
    for outcome in ["900", "100", "5000"]:
        await post.story.check(outcome)
        await post.drain()
    for channel in ("ops", "boss"):
        assert [title.split(":")[0] for title in post.titles(channel)] == ["WARNING", "CRITICAL", "RESOLVED"]
        assert post.states(channel) == ["delivered"] * 3
    assert post.ids("ops") == post.ids("boss")
    assert len(set(post.ids("ops"))) == 3
    await post.drain(later=60)
    assert len(post.titles("ops")) == 3


async def test_what_was_not_delivered_is_told_with_what_came_next(post):
    for outcome in ["900", "100", "5000"]:
        await post.story.check(outcome)
    await post.drain()
    (message,) = post.received["ops"]
    assert message.title.startswith("RESOLVED: ")
    assert "Not delivered before now: warning since 12:05, critical since 12:10, resolved 12:15 (UTC)." in (
        message.message
    )
    assert all(row["id"] in message.message for row in post.story.rows(notifications))
    assert post.states("ops") == ["folded", "folded", "delivered"]


async def test_a_dead_channel_neither_delays_nor_repeats_another_and_hears_all_at_once_when_it_is_back(post, caplog):
    caplog.set_level("DEBUG")
    post.receivers["boss"].behaviour = Behaviour.REFUSE
    for tries, outcome in enumerate(["900", "100"], start=1):
        await post.story.check(outcome)
        await post.drain(later=10)
        assert (len(post.titles("ops")), post.receivers["boss"].attempts) == (tries, tries)
    assert post.states("boss") == ["folded", "pending"]
    post.receivers["boss"].behaviour = Behaviour.TAKE
    await post.drain(later=10)
    assert post.titles("boss") == post.titles("ops")[1:]
    errors = [row["error"] for row in post.story.rows(attempts, attempts.c.error.is_not(None))]
    assert len(errors) == 2
    assert all("503" in error for error in errors)
    assert CANARY not in caplog.text + str(errors)


async def test_what_failed_together_comes_due_together_however_long_keeping_that_takes(post):
    for name in ("farm", "video"):
        await post.story.check("900", name, minutes=0)
    post.receivers["ops"].behaviour = Behaviour.REFUSE
    seconds = itertools.count()
    post.story.parts.deliverer._clock = lambda: post.story.now + timedelta(minutes=1, seconds=next(seconds))
    await post.drain()
    rows = post.story.rows(deliveries, deliveries.c.channel == "ops")
    assert [row["attempts"] for row in rows] == [1, 1]
    assert len({row["next_attempt_at"] for row in rows}) == 1


async def test_incidents_that_begin_together_are_told_together_with_all_their_ids(post):
    for name in ("farm", "video"):
        await post.story.check("900", name, minutes=0)
    await post.drain()
    (message,) = post.received["ops"]
    kept = [row["id"] for row in post.story.rows(notifications)]
    assert all(one in message.message for one in kept)
    assert post.states("ops") == ["delivered", "delivered"]


async def test_what_is_owed_to_no_channel_of_ours_is_left_alone(post):
    await post.story.check("900")
    change = deliveries.update().where(deliveries.c.channel == "boss").values(channel="elsewhere")
    post.story.write(lambda tx: tx.execute(change))
    await post.drain()
    assert (len(post.titles("ops")), post.titles("boss")) == (1, [])
    assert post.states("elsewhere") == ["pending"]


async def test_channels_that_failed_or_were_slow_wait_for_room_behind_the_others(post, monkeypatch):
    monkeypatch.setattr(channels, "CHILDREN", 1)
    order: list[str] = []
    for name, receiver in post.receivers.items():
        receiver._on_message = _then(post.received[name].append, lambda _name=name: order.append(_name))
    post.receivers["ops"].behaviour = Behaviour.REFUSE
    await post.story.check("100")
    running = post.run()
    await until(lambda: post.states("boss") == ["delivered"] and len(post.story.rows(attempts)) == 2)
    await stopped(running)
    post.receivers["ops"].behaviour = Behaviour.TAKE
    order.clear()
    await post.story.restart(EVERYTHING)  # what failed is stored
    await post.story.check("100", "video")
    await post.drain(later=10)
    assert list(dict.fromkeys(order)) == ["boss", "ops"]
    order.clear()
    post.story.parts.deliverer._slow = {"boss"}
    await post.story.check("5000")
    await post.drain()
    assert order == ["ops", "boss"]


async def test_a_channel_that_is_slow_leaves_room_for_one_that_may_have_something_to_send(post, monkeypatch):
    monkeypatch.setattr(channels, "CHILDREN", 1)
    deliverer = post.story.parts.deliverer
    deliverer._slow = {"boss"}
    await post.story.check("100")
    change = deliveries.delete().where(deliveries.c.channel == "ops")
    post.story.write(lambda tx: tx.execute(change))
    running = post.run()
    await asyncio.sleep(2.5)
    assert post.states("boss") == ["pending"]  # ops has nothing to send, and may have any time
    deliverer._slow = {"boss", "ops"}
    await until(lambda: post.states("boss") == ["delivered"])
    await stopped(running)


@pytest.mark.parametrize(
    ("waiting", "behind", "busy", "room", "starting"),
    [
        ("abcd", "", "", 4, "abcd"),
        ("abcd", "abcd", "", 4, "abcd"),  # room for all: whatever they did before
        ("abcd", "abc", "", 4, "dabc"),
        ("bcda", "", "", 2, "ab"),  # the worst first
        ("bcda", "a", "", 3, "bcd"),
        ("abc", "abc", "", 3, "ab"),  # one is left for d, which is not slow
        ("abc", "abc", "d", 4, "abc"),
        ("abc", "abcd", "d", 3, "ab"),
        ("abc", "", "d", 1, ""),
    ],
)
async def test_who_is_sent_to_when_there_is_no_room_for_all(post, monkeypatch, waiting, behind, busy, room, starting):
    monkeypatch.setattr(channels, "CHILDREN", room)
    deliverer = post.story.parts.deliverer
    deliverer._urls = dict.fromkeys("abcd", "")
    deliverer._busy = dict.fromkeys(busy)
    due = {name: 3 if name == "a" else 2 for name in waiting}
    assert "".join(deliverer._with_room(list(waiting), due, behind=set(behind))) == starting
    deliverer._busy = {}


async def test_a_channel_that_takes_long_is_slow_until_it_does_not(post, monkeypatch):
    monkeypatch.setattr("monitor.notify.delivery.SLOW", SLOWNESS)
    deliverer = post.story.parts.deliverer
    post.receivers["boss"].behaviour = Behaviour.TAKE_SLOWLY
    await post.story.check("100")
    await post.drain()
    assert "boss" in deliverer._slow
    monkeypatch.setattr("monitor.notify.delivery.SLOW", LONG)
    await post.story.check("5000")
    await post.drain()
    assert deliverer._slow == set()


# --- hanging and stopping ---------------------------------------------------------------------------------------------


async def test_a_channel_that_hangs_holds_up_itself_alone_and_is_cut_short_by_a_stop(post):
    post.receivers["boss"].behaviour = Behaviour.HANG
    await post.story.check("900")
    running = post.run()
    await until(lambda: post.receivers["boss"].attempts == 1 and post.states("ops") == ["delivered"])
    await post.story.check("100")
    post.story.now += timedelta(minutes=1)
    post.story.parts.deliverer.wake()
    await until(lambda: len(post.titles("ops")) == 2)
    async with asyncio.timeout(PER_MESSAGE.total_seconds() / 2):
        await post.story.parts.deliverer.finish(timeout=0.2)
        await stopped(running)
    assert post.states("boss") == ["folded", "pending"]
    assert post.story.rows(attempts, attempts.c.error.is_not(None)) == []


async def test_nothing_is_begun_after_the_finish(post):
    running = post.run()
    await asyncio.sleep(0.1)
    await post.story.parts.deliverer.finish(timeout=1)
    await post.story.check("100")
    post.story.now += timedelta(minutes=1)
    post.story.parts.deliverer.wake()
    await asyncio.sleep(0.5)
    await stopped(running)
    assert post.received == {"ops": [], "boss": []}
    assert post.states("ops") == ["pending"]


async def test_what_was_left_pending_is_sent_after_a_restart(post):
    await post.story.check("900")
    await post.story.restart(EVERYTHING)
    await post.drain(later=1)
    assert len(post.titles("ops")) == len(post.titles("boss")) == 1


async def test_something_worse_waits_ten_seconds_at_most_for_what_a_channel_hangs_in(post, monkeypatch):
    monkeypatch.setattr(delivery, "HURRIED", 0.5)
    async with web("hang", "ok") as receiver:
        post.story.urls["ops"] = f"json://127.0.0.1:{receiver.port}/"
        await post.story.restart(OWN)
        await post.story.check("900")
        running = post.run()
        await until(lambda: receiver.bodies)
        await post.story.check("900", "video")
        await asyncio.sleep(1.5)
        assert len(receiver.bodies) == 1  # what is no worse waits
        await post.story.check("100")
        await until(lambda: len(receiver.bodies) == 2)
        await until(lambda: post.states("ops") == ["folded", "delivered"])
        assert "CRITICAL" in receiver.said[1]["title"]
        assert "warning since" in receiver.said[1]["message"]
        await stopped(running)
    (row,) = post.story.rows(deliveries, deliveries.c.unknowns > 0)
    assert row["last_error"] == "no answer within 0.5 s, and something worse waits"


async def test_what_another_process_enqueued_is_sent_within_two_seconds(post):
    running = post.run()
    await asyncio.sleep(0.2)
    await post.story.check("900", minutes=0)  # the batch does not wake anybody for another process's checks
    post.story.parts.deliverer._woken.clear()
    await until(lambda: post.titles("ops"), within=STOP)
    await stopped(running)


# --- a channel that is down -------------------------------------------------------------------------------------------

STOOD_IN_FOR = OWN.replace("[channels.ops]", '[channels.ops]\nfallback = "boss"')


@pytest.mark.parametrize("refusal", [403, 503])
async def test_while_a_channel_is_dead_its_fallback_hears_everything_and_then_itself_how_it_is(post, refusal):
    await post.story.restart(STOOD_IN_FOR)
    post.receivers["ops"].behaviour, post.receivers["ops"].refusal = Behaviour.REFUSE, refusal
    for outcome in ("500", "100", "5000"):
        await post.story.check(outcome)
        for _ in range(3):
            await post.drain(later=8)
    assert [title.split(":")[0] for title in post.titles("boss")] == ["WARNING", "CRITICAL", "RESOLVED"]
    assert post.states("ops") == ["folded", "folded", "pending"]
    await post.story.check("100")
    await post.drain(later=1)
    assert [title.split(":")[0] for title in post.titles("boss")][3:] == ["CRITICAL"]
    post.receivers["ops"].behaviour = Behaviour.TAKE
    await post.drain(later=70)
    await post.drain(later=70)
    assert [title.split(":")[0] for title in post.titles("ops")] == ["CRITICAL"]
    assert len(post.titles("boss")) == 4


# --- the database -----------------------------------------------------------------------------------------------------


@both_databases
async def test_a_crash_between_sending_and_marking_doubles_the_message_with_the_same_id(post, outage):
    await post.story.restart(OWN)  # one message, to one channel
    await post.story.check("900")
    writer = post.story.parts.store.engine

    def crash() -> None:
        outage.begin(writer)
        running.cancel()  # at this very instant: it never comes to mark anything

    post.receivers["ops"]._on_message = _then(post.received["ops"].append, crash)
    running = post.run()
    await until(lambda: post.titles("ops"))
    await stopped(running)
    outage.end(writer)
    post.receivers["ops"]._on_message = post.received["ops"].append
    await post.story.restart(OWN)
    await post.drain(later=1)
    first, second = post.ids("ops")
    assert first == second
    assert post.titles("ops")[0] == post.titles("ops")[1]
    assert post.states("ops") == ["delivered"]


@both_databases
async def test_what_was_sent_while_the_database_went_away_is_marked_when_it_is_back_and_not_sent_again(post, outage):
    await post.story.restart(OWN)  # one message, to one channel
    await post.story.check("900")
    writer = post.story.parts.store.engine
    post.receivers["ops"]._on_message = _then(post.received["ops"].append, lambda: outage.begin(writer))
    running = post.run()
    await until(lambda: post.titles("ops"))
    await asyncio.sleep(0.5)
    outage.end(writer)
    await until(lambda: post.states("ops") == ["delivered"])
    await stopped(running)
    assert len(post.titles("ops")) == 1
    assert post.receivers["ops"].attempts == 1


def _then(first, second):
    def both(message: Received) -> None:
        first(message)
        second()

    return both


@both_databases
async def test_while_the_database_is_away_nothing_is_sent_and_nothing_breaks(post, outage):
    await post.story.restart(OWN)
    await post.story.check("900")
    outage.begin(post.story.parts.store.engine)
    running = post.run()
    await asyncio.sleep(0.3)
    assert not running.done()
    outage.end(post.story.parts.store.engine)
    post.story.parts.deliverer.wake()
    await until(lambda: len(post.titles("ops")) == 1)
    await stopped(running)


async def test_a_message_that_cannot_be_read_is_complained_of_and_holds_up_no_other_channel(post, caplog):
    await post.story.restart(OWN)
    await post.story.check("900", "video")
    post.story.write(lambda tx: tx.execute(notifications.update().values(facts=sa.literal("{"))))
    await post.story.check("900")
    await post.drain()
    assert (len(post.titles("ops")), post.titles("boss")) == (1, [])
    assert "boss: what is due could not be sent" in caplog.text


# --- the log ----------------------------------------------------------------------------------------------------------


async def test_a_channel_that_takes_nothing_for_an_hour_is_complained_of_once(post, caplog):
    caplog.set_level("INFO", "monitor.notify.delivery")
    post.receivers["boss"].behaviour = Behaviour.REFUSE
    await post.story.check("900")
    for _ in range(3):
        await post.drain(later=20)
    post.receivers["boss"].behaviour = Behaviour.TAKE
    await post.drain(later=20)
    about_boss = [line for line in caplog.messages if line.startswith("boss: ")]
    assert len(about_boss) == 4
    assert "not delivered, and tried again until it is: " in about_boss[0]
    assert about_boss[1].startswith("boss: down, nobody stands in: ")
    assert about_boss[1].partition("stands in: ")[2] in about_boss[0]
    assert about_boss[3] == "boss: takes messages again"


# --- an outcome that cannot be written --------------------------------------------------------------------------------


def refuse_attempts(tx):
    """What a missing grant on `attempts` does."""
    tx.exec_driver_sql("CREATE TRIGGER no BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'not permitted'); END")


async def test_an_outcome_that_cannot_be_written_is_said_and_neither_blocks_nor_doubles(post, caplog):
    await post.story.restart(OWN)
    post.story.write(refuse_attempts)
    running = post.run()
    await post.story.check("900")
    await until(lambda: len(post.titles("ops")) == 1)
    await post.story.check("100")
    post.story.now += timedelta(minutes=1)
    await until(lambda: len(post.titles("ops")) == 2)
    trouble = post.story.parts.deliverer._outcomes.unwritten.trouble
    assert trouble
    assert "(ops)" in trouble.what
    assert "not permitted" in trouble.cause
    await asyncio.sleep(2.5)  # more than two looks
    assert len(post.titles("ops")) == 2
    said = [record.message for record in caplog.records if "that cannot be written" in record.message]
    assert len(said) == 1
    assert said[0].startswith("ops: farm credits opened")
    post.story.write(lambda tx: tx.exec_driver_sql("DROP TRIGGER no"))
    await until(lambda: post.states("ops") == ["delivered"] * 2)
    await until(lambda: post.story.parts.deliverer._outcomes.unwritten.trouble is None)
    await stopped(running)
    assert [title.split(":")[0] for title in post.titles("ops")] == ["WARNING", "CRITICAL"]


async def test_a_delivery_deleted_by_hand_blocks_nothing_and_marks_no_other(post):
    await post.story.restart(OWN)
    ops = post.receivers["ops"]

    def delete() -> None:
        post.story.write(lambda tx: tx.execute(deliveries.delete()))
        ops._on_message = post.received["ops"].append

    ops._on_message = _then(post.received["ops"].append, delete)
    running = post.run()
    await post.story.check("900")
    await until(lambda: len(post.titles("ops")) == 1)
    await post.story.check("100")
    post.story.now += timedelta(minutes=1)
    await until(lambda: post.states("ops") == ["delivered"])
    await stopped(running)
    assert [title.split(":")[0] for title in post.titles("ops")] == ["WARNING", "CRITICAL"]


async def test_what_cannot_be_written_outlives_a_reload_and_is_not_doubled_by_it(post):
    await post.story.restart(OWN)
    post.story.write(refuse_attempts)
    running = post.run()
    await post.story.check("900")
    await until(lambda: len(post.titles("ops")) == 1)
    unwritten = post.story.parts.deliverer._outcomes.unwritten
    await until(lambda: unwritten.of)
    await stopped(running)
    await post.story.restart(OWN)
    post.story.parts.deliverer._outcomes.unwritten = unwritten
    running = post.run()
    await asyncio.sleep(2.5)  # more than two looks
    post.story.write(lambda tx: tx.exec_driver_sql("DROP TRIGGER no"))
    await until(lambda: post.states("ops") == ["delivered"])
    await stopped(running)
    assert len(post.titles("ops")) == 1


async def test_what_cannot_be_written_follows_a_channel_that_is_renamed_and_is_not_doubled_by_it(post):
    await post.story.restart(OWN)
    post.story.write(refuse_attempts)
    running = post.run()
    await post.story.check("900")
    await until(lambda: len(post.titles("ops")) == 1)
    unwritten = post.story.parts.deliverer._outcomes.unwritten
    await until(lambda: unwritten.of)
    await stopped(running)
    unwritten.rename({"ops": "duty"})
    assert [delivery.channel for one in unwritten.of["duty"] for delivery in one.group] == ["duty"]
    assert "ops" not in unwritten.of


async def test_a_failure_that_cannot_be_written_is_tried_again(post, monkeypatch):
    monkeypatch.setattr(outcomes, "RETRY_UNWRITTEN", 0.5)
    await post.story.restart(OWN)
    post.story.write(refuse_attempts)
    post.receivers["ops"].behaviour = Behaviour.REFUSE
    running = post.run()
    await post.story.check("900")
    await until(lambda: post.receivers["ops"].attempts >= 1)
    post.receivers["ops"].behaviour = Behaviour.TAKE
    await until(lambda: len(post.titles("ops")) == 1)
    await stopped(running)

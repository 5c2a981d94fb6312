"""What a daemon of 0.1.0 left is upgraded, and goes on: it is read, delivered, judged and told as if nothing had been.

`tests/fixtures/0.1.0/README.md` says what it is.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest
import sqlalchemy as sa
from command import Shell
from story import DENIED, REJECTED, Story
from upgraded import CONFIG, END, OLD, SCHEMA, days, known, load, pending, rows, words
from wait import LONG

from monitor.model import Failure
from monitor.sandbox import Received, Receiver
from monitor.store import migrate, tables
from monitor.store.engines import open_writer
from monitor.store.facts import dump_facts, load_facts
from monitor.store.tables import deliveries, incidents, notifications, organizations, silences

MORNING = datetime(2026, 11, 24, 6, 1, tzinfo=UTC)  # quiet hours are over
CHANNELS = ("ops", "mail", "pager", "backup", "report", "chat")
MANY = "90000"
DIGEST = "Daily summary of 3 organizations: 2 critical, 1 warning"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
Told = dict[tuple[str, str, str], list[str]]  # name, rule, reason → channels, in order


@pytest.fixture
def old_url(empty_database_url: str) -> str:
    """Each kind of database in turn, as it was left."""
    load(empty_database_url)
    return empty_database_url


@pytest.fixture
def writer(old_url: str) -> Iterator[sa.Engine]:
    """The same after the upgrade."""
    engine = open_writer(old_url)
    assert migrate.upgrade(engine).before == SCHEMA
    assert migrate.is_current(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def url(old_url: str, writer: sa.Engine) -> str:
    return old_url


@pytest.fixture
async def story(tmp_path, url) -> AsyncIterator[Story]:
    """A monitor that goes on, with the configuration it had."""
    story = Story(tmp_path, url, END).begin(CONFIG)
    yield story
    await story.end()


@dataclass
class Morning:
    """What was on its way when 0.1.0 was left, and what arrived of it at every channel."""

    owed: list[dict[str, Any]]
    arrived: dict[str, list[Received]]

    def ids(self, channel: str) -> list[list[str]]:
        """The notifications that each message names."""
        return [_named(message.message) for message in self.arrived[channel]]


def _named(text: str) -> list[str]:
    """Notification's ids in a message, also of older ones that it tells with them."""
    lists = re.findall(r"otification:? (\w{16}(?:, (?:with )?\w{16})*)", text)
    return [key for ids in lists for key in re.findall(r"\w{16}", ids)]


@pytest.fixture
async def morning(tmp_path, url, writer) -> Morning:
    """All of it is sent when quiet hours are over; nothing was checked meanwhile."""
    morning = Morning(pending(writer), {channel: [] for channel in CHANNELS})
    async with AsyncExitStack() as stack:
        receivers = {
            name: await stack.enter_async_context(Receiver(arrived.append)) for name, arrived in morning.arrived.items()
        }
        urls = {name: receiver.url() for name, receiver in receivers.items()}
        story = Story(tmp_path, url, MORNING, urls).begin(CONFIG)
        async with asyncio.timeout(LONG):
            await story.parts.deliverer.drain()
        await story.end()
    assert pending(writer) == []
    return morning


def told(story: Story) -> Told:
    """What was put into the outbox since this was asked last."""
    question = (
        sa.select(deliveries.c.id, deliveries.c.channel, incidents.c.rule, notifications.c.reason)
        .add_columns(notifications.c.facts)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .join(incidents, incidents.c.id == deliveries.c.incident_id)
        .where(deliveries.c.id > story._heard)
        .order_by(deliveries.c.id)
    )
    heard: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in story.write(lambda tx: tx.execute(question).all()):
        heard[json.loads(row.facts)["name"], row.rule, row.reason].append(row.channel)
        story._heard = row.id
    return {what: sorted(channels) for what, channels in heard.items()}


def settle(story: Story, at: datetime, outcomes: Mapping[str, str | Failure]) -> Told:
    """Settle one batch of checks at an instant; return who is told what."""
    told(story)
    story.settle((at - story.now) / timedelta(minutes=1), **outcomes)
    return told(story)


def row_of(story: Story, name: str, rule: str) -> dict[str, Any]:
    """The open incident of an organization."""
    open_ones = incidents.c.resolved_at.is_(None) & (incidents.c.subject_id == story.ids[name])
    (row,) = story.rows(incidents, open_ones & (incidents.c.rule == rule) & (incidents.c.subject == "organization"))
    return row


# --- it is the same ---------------------------------------------------------------------------------------------------


def test_every_row_is_there_after_the_upgrade(old_url):
    engine = open_writer(old_url)
    before = counts(engine)
    migrate.upgrade(engine)
    after = counts(engine)
    engine.dispose()
    assert {name: count for name, count in after.items() if name in before} == before
    assert min(before[name] for name in ("snapshots", "balance_hours", "deliveries", "silences", "checks")) > 3


def counts(engine: sa.Engine) -> dict[str, int]:
    names = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    with engine.connect() as connection:
        return {name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() for name in names}


def test_use_by_day_is_the_same_to_the_millionth(writer):
    assert list(days(writer)) == (OLD / "days.csv").read_text(encoding="utf-8").splitlines()


def test_what_was_decided_is_said_in_the_same_words(writer):
    then = known("words")
    now = words(writer)
    assert {key: now[key] for key in then} == then


def test_the_figures_of_old_notifications_are_read_and_written_unchanged(writer):
    stored = [row["facts"] for row in rows(writer) if row["reason"] != "digest"]
    assert len(stored) > 50
    for text in stored:
        figures = {name: value for name, value in json.loads(text).items() if value is not None}
        assert json.loads(dump_facts(load_facts(text))) == figures


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(shell: Shell, url: str) -> Shell:
    shell.write(f'[database]\nurl = "{url}"\n{CONFIG}')
    return shell


SPAN = ("--since", "2026-10-26", "--until", "2026-11-24")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("usage", ("usage", *SPAN, "--tz", "UTC", "--by", "week")),
        ("history", ("history", "render-farm", *SPAN, "--every", "1d")),
        ("incidents", ("incidents",)),
    ],
)
def test_commands_answer_what_they_answered(command, name, arguments):
    answer = command(*arguments, "--format", "json")
    assert answer.code == 0
    then = known("answers")[name]
    now = json.loads(answer.out)
    assert len(now) == len(then)
    # A later version may say more of a row.
    assert [{key: row[key] for key in old} for old, row in zip(then, now, strict=True)] == then


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status",), "render-farm"),
        (("silences",), "the order is placed"),
        (("history", "web-shop", "--runway"), "web-shop"),
        (("usage", "--by", "month", *SPAN), "trailer"),
        (("incidents", "--open"), "client-a"),
        (("db", "current"), tables.SCHEMA),
        (("config", "show"), "render-farm"),
        (("backtest", *SPAN), "render-farm"),
    ],
)
def test_every_command_that_reads_answers(command, arguments, says):
    answer = command(*arguments)
    assert (answer.code, says in answer.out) == (0, True), answer


# --- what was on its way ----------------------------------------------------------------------------------------------


async def test_what_was_on_its_way_arrives_once_and_nothing_after_something_newer(morning):
    assert len(morning.owed) == 21
    for channel in CHANNELS:
        messages = morning.ids(channel)
        owed = [row for row in morning.owed if row["channel"] == channel and row["incident_id"]]
        assert sorted(key for ids in messages for key in ids) == sorted(row["notification_id"] for row in owed)
        place = {key: number for number, ids in enumerate(messages) for key in ids}
        for _, rows_of_incident in groupby(
            sorted(owed, key=itemgetter("incident_id", "id")), itemgetter("incident_id")
        ):
            places = [place[row["notification_id"]] for row in rows_of_incident]
            assert places == sorted(places)
    assert [message.title for message in morning.arrived["report"]].count(DIGEST) == 1


async def test_what_arrives_is_what_the_old_version_would_have_sent(morning):
    said = known("words")
    by_ids = {frozenset(_named(form["text"])): form for form in said.values()}
    same = 0
    for messages in morning.arrived.values():
        for message in messages:
            then = by_ids.get(frozenset(_named(message.message)))
            if then and message.title != DIGEST:
                assert (message.title, message.message.strip()) == (then["subject"], then["text"].strip())
                same += 1
    # The others are of several that came due together, or of one that is told with what it was folded into.
    assert same >= 7
    (digest,) = [message for message in morning.arrived["report"] if message.title == DIGEST]
    assert digest.message.strip() in {form["text"].strip() for form in said.values()}


async def test_a_message_that_was_under_way_has_the_same_members(morning):
    """The old daemon had claimed it, and was gone before its service answered."""
    (under_way,) = {row["group_id"] for row in morning.owed if row["channel"] == "ops" and row["group_id"]}
    claimed = known("words")[under_way]
    assert [message.title for message in morning.arrived["ops"]].count(claimed["subject"]) == 1
    assert claimed["text"].strip() in [message.message.strip() for message in morning.arrived["ops"]]


# --- it goes on -------------------------------------------------------------------------------------------------------


async def test_an_unchanged_configuration_says_nothing(story):
    assert story.heard()  # what the old version said
    assert await story.restart(CONFIG) == []
    assert sorted(row["rule"] for row in story.rows(incidents, incidents.c.resolved_at.is_(None))) == [
        *["access", "credential", "credits", "credits", "credits", "credits"],
        *["outage", "outage", "runway", "spend", "stale"],
    ]


async def test_what_stood_open_ends_and_exactly_those_who_were_told_hear_it(story):
    """Not `mail`, where quiet hours hold it back: then it is withdrawn."""
    outcomes = {row["name"]: MANY for row in story.rows(organizations, organizations.c.watched)}
    everyone = ["backup", "chat", "mail", "ops", "pager", "report"]
    assert settle(story, END + 5 * MINUTE, outcomes) == {
        ("render-farm", "credits", "resolved"): ["mail", "ops", "pager"],
        ("trailer", "credits", "resolved"): ["chat", "mail", "ops"],
        ("archive", "credits", "resolved"): everyone,
        ("web-shop", "runway", "resolved"): ["chat", "mail", "ops"],
        ("batch-jobs", "spend", "resolved"): ["ops"],
        ("client-a", "access", "resolved"): everyone,
        ("client-new", "stale", "resolved"): ["mail", "ops"],
        ("agency", "credential", "resolved"): ["backup", "mail", "ops", "pager"],
        ("night", "outage", "resolved"): ["chat", "mail", "ops"],
        ("every account", "outage", "resolved"): ["chat", "ops"],
    }
    assert story.open() == []
    assert story.rows(silences, silences.c.ended_at.is_(None) & silences.c.until_at.is_(None)) == []


async def test_reminders_go_on_where_they_were(story):
    """Of a critical incident after 4 h, 8 h, and then a day; the second one was said at 21:25."""
    last = datetime(2026, 11, 23, 21, 25, tzinfo=UTC)
    low = {"render-farm": "30"}
    assert settle(story, END + 9 * MINUTE, {"client-a": DENIED}) == {}
    everyone = ["backup", "chat", "mail", "ops", "pager", "report"]
    assert settle(story, END + 10 * MINUTE, {"client-a": DENIED}) == {("client-a", "access", "reminder"): everyone}
    settle(story, END + 11 * MINUTE, low)
    assert settle(story, last + DAY - MINUTE, low) == {}
    assert settle(story, last + DAY, low) == {("render-farm", "credits", "reminder"): ["mail", "ops", "pager"]}
    assert row_of(story, "render-farm", "credits")["reminders"] == 3
    assert settle(story, last + 2 * DAY - MINUTE, low) == {}


async def test_a_silence_lasts_as_long_as_it_was_to(story):
    """Of the rejected key until 09:00."""
    until = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    rejected = {"client-c": REJECTED}
    assert settle(story, END + 2 * HOUR, rejected) == {}
    assert settle(story, until - MINUTE, rejected) == {}
    assert settle(story, until + MINUTE, rejected) == {("agency", "credential", "reminder"): ["mail", "ops", "pager"]}


async def test_a_silence_of_warnings_lets_through_what_is_worse(story):
    """Of `archive` until December; it is critical, and heard."""
    settle(story, END + MINUTE, {"archive": MANY})
    assert settle(story, END + 3 * HOUR, {"archive": "900"}) == {}
    worse = settle(story, END + 3 * HOUR + MINUTE, {"archive": "100"})
    assert len(worse["archive", "credits", "escalated"]) == len(CHANNELS)


async def test_an_acknowledgement_holds_until_it_gets_worse(story):
    (acknowledged,) = story.rows(silences, silences.c.until_at.is_(None))
    settle(story, END + MINUTE, {"render-farm": "30"})  # the outage is over
    assert settle(story, END + 3 * DAY, {"trailer": "550"}) == {}
    worse = settle(story, END + 3 * DAY + MINUTE, {"trailer": "150"})
    assert len(worse["trailer", "credits", "escalated"]) == len(CHANNELS)
    (ended,) = story.rows(silences, silences.c.id == acknowledged["id"])
    assert ended["ended_at"] == END + 3 * DAY + MINUTE


async def test_nothing_is_said_of_what_is_paused(story):
    settle(story, END + MINUTE, {"render-farm": "30"})
    assert settle(story, END + 3 * DAY, {"backlog": "100"}) == {}


async def test_forecasts_go_on_from_what_was_kept(story):
    settle(story, END + MINUTE, {"web-shop": "4990"})
    assert settle(story, END + 2 * MINUTE, {"web-shop": "400"})[("web-shop", "runway", "escalated")] == [
        *["chat", "mail", "ops"]
    ]
    assert 0 < story.facts()["runway_likely"] < 48


async def test_use_goes_on_to_be_added_up(story):
    before = list(days(story.store.engine))
    settle(story, END + MINUTE, {"render-farm": "29.18027"})
    after = list(days(story.store.engine))
    (changed,) = set(after) - set(before)
    (was,) = set(before) - set(after)
    assert was.startswith("render-farm,2026-11-23,")
    assert Decimal(changed.split(",")[2]) - Decimal(was.split(",")[2]) == 1

"""Several recipients of one channel: those who got a message do not get it again, and the others alone are retried."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from proxy import Internet, Reply, Request, internet
from receivers import Mail, mail
from story import TOML, Story
from wait import LONG, until

from monitor import query
from monitor.model import Attempt, TargetOutcome
from monitor.store import channels as stored_channels
from monitor.store import deliveries as stored
from monitor.store.tables import deliveries

ONE = TOML.replace('[channels.boss]\nmin_severity = "critical"\n', "")
WITH_FALLBACK = ONE.replace(
    "[channels.ops]\n", '[channels.ops]\nfallback = "boss"\nfallback_after = "5m"\n[channels.boss]\n'
)
VIDEO = '[organizations.video]\naccount = "studio"\nid = "org-2"\n'
FROM = "from=monitor@example.com"
BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@dataclass
class Post:
    """A monitor with one channel, whose recipients have their mail at one server."""

    story: Story
    server: Mail

    def to(self, *addresses: str, copies: str = "") -> str:
        to = ",".join(f"{address}@example.com" for address in addresses)
        return f"mailto://127.0.0.1:{self.server.port}/?{FROM}&to={to}{copies}"

    async def begin(self, url: str, toml: str = ONE) -> None:
        await self.story.end()
        self.story.urls["ops"] = url
        self.story.begin(toml)

    def refuse(self, *names: str) -> None:
        self.server.refuse = [f"{name}@example.com" for name in names]

    async def drain(self, *, later: float = 0) -> None:
        self.story.now += timedelta(minutes=later)
        async with asyncio.timeout(LONG):
            await self.story.parts.deliverer.drain()

    def got(self, name: str) -> int:
        return sum(f"{name}@example.com" in envelope for envelope in self.server.envelopes)

    def asked(self, name: str) -> int:
        return self.server.asked.count(f"{name}@example.com")

    @property
    def rows(self) -> list[tuple[str, bool, str | None]]:
        return [(row["state"], row["reached"], row["last_error"]) for row in self.story.rows(deliveries)]

    def down(self) -> set[str]:
        return set(self.story.write(stored_channels.load))

    def waiting(self) -> dict[str, list[str]]:
        queues = query.channels(self.story.store.engine, since=self.story.now)
        return {queue.channel: [target.name for target in queue.missing] for queue in queues if queue.missing}


@pytest.fixture
def database_url(request, sqlite_url) -> str:
    return sqlite_url if getattr(request, "param", "sqlite") == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
async def post(tmp_path, database_url, monkeypatch) -> AsyncIterator[Post]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with mail() as server:
        one = Post(Story(tmp_path, database_url), server)
        yield one
        await one.story.end()


@BOTH
async def test_one_refused_recipient_costs_the_others_nothing(post, caplog):
    post.refuse("gone")
    await post.begin(post.to("ops", "gone"))
    await post.story.check("900")
    await post.drain()
    refused = "gone@…: refused by the mail server (SMTP 550)"
    assert post.rows == [("pending", True, refused)]
    assert post.waiting() == {"ops": ["gone@…"]}
    assert post.down() == set()
    for tries in range(2, 6):
        await post.drain(later=10)
        assert (post.got("ops"), post.asked("ops"), post.asked("gone")) == (1, 1, tries)
    assert "not delivered to all of the channel, and tried again for the rest: gone@…" in caplog.text
    post.refuse()
    await post.drain(later=10)
    assert (post.got("ops"), post.got("gone")) == (1, 1)
    assert post.rows == [("delivered", True, None)]
    assert post.waiting() == {}


async def test_an_escalation_reaches_the_good_ones_and_the_bad_one_gets_the_present_state(post):
    post.refuse("gone")
    await post.begin(post.to("ops", "gone"))
    for outcome in ("900", "100"):
        await post.story.check(outcome)
        await post.drain()
    assert [letter["Subject"].split(":")[0] for letter in post.server.letters] == ["WARNING", "CRITICAL"]
    assert [row[:2] for row in post.rows] == [("folded", True), ("pending", True)]
    post.refuse()
    await post.drain(later=10)
    assert [post.got(name) for name in ("ops", "gone")] == [2, 1]
    assert post.server.letters[-1]["Subject"].startswith("CRITICAL")


async def test_copies_go_with_the_first_recipient_that_is_accepted_and_a_refused_one_is_retried_alone(post):
    post.refuse("first", "audit")
    await post.begin(post.to("first", "second", "third", copies="&cc=copy@example.com&bcc=audit@example.com"))
    await post.story.check("900")
    await post.drain()
    assert [post.got(name) for name in ("first", "second", "third", "copy", "audit")] == [0, 1, 1, 1, 0]
    assert sorted(post.waiting()["ops"]) == ["audit@…", "first@…"]
    post.refuse("first")
    await post.drain(later=10)
    assert [post.got(name) for name in ("first", "second", "third", "copy", "audit")] == [0, 1, 1, 1, 1]
    assert post.server.envelopes[-1] == ["audit@example.com"]
    post.refuse()
    await post.drain(later=10)
    assert [post.got(name) for name in ("first", "second", "third", "copy", "audit")] == [1, 1, 1, 1, 1]
    assert post.rows == [("delivered", True, None)]


async def test_when_all_are_refused_the_channel_is_down_and_nobody_gets_a_copy(post):
    post.refuse("ops", "gone")
    await post.begin(post.to("ops", "gone", copies="&cc=copy@example.com"))
    await post.story.check("900")
    await post.drain()
    assert post.server.letters == []
    assert post.story.write(stored_channels.load_down) == {"ops"}
    assert post.rows == [("pending", False, "ops@…, gone@…: refused by the mail server (SMTP 550)")]
    await post.begin(post.to("other"))  # nobody was told: whoever is in the channel now hears of it
    await post.drain(later=60)
    assert post.got("other") == 1
    assert post.story.write(stored_channels.load_down) == set()


@pytest.mark.parametrize("joined", [False, True])
async def test_who_left_the_channel_is_dropped_and_who_is_new_gets_nothing_old(post, joined):
    toml = ONE + VIDEO if joined else ONE
    post.refuse("gone")
    await post.begin(post.to("ops", "gone"), toml)
    await post.story.check("900")
    if joined:
        await post.story.check("900", "video", minutes=0)
    await post.drain()
    assert post.got("ops") == 1
    await post.begin(post.to("ops", "new"), toml)
    await post.drain(later=10)
    assert {row[0] for row in post.rows} == {"delivered"}
    assert (post.got("ops"), post.asked("new"), post.asked("gone")) == (1, 0, 1)
    await post.story.check("100")
    await post.drain()
    assert (post.got("ops"), post.got("new")) == (2, 1)


async def test_what_is_given_up_for_one_counts_as_told(post, caplog):
    post.refuse("gone")
    await post.begin(post.to("ops", "gone"))
    await post.story.check("900")
    await post.drain()
    for _ in range(40):
        post.story.now += timedelta(hours=1)
        for group in post.story.claim(later=timedelta(0)):
            for one in group:
                (target,) = one.targets.waiting
                outcome = TargetOutcome(target.key, target.name, target.error, retryable=False)
                made = Attempt(one.id, target.error, targets=(outcome,), seen=frozenset({target.key}))
                post.story.write(lambda tx, made=made: stored.record_attempt(tx, made, at=post.story.now))
    assert post.rows == [("delivered", True, "gone@…: refused by the mail server (SMTP 550)")]
    assert await post.story.check("5000") == [("ops", "credits", "resolved", "warning")]


async def test_nobody_stands_in_for_one_refused_recipient(post):
    post.refuse("gone")
    post.story.urls["boss"] = post.to("boss")
    await post.begin(post.to("ops", "gone"), WITH_FALLBACK)
    await post.story.check("100")
    for _ in range(5):
        await post.drain(later=10)
    told = [row["channel"] for row in post.story.rows(deliveries)]
    assert sorted(told) == ["boss", "ops"]  # the latter as its own, and once
    assert post.got("boss") == 1


async def test_a_restart_knows_who_got_it(post):
    post.refuse("gone")
    await post.begin(post.to("ops", "gone"))
    await post.story.check("900")
    await post.drain()
    await post.begin(post.to("gone", "ops"))
    await post.drain(later=10)
    assert (post.asked("ops"), post.asked("gone")) == (1, 2)


# --- over HTTP --------------------------------------------------------------------------------------------------------


SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#one/#two?verify=no"


@pytest.fixture
async def net(monkeypatch) -> AsyncIterator[Internet]:
    async with internet() as hosts:
        monkeypatch.setenv("https_proxy", hosts.url)
        monkeypatch.setenv("no_proxy", "")
        yield hosts


def rooms(net: Internet) -> list[str]:
    return [json.loads(request.body)["channel"] for request in net.requests]


async def test_a_room_that_refuses_is_asked_alone_and_last_and_a_pause_holds_the_channel(post, net):
    def answer(request: Request) -> Reply:
        if '"#one"' in request.body:
            return Reply(429, b"slow down", {"Retry-After": "1200"})
        return Reply(200, b"ok")

    net.answer = answer
    await post.begin(SLACK)
    await post.story.check("900")
    await post.drain()
    assert rooms(net) == ["#one", "#two"]
    assert post.rows == [("pending", True, "#one: refused with HTTP 429")]
    await post.story.check("100")
    await post.drain(later=10)
    assert rooms(net) == ["#one", "#two"]  # it asked for twenty minutes
    await post.drain(later=6)
    assert rooms(net) == ["#one", "#two", "#two", "#one"]


async def test_a_joined_message_that_is_too_long_is_taken_apart(post, net):
    def answer(request: Request) -> Reply:
        return Reply(413) if len(request.body) > 2000 else Reply()

    net.answer = answer
    organizations = "".join(
        f'[organizations.o{number}]\naccount = "studio"\nid = "org-{number}"\n' for number in range(10, 18)
    )
    await post.begin("jsons://receiver.example/?verify=no", ONE + organizations)
    for number in range(10, 18):
        await post.story.check("900", f"o{number}", minutes=0)
    await post.drain(later=1)
    assert {row[0] for row in post.rows} == {"delivered"}
    bodies = [json.loads(request.body)["message"] for request in net.requests if len(request.body) <= 2000]
    assert all("(cut)" not in body for body in bodies)
    assert 1 < len(bodies) <= 8
    assert all(sum(f"o{number} " in body for body in bodies) == 1 for number in range(10, 18))
    attempts = [row["attempts"] for row in post.story.rows(deliveries)]
    assert attempts == [1] * 8


async def test_a_room_that_hangs_holds_up_nothing_worse(post, net):
    """Ten seconds at most, after which the good one has it, and it comes last from then on."""

    def answer(request: Request) -> Reply:
        return Reply(delay=3600) if '"#one"' in request.body else Reply(200, b"ok")

    net.answer = answer
    await post.begin(SLACK)
    await post.story.check("900")
    post.story.now += timedelta(seconds=2)
    task = asyncio.create_task(post.story.parts.deliverer.run())
    await until(lambda: rooms(net) == ["#one"])
    await post.story.check("100", minutes=0)
    post.story.now += timedelta(seconds=2)
    await until(lambda: "#two" in rooms(net), within=40)
    assert rooms(net)[:2] == ["#one", "#two"]
    assert [row[0] for row in post.rows] == ["folded", "pending"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

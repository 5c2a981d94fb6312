"""The laws of delivery, on the real store of both databases: whatever receivers, clocks and restarts do.

Receivers are simulated; everything else is the monitor's own.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from story import START, Story

from monitor.channels import Outgoing
from monitor.config import Settings
from monitor.errors import LeaseLost
from monitor.model import Attempt, Reason, Severity, Subject
from monitor.notify import delivery
from monitor.notify.fallback import stand_in, take_success
from monitor.notify.routing import channels_of, hearing
from monitor.poll import catch_up
from monitor.store import channels, tables
from monitor.store.tables import deliveries, incidents

MINUTE = timedelta(minutes=1)
TELLING = {Reason.OPENED, Reason.ESCALATED, Reason.REMINDER}
CHANNELS = ("main", "second", "third")
NAMED = re.compile(r"otification:? ((?:[0-9a-f]{16}(?:, with |, )?)+)")
AN_ID = re.compile(r"[0-9a-f]{16}")
TOML = """
[poll]
every = "5m"
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.a]
account = "studio"
id = "org-a"
notify = ["main"]
[organizations.b]
account = "studio"
id = "org-b"
[rules]
credits = {{ {levels} }}
runway = "off"
remind_every = "{remind_every}"
[channels.main]
fallback = "second"
{main}
[channels.second]
fallback = "{after_second}"
{second}
[channels.third]
{third}
"""
LADDER = "warning = 1000, critical = 200"
WITH_INFO = f"info = 4000, {LADDER}"
QUIET = 'quiet_hours = "08:45-12:30"'  # not long after the beginning of each story


def configured(
    *,
    main: str = "",
    second: str = "",
    third: str = "",
    after_second: str = "third",
    levels: str = LADDER,
    remind_every: str = "1d",
) -> str:
    """The configuration, with more lines for some channels; `after_second` stands in for `second`."""
    return TOML.format(**locals())


@dataclass(frozen=True)
class Reception:
    """A message that arrived, or may have: what it tells, its newest of each incident first."""

    channel: str
    told: tuple[tuple[str, ...], ...]
    certain: bool  # answered for, and kept


@dataclass
class Receivers:
    """What every channel's service does with the next message; `faults` lets go of one that answers once."""

    behaviours: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CHANNELS, "take"))
    received: list[Reception] = field(default_factory=list)
    killed: bool = False
    meanwhile: Callable[[], Awaitable[None]] | None = None  # what happens while the next message is under way
    deposed: list[object] = field(default_factory=list)  # the daemons that no longer lead, by what they send with
    under_way: int = 0  # how many had arrived before the last look into the outbox

    async def send(self, channel: str, _: str, outgoing: Sequence[Outgoing], **options: Any) -> AsyncIterator[Attempt]:
        for message in outgoing:
            if options["template"] in self.deposed:
                return
            attempt = self._answer(channel, message)
            happens, self.meanwhile = self.meanwhile, None
            if happens:
                await happens()
            yield attempt
            if attempt.unknown:
                return

    def _answer(self, channel: str, outgoing: Outgoing) -> Attempt:
        key = outgoing.delivery_id
        match self.behaviours[channel]:
            case "take":
                self._receive(channel, outgoing, certain=True)
                return Attempt(key, None)
            case "refuse":
                return Attempt(key, "refused with HTTP 403", retryable=False)
            case "fail":
                return Attempt(key, "failed with HTTP 503")
            case "ask for a pause":
                return Attempt(key, "refused with HTTP 429", retry_after=20 * MINUTE)
            case "refuse what names a" if " a" in f" {outgoing.message.subject}":  # too long, say
                return Attempt(key, "refused with HTTP 400")
            case "refuse what names a":
                self._receive(channel, outgoing, certain=True)
                return Attempt(key, None)
            case "take and hang":  # nobody knows that it was taken
                self._receive(channel, outgoing, certain=False)
                return Attempt(key, "no answer", unknown=True)
            case _:  # the process is killed before it could keep that
                self._receive(channel, outgoing, certain=False)
                self.behaviours[channel], self.killed = "take", True
                raise RuntimeError("killed")

    def doubt(self) -> None:
        """What arrived since the last look may be sent again by somebody who does not know of it."""
        self.received[self.under_way :] = [replace(one, certain=False) for one in self.received[self.under_way :]]

    def _receive(self, channel: str, outgoing: Outgoing, *, certain: bool) -> None:
        told = tuple(tuple(AN_ID.findall(found)) for found in NAMED.findall(outgoing.message.text))
        assert told
        self.received.append(Reception(channel, told, certain))


@dataclass(frozen=True)
class Standing:
    """An incident that is open for long, and what has arrived by then."""

    incident: int
    organization: str
    severity: Severity
    flaps: bool
    received: list[Reception]


async def nothing_to_start(_: object) -> None:
    pass


def lost(_: object) -> None:
    raise LeaseLost("another leads")


class World:
    """A monitor, its receivers, and what happens to them."""

    def __init__(self, folder: Path, url: str, toml: str, dead: dict[str, str]) -> None:
        """The `dead` channels stay so in the end, each in its way."""
        self.toml = toml
        self.dead = dead
        self.receivers = Receivers()
        self.last = {"a": 5000, "b": 5000}  # balances
        self.standing: list[Standing] = []
        self.story = Story(folder, url, START)

    async def run(self, steps: Sequence[tuple[str, Any]]) -> None:
        self.story.begin(self.toml)
        try:
            for what, value in steps:
                await getattr(self, what)(value)
            self.receivers.meanwhile = None
            self.receivers.behaviours = dict.fromkeys(CHANNELS, "take") | self.dead
            await self._settle(dict(self.last), least=7)
            self.standing = self._standing()
            await self._settle({"a": 5000, "b": 5000}, least=3)
        finally:
            await self.story.end()

    async def _settle(self, values: dict[str, int], *, least: int) -> None:
        """Let quiet hours, pauses and windows of flapping pass, so many half hours at least."""
        for number in range(120):
            self.story.now += 30 * MINUTE
            await self.balances(dict(values))
            waits = deliveries.c.channel.not_in(list(self.dead)) & (deliveries.c.state == "pending")
            is_open = incidents.c.resolved_at.is_(None) if min(values.values()) == 5000 else sa.false()
            if number >= least and not self.story.rows(deliveries, waits) + self.story.rows(incidents, is_open):
                return
        raise AssertionError("something never ends")

    def _standing(self) -> list["Standing"]:
        names = {number: name for name, number in self.story.ids.items()}
        rows = self.story.rows(incidents, incidents.c.resolved_at.is_(None) & incidents.c.calm_since.is_(None))
        said = list(self.receivers.received)
        return [
            Standing(row["id"], names[row["subject_id"]], Severity.of(row["severity"]), row["returns"] > 0, said)
            for row in rows
        ]

    async def balances(self, values: dict[str, int]) -> None:
        self.story.now += timedelta(seconds=1)  # no two checks are of one instant
        self.last |= values
        for name, value in values.items():
            await self.story.check(str(value), name, minutes=0)
        await self._deliver()

    async def meanwhile(self, values: dict[str, int]) -> None:
        """The same while the next message is under way."""

        async def check() -> None:
            self.last |= values
            for name, balance in values.items():
                await self.story.check(str(balance), name, minutes=0)

        self.receivers.meanwhile = check

    async def take_over(self, values: dict[str, int]) -> None:
        """Another daemon leads while the next message is under way; this one notices by its database."""

        async def another_leads() -> None:
            self.last |= values
            self.receivers.killed = True
            self.receivers.doubt()
            self.receivers.deposed.append(self.story.parts.deliverer._template)
            other = Story(self.story.folder, self.story.url, self.story.now + MINUTE / 6).begin(self.toml)
            try:
                for name, balance in values.items():
                    await other.check(str(balance), name, minutes=0)
                await other.parts.deliverer.drain()
            finally:
                await other.end()
            self.story.store.fence = lost

        self.receivers.meanwhile = another_leads

    async def behaviour(self, value: tuple[str, str]) -> None:
        self.receivers.behaviours[value[0]] = value[1]

    async def wait(self, minutes: int) -> None:
        for _ in range(3):
            self.story.now += minutes * MINUTE / 3
            await self._deliver()

    async def day(self, _: None = None) -> None:
        """Longer than anybody tries."""
        for _ in range(30):
            self.story.now += 50 * MINUTE
            await self._deliver()

    async def clock(self, minutes: int) -> None:
        self.story.now += minutes * MINUTE
        await self._deliver()

    async def silence(self, name: str) -> None:
        self.story.silence(name, until=self.story.now + 60 * MINUTE)

    async def restart(self, _: None = None) -> None:
        await self.story.end()
        self.story.now += MINUTE / 6
        self.story.begin(self.toml)
        await self._deliver()

    async def notify(self, channel: str) -> None:
        """A test message of another command: it gets through, or it does not."""
        if self.receivers.behaviours[channel] == "take":
            came = self.story.write(lambda tx: take_success(tx, self.story.settings, channel, at=self.story.now))
            if came:
                forecasts = self.story.forecasts
                self.story.write(
                    lambda tx: catch_up(tx, self.story.settings, forecasts, at=self.story.now, channel=channel)
                )
        await self._deliver()

    async def _deliver(self) -> None:
        self.receivers.under_way = len(self.receivers.received)
        await self.story.parts.deliverer.drain()
        if self.receivers.killed:
            self.receivers.killed = False
            await self.restart()


# --- the laws ---------------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """What was to be told, in the order of acceptance, and what arrived."""

    order: dict[str, int]
    incident_of: dict[str, int]
    severity_of: dict[str, Severity]
    reason_of: dict[str, Reason]
    states: dict[str, list[str]]
    rows: list[dict[str, Any]]  # deliveries
    received: list[Reception]
    settings: Settings
    names: dict[int, str]  # of the organization of each incident
    dead: Collection[str]
    down: Collection[str]  # as the monitor has it
    standing: list[Standing]

    @classmethod
    def of(cls, world: World) -> "Record":
        story = world.story.begin(world.toml)
        try:
            rows, states, of_deliveries = story.notifications(), defaultdict(list), story.rows(deliveries)
            for row in of_deliveries:
                states[row["notification_id"]].append(row["state"])
            of_subject = {number: name for name, number in story.ids.items()}
            names = {row["id"]: of_subject[row["subject_id"]] for row in story.rows(incidents)}
            assert story.rows(incidents, incidents.c.resolved_at.is_(None)) == []
            configured, down = story.settings, story.write(channels.load_down)
        finally:
            asyncio.run(story.end())
        return cls(
            {row["id"]: number for number, row in enumerate(rows)},
            {row["id"]: row["incident_id"] for row in rows},
            {row["id"]: Severity.of(row["severity"]) for row in rows},
            {row["id"]: Reason(row["reason"]) for row in rows},
            states,
            of_deliveries,
            world.receivers.received,
            configured,
            names,
            world.dead,
            down,
            world.standing,
        )

    def check(self) -> None:
        self.the_worst_of_every_incident_and_its_end_reach_somebody()
        self.what_is_kept_as_told_arrived_and_the_reverse()
        self.whoever_was_told_hears_the_end_last()
        self.nothing_arrives_twice()
        self.nothing_older_follows_something_newer()
        self.what_stands_is_what_was_told_last()
        self.one_hop_leads_to_what_tells_it()

    def the_worst_of_every_incident_and_its_end_reach_somebody(self) -> None:
        told = {key for reception in self.received for family in reception.told for key in family}
        for incident, name in self.names.items():
            keys = [key for key, other in self.incident_of.items() if other == incident and self.states[key]]
            telling = [key for key in keys if self.reason_of[key] in TELLING]
            worst = max((self.severity_of[key] for key in telling), default=Severity.INFO)
            of_worst = {state for key in telling if self.severity_of[key] is worst for state in self.states[key]}
            held = worst < Severity.CRITICAL and of_worst <= {"withdrawn"}
            given_up = any("given_up" in self.states[key] for key in keys)
            if not telling or held or given_up or not self.somebody_listens(name, worst):
                continue
            assert any(self.severity_of[key] is worst for key in telling if key in told), f"{incident} at {worst}"
            assert any(self.reason_of[key] is Reason.RESOLVED for key in keys if key in told), f"the end of {incident}"

    def somebody_listens(self, organization: str, severity: Severity) -> bool:
        """Whether one that is up, or stands in, hears of such a severity; only what was tried is known to be down."""
        audience = channels_of(self.settings, Subject.ORGANIZATION, organization)
        hearing_ = [name for name in audience if self.settings.channels[name].min_severity <= severity]
        able = {stand_in(self.settings, name, self.down) if name in self.down else name for name in hearing_}
        up = [name for name in able if name is not None and name not in self.dead]
        return any(self.settings.channels[name].min_severity <= severity for name in up)

    def what_is_kept_as_told_arrived_and_the_reverse(self) -> None:
        arrived = {(one.channel, key) for one in self.received for family in one.told for key in family}
        certain = {(one.channel, key) for one in self.received if one.certain for family in one.told for key in family}
        kept = {(row["channel"], row["notification_id"]) for row in self.rows if row["state"] == "delivered"}
        kept |= {
            (row["channel"], row["notification_id"])
            for row in self.rows
            if row["state"] == "folded" and (row["channel"], row["folded_into"]) in kept
        }
        assert certain <= kept <= arrived

    def whoever_was_told_hears_the_end_last(self) -> None:
        last: dict[tuple[str, int], str] = {}
        for reception in self.received:
            for newest, *_ in reception.told:
                last[reception.channel, self.incident_of[newest]] = newest
        missed = {
            (row["channel"], row["incident_id"])
            for row in self.rows
            if row["state"] == "given_up" and self.reason_of[row["notification_id"]] is Reason.RESOLVED
        }
        for (channel, incident), key in last.items():
            if channel in self.dead or (channel, incident) in missed:
                continue
            assert self.reason_of[key] is Reason.RESOLVED, f"{channel} of incident {incident}"

    def nothing_arrives_twice(self) -> None:
        certain: set[tuple[str, str]] = set()
        for reception in self.received:
            ids = {(reception.channel, key) for family in reception.told for key in family}
            assert not ids & certain
            certain |= ids if reception.certain else set()

    def nothing_older_follows_something_newer(self) -> None:
        newest: dict[tuple[str, int], int] = {}
        for reception in self.received:
            for first, *older in reception.told:
                place = reception.channel, self.incident_of[first]
                assert newest.get(place, -1) <= self.order[first]
                assert all(self.order[key] < self.order[first] for key in older)
                newest[place] = self.order[first]

    def what_stands_is_what_was_told_last(self) -> None:
        """To each that is up and is to hear of it; whom it does not concern believes nothing worse, unless it flaps."""
        for standing in self.standing:
            addressed = channels_of(self.settings, Subject.ORGANIZATION, standing.organization)
            concerned = hearing(self.settings, addressed, standing.severity)
            for name in (name for name in addressed if name not in self.dead):
                keys = [
                    newest
                    for reception in standing.received
                    if reception.channel == name
                    for newest, *_ in reception.told
                    if self.incident_of[newest] == standing.incident
                ]
                if name not in concerned and (standing.flaps or not keys):
                    continue
                assert keys, f"{name} knows nothing of {standing.incident}"
                told = self.reason_of[keys[-1]], self.severity_of[keys[-1]]
                assert told[0] is not Reason.RESOLVED, f"{name}: {standing.incident} {told}"
                is_known = told[1] is standing.severity if name in concerned else told[1] <= standing.severity
                assert is_known, f"{name}: {standing.incident} {told}"

    def one_hop_leads_to_what_tells_it(self) -> None:
        state = {(row["channel"], row["notification_id"]): row["state"] for row in self.rows}
        for row in self.rows:
            if row["state"] == "folded":
                into = row["channel"], row["folded_into"]
                assert state[into] != "folded"
                assert self.order[row["notification_id"]] < self.order[row["folded_into"]]
            else:
                assert row["folded_into"] is None


# --- what may happen --------------------------------------------------------------------------------------------------

levels = st.sampled_from([5000, 3000, 900, 100])
balances = st.dictionaries(st.sampled_from("aab"), levels, min_size=1)
behaviours = st.sampled_from(
    ["take", "fail", "refuse", "ask for a pause", "take and hang", "kill", "refuse what names a"],
)
steps = st.one_of(
    st.tuples(st.just("balances"), balances),
    st.tuples(st.just("behaviour"), st.tuples(st.sampled_from(CHANNELS), behaviours)),
    st.tuples(st.sampled_from(["meanwhile", "take_over"]), balances),
    st.tuples(st.just("wait"), st.sampled_from([1, 6, 20, 45])),
    st.tuples(st.just("clock"), st.sampled_from([-50, -5, 5, 50])),
    st.tuples(st.just("silence"), st.sampled_from("ab")),
    st.tuples(st.just("notify"), st.sampled_from(CHANNELS)),
    st.tuples(st.sampled_from(["restart", "restart", "restart", "day"]), st.none()),
)


@st.composite
def scenes(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """A channel begins to behave badly, things get worse and better, and it may come back."""
    name = draw(st.sampled_from(("main", "main", "second", "third")))
    scene: list[tuple[str, Any]] = [("behaviour", (name, draw(behaviours)))]
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 5)) == 0:
            scene.append((draw(st.sampled_from(["meanwhile", "take_over"])), draw(balances)))
        scene.append(("balances", draw(balances)))
        scene.append(("wait", draw(st.sampled_from([1, 6, 20, 45]))))
    if draw(st.booleans()):
        scene.append(("behaviour", (name, "take")))
    return scene


stories = st.lists(st.one_of(scenes(), st.lists(steps, min_size=1, max_size=3)), min_size=1, max_size=6).map(
    lambda parts: [step for part in parts for step in part]
)
options = st.sampled_from(["", "", 'min_severity = "critical"', QUIET, f'{QUIET}\nmin_severity = "info"'])
configurations = st.builds(
    configured,
    main=options,
    second=options,
    third=options,
    after_second=st.sampled_from(["third", "main"]),
    levels=st.sampled_from([LADDER, WITH_INFO]),
    remind_every=st.sampled_from(["1d", "1h"]),
)

dying = st.sampled_from(["fail", "refuse"])
deaths = st.one_of(
    st.just({}), st.fixed_dictionaries({"main": dying}), st.fixed_dictionaries({"main": dying, "second": dying})
)


@examples(10)
@given(toml=configurations, story=stories, dead=deaths)
def test_whatever_happens_the_laws_of_delivery_hold(database_url, engine, tmp_path, caplog, toml, story, dead):
    with engine.begin() as tx:
        for table in reversed(tables.metadata.sorted_tables):
            if table is not tables.compatibility:
                tx.execute(table.delete())
    live(World(tmp_path, database_url, toml, dead), story)
    complaints = [record for record in caplog.get_records("call") if record.exc_info]
    assert all("killed" in str(record.exc_info) for record in complaints)
    caplog.clear()


def live(world: World, story: Sequence[tuple[str, Any]]) -> Record:
    """Let all of it happen, and look whether the laws hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery.channels, "send", world.receivers.send)
        patch.setattr(delivery.channels.Template, "ready", nothing_to_start)  # half a second, for what sends nothing
        asyncio.run(world.run(story))
    record = Record.of(world)
    record.check()
    return record


# --- what did not hold once -------------------------------------------------------------------------------------------

LATER = [("clock", 50), ("clock", 10)]  # in the quiet hours


def heard(record: Record, channel: str) -> list[list[str]]:
    """The reasons in each message to a channel, newest first."""
    received = [reception for reception in record.received if reception.channel == channel]
    return [[record.reason_of[key].value for family in one.told for key in family] for one in received]


def test_a_stand_in_whose_quiet_hours_held_the_beginning_is_told_it_with_the_end(database_url, tmp_path):
    world = World(tmp_path, database_url, configured(second=QUIET), {"main": "refuse"})
    story = [
        ("behaviour", ("main", "refuse")),
        *LATER,
        ("balances", {"a": 900}),
        ("wait", 6),
        ("balances", {"a": 5000}),
    ]
    assert heard(live(world, story), "second") == [["resolved", "opened"]]


def test_what_eases_in_quiet_hours_and_stays_open_is_told_when_they_end(database_url, tmp_path):
    toml = configured(main=f'{QUIET}\nmin_severity = "info"', levels=WITH_INFO)
    world = World(tmp_path, database_url, toml, {})
    story = [*LATER, ("balances", {"a": 900}), ("wait", 6), ("balances", {"a": 3000})]
    assert heard(live(world, story), "main") == [["eased"], ["resolved"]]


def test_that_it_eased_stays_held_for_whom_the_reminders_of_the_others_do_not_concern(database_url, tmp_path):
    toml = configured(third=f'{QUIET}\nmin_severity = "critical"', remind_every="1h")
    world = World(tmp_path, database_url, toml, {})
    eases = [("balances", {"b": 900}), ("wait", 45), ("wait", 45), ("balances", {"b": 900})]
    assert heard(live(world, [("balances", {"b": 100}), *LATER, *eases]), "third") == [
        ["opened"],
        ["eased"],
        ["resolved"],
    ]


def test_what_gets_worse_below_the_minimum_of_a_channel_that_heard_it_ease_is_not_told_there(database_url, tmp_path):
    toml = configured(third='min_severity = "critical"', levels=WITH_INFO)
    story = [change for balance in (100, 3000, 900) for change in (("balances", {"b": balance}), ("wait", 45))]
    record = live(World(tmp_path, database_url, toml, {}), story)
    assert heard(record, "third") == [["opened"], ["eased"], ["resolved"]]
    assert heard(record, "second") == [["opened"], ["eased"], ["escalated"], ["resolved"]]


def test_what_eases_while_it_flaps_is_told_within_the_hour(database_url, tmp_path):
    changes = [("balances", {"a": balance}) for balance in (900, 5000, 100, 900)]
    record = live(World(tmp_path, database_url, configured(), {}), changes)
    assert heard(record, "main") == [["opened"], ["resolved"], ["opened"], ["reminder"], ["resolved"]]


def test_what_eases_while_it_flaps_is_told_within_the_hour_to_whom_only_something_worse_was_told(
    database_url, tmp_path
):
    changes = [("balances", {"b": balance}) for balance in (100, 5000, 100, 900)]
    record = live(World(tmp_path, database_url, configured(third='min_severity = "critical"'), {}), changes)
    assert heard(record, "third") == [["opened"], ["resolved"], ["opened"], ["reminder"], ["resolved"]]

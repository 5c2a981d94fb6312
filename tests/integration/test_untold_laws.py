"""`run`, `check`, reloads, restarts and suspends in any order, with files that differ: whoever should hear, hears.

The rooms and `check` itself on the real store of both databases, with its real lock; only the vendor, the receivers and
the clock are in hand.  `HYPOTHESIS_PROFILE=thorough` tries many more stories than the suite does.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from story import START, key_of

from monitor import app, config
from monitor.channels import Outgoing
from monitor.check import check
from monitor.config import Settings
from monitor.daemon import process
from monitor.model import Attempt, Balance, Reason, Severity, Subject, VendorOrganization
from monitor.notify import delivery
from monitor.notify.routing import channels_of, hearing, named, rules_of
from monitor.poll import Ages
from monitor.store import installation, leader_lock, lease, tables
from monitor.store.leader_lock import LeaderLock
from monitor.store.tables import deliveries, incidents, notifications, organizations
from monitor.store.writer import Store
from tests.proofs.undamped import undamped
from tests.support import daemon

EXAMPLES: Final = {"": 4, "thorough": 500}[os.environ.get("HYPOTHESIS_PROFILE", "")]
MINUTE: Final = timedelta(minutes=1)
AN_ID: Final = re.compile(r"\b[0-9a-f]{16}\b")
RECEIVERS: Final = ("ops", "boss", "extra")
BETTER: Final = (Reason.EASED.value, Reason.RESOLVED.value)

# --- the files --------------------------------------------------------------------------------------------------------

BASE = """
[poll]
every = "5m"
[rules]
credits = { LADDER }
runway = "off"
remind_every = "off"
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.a]
id = "org-a"
MORE_OF_A
[organizations.b]
id = "org-b"
"""
OPS, BOSS = "[channels.ops]\n", '[channels.boss]\nmin_severity = "critical"\n'
LADDER, LOWER, HIGHER = (
    "warning = 1000, critical = 200",
    "warning = 1000, critical = 50",
    "warning = 6000, critical = 200",
)


def file(*channels: str, ladder: str = LADDER, more: str = "") -> str:
    return BASE.replace("LADDER", ladder).replace("MORE_OF_A", more) + "".join(channels)


OF_A_DAEMON: Final = (
    file(OPS, BOSS),
    file(OPS, BOSS, ladder=LOWER),
    file(OPS, BOSS, ladder=HIGHER),
    file(OPS),
    file("[channels.duty]\n", BOSS),  # leads where `ops` did
    file(OPS, BOSS, more='notify = ["ops"]'),
    file(OPS, BOSS, more='rules.credits = "off"'),
)
OF_A_CHECK: Final = (
    *OF_A_DAEMON,
    file('[channels.extra]\nmin_severity = "info"\n'),
    # The README's first line: a key, and nothing else.
    '[poll]\nevery = "5m"\n[accounts.default]\nbase_url = "http://127.0.0.1:9"\norganizations = "all"\n',
)
LEADS_TO: Final = {"ops": "ops", "duty": "ops", "boss": "boss", "extra": "extra"}


def load(folder: Path, url: str, text: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "{url}"\n{text}')
    account = "default" if "accounts.default" in text else "studio"
    names = re.findall(r"^\[channels\.(\w+)\]", text, re.MULTILINE)
    urls = {name: f"json://127.0.0.1:9/{LEADS_TO[name]}" for name in names}
    return config.load(path, daemon.credentials({account: key_of("studio")}, urls))


# --- the vendor and the receivers -------------------------------------------------------------------------------------


@dataclass
class Vendor:
    """What a key sees; stands for the provider of every account."""

    balances: dict[str, Decimal]

    async def fetch(self, organization: str | None = None) -> tuple[Balance, ...]:
        await asyncio.sleep(0)
        return (Balance("", self.balances[organization or "org-a"]),)

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        return tuple(VendorOrganization(key, None, is_default=key == "org-a") for key in self.balances)

    def unusable(self) -> tuple[str, ...]:
        return ()

    def vendor_time(self) -> None:
        return None

    async def aclose(self) -> None:
        pass


@dataclass
class Receivers:
    """What arrived, by where a channel leads; the `deaf` take nothing."""

    received: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in RECEIVERS})  # ids, in order
    deaf: set[str] = field(default_factory=set)

    async def send(self, _: str, url: str, outgoing: Sequence[Outgoing], **__: Any) -> AsyncIterator[Attempt]:
        name = url.rpartition("/")[2]
        for message in outgoing:
            if name in self.deaf:
                yield Attempt(message.delivery_id, "failed with HTTP 503")
                continue
            found = AN_ID.findall(message.message.text)
            assert found
            self.received[name] += reversed(found)  # of one incident the newest comes first
            yield Attempt(message.delivery_id, None)


# --- the world --------------------------------------------------------------------------------------------------------


@dataclass
class Daemon:
    """One that leads: it has the lock."""

    settings: Settings
    store: Store
    lock: LeaderLock
    ages: Ages
    parts: app.Parts


class World:
    """Programs on one database, and what is to be heard of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.now = folder, url, START
        self.vendor = Vendor({"org-a": Decimal(5000), "org-b": Decimal(5000)})
        self.receivers = Receivers()
        self.file = OF_A_DAEMON[0]  # on the disk
        self.daemon: Daemon | None = None
        self.was_away: set[tuple[str, str]] = set()  # receiver and organization: it may not hear of an end

    def clock(self) -> Any:
        return self.now

    # --- what happens -------------------------------------------------------------------------------------------------

    async def live(self, steps: Sequence[tuple[str, Any]]) -> None:
        await self.start()
        try:
            for what, value in steps:
                self.now += timedelta(seconds=1)
                await getattr(self, what)(value)
            self.receivers.deaf.clear()
            self.now += timedelta(seconds=1)  # no two checks are of one instant
            await self.start()
            for _ in range(4):
                await self.wait(20)
            self.require_heard(waiting=False)
            assert not [row for row in self.rows(incidents) if row["rule"] in {"stale", "outage"}]
        finally:
            await self.stop()

    async def balance(self, value: tuple[str, int]) -> None:
        self.vendor.balances[value[0]] = Decimal(value[1])

    async def deaf(self, name: str) -> None:
        self.receivers.deaf ^= {name}

    async def edit(self, number: int) -> None:
        self.file = OF_A_DAEMON[number]

    async def start(self, _: None = None) -> None:
        if self.daemon is not None:
            return
        lock = leader_lock.open_leader_lock(self.url)
        assert lock.acquire()
        store = Store(self.url)
        store.write_now(lambda tx: installation.record_host(tx, "a host", at=self.now))
        self._lead(load(self.folder, self.url, self.file), store, lock, Ages())
        await self.poll()

    def _lead(self, wanted: Settings, store: Store, lock: LeaderLock, ages: Ages, **changed: Any) -> None:
        parts = app.open_parts(wanted, store, clock=self.clock, leader_lock=lock, ages=ages, **changed)
        self.daemon = Daemon(wanted, store, lock, ages, parts)
        for name in ("a", "b"):
            addressed = channels_of(wanted, Subject.ORGANIZATION, name)
            heard = {LEADS_TO[channel] for channel in addressed}
            is_judged = bool(rules_of(wanted, named(wanted, name)).credits)
            self.was_away |= {(receiver, name) for receiver in RECEIVERS if receiver not in heard or not is_judged}

    async def stop(self, _: None = None) -> None:
        if self.daemon is None:
            return
        try:
            await self.daemon.parts.close()
        finally:
            self.daemon.lock.release()
            self.daemon = None

    async def restart(self, _: None = None) -> None:
        await self.stop()
        await self.start()

    async def reload(self, _: None = None) -> None:
        if self.daemon is None:
            return
        before, after = self.daemon, load(self.folder, self.url, self.file)
        carried_over = await before.parts.leave()
        changed = {
            "carried_over": carried_over,
            "mended": process._changed_channels(before.settings, after),
            "renamed": process._renamed_channels(before.settings, after),
        }
        self._lead(after, before.store, before.lock, before.ages, **changed)
        await self.daemon.parts.deliverer.drain()

    async def poll(self, _: None = None) -> None:
        """One poll, what `check` has left, a look at the ages, and what is due; then everybody knows."""
        if self.daemon is None:
            return
        parts = self.daemon.parts
        await parts.pickup.look(self.now)
        await parts.batch.flush()
        for poll in parts.polls:
            await poll.run()
        await parts.age_watch.look(self.now)
        await parts.deliverer.drain()
        self.require_heard(waiting=True)

    async def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE
        await self.poll()

    async def suspend(self, minutes: int) -> None:
        """The machine sleeps: nothing ran, and the clock goes on."""
        self.now += minutes * MINUTE
        if self.daemon is not None:
            await self.daemon.parts.age_watch.look(self.now)

    async def check(self, number: int) -> None:
        """Run `check` with a file of its own; beside a daemon it tells nobody, and leaves what stands as it is."""
        before, heard = self.standing(), {name: len(ids) for name, ids in self.receivers.received.items()}
        await check(load(self.folder, self.url, OF_A_CHECK[number]), (), clock=self.clock, dry_run=False)
        if self.daemon is not None:
            assert self.standing() == before
            assert {name: len(ids) for name, ids in self.receivers.received.items()} == heard

    # --- what must hold -----------------------------------------------------------------------------------------------

    def require_heard(self, *, waiting: bool) -> None:
        """What each receiver heard last of an organization is how it stands; `waiting`: or it is on its way to it."""
        assert self.daemon is not None
        wanted, rows = self.daemon.settings, {row["id"]: row for row in self.rows(organizations)}
        said = {row["id"]: row for row in self.notifications()}
        pending = {(row["channel"], row["incident_id"]) for row in self.pending()} if waiting else set()
        for row in rows.values():
            level = severity_of(wanted, row["name"], self.vendor.balances[row["vendor_id"]])
            addressed = channels_of(wanted, Subject.ORGANIZATION, row["name"])
            concerned = hearing(wanted, addressed, level) if level else []
            for channel in addressed:
                receiver = LEADS_TO[channel]
                heard = [said[key] for key in self.receivers.received[receiver] if said[key]["subject_id"] == row["id"]]
                if heard and heard[-1]["reason"] not in BETTER:
                    known = Severity.of(heard[-1]["severity"])
                else:
                    eased = bool(heard) and heard[-1]["reason"] == Reason.EASED.value
                    known = Severity.of(heard[-1]["severity"]) if eased else None
                if waiting and any(name == channel for name, _ in pending):
                    continue
                words = f"{channel} knows {known} of {row['name']}, which is {level}"
                if channel in concerned:
                    assert known is level, words
                    self.was_away.discard((receiver, row["name"]))
                elif known is not None and (receiver, row["name"]) not in self.was_away:
                    assert known is level, words

    # --- the database -------------------------------------------------------------------------------------------------

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        assert self.daemon is not None
        return self._all(sa.select(table).order_by(table.c.id))

    def notifications(self) -> list[dict[str, Any]]:
        columns = sa.select(notifications, incidents.c.subject_id)
        return self._all(columns.join(incidents, incidents.c.id == notifications.c.incident_id))

    def pending(self) -> list[dict[str, Any]]:
        return self._all(sa.select(deliveries).where(deliveries.c.state == "pending"))

    def standing(self) -> list[dict[str, Any]]:
        """Incidents, and what is said of them."""
        if self.daemon is None:
            return []
        said = self._all(sa.select(deliveries).order_by(deliveries.c.id))
        return [*self.rows(incidents), *said]

    def _all(self, question: Any) -> list[dict[str, Any]]:
        assert self.daemon is not None
        return self.daemon.store.write_now(
            lambda tx: [dict(row) for row in tx.execute(question).mappings()], fenced=False
        )


def severity_of(wanted: Settings, name: str, credits: Decimal) -> Severity | None:
    """The level of a balance that is in no band between a level and its clear level."""
    below = [rung.severity for rung in rules_of(wanted, named(wanted, name)).credits if credits < rung.below]
    return max(below, default=None)


# --- stories ----------------------------------------------------------------------------------------------------------

amounts = st.sampled_from([5000, 900, 100])
steps = st.one_of(
    st.tuples(st.just("balance"), st.tuples(st.sampled_from(["org-a", "org-a", "org-b"]), amounts)),
    st.tuples(st.just("balance"), st.tuples(st.just("org-a"), amounts)),
    st.tuples(st.just("check"), st.integers(0, len(OF_A_CHECK) - 1)),
    st.tuples(st.just("edit"), st.integers(0, len(OF_A_DAEMON) - 1)),
    st.tuples(st.sampled_from(["reload", "restart", "stop", "start", "poll", "poll"]), st.none()),
    st.tuples(st.sampled_from(["wait", "suspend"]), st.sampled_from([5, 45, 240])),
    st.tuples(st.just("deaf"), st.sampled_from(RECEIVERS)),
)


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """The vendor and the receivers in the place of the real ones; no incident flaps."""
    with pytest.MonkeyPatch.context() as patch, undamped():
        patch.setattr(app, "open_account", lambda *_: world.vendor)
        patch.setattr(delivery.channels, "send", world.receivers.send)
        patch.setattr(lease, "LEASE", timedelta(hours=1))  # a busy machine may stop a test for longer than 15 s
        yield


FELL: Final = ("balance", ("org-a", 100))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(story=st.lists(steps, min_size=3, max_size=14))
@example(story=[("stop", None), FELL, ("check", len(OF_A_CHECK) - 1), ("start", None)])
@example(story=[("stop", None), FELL, ("edit", 3), ("check", 6)])
@example(story=[FELL, ("check", len(OF_A_CHECK) - 1), ("poll", None)])
@example(story=[("edit", 3), ("reload", None), FELL, ("poll", None), ("edit", 0), ("reload", None), ("poll", None)])
@example(story=[("deaf", "ops"), FELL, ("poll", None), ("stop", None), ("check", len(OF_A_CHECK) - 2), ("start", None)])
def test_whoever_should_hear_of_a_severity_hears_of_it(database_url, engine, tmp_path, story):
    with engine.begin() as tx:
        for table in reversed(tables.metadata.sorted_tables):
            if table not in (tables.compatibility, tables.leases):
                tx.execute(table.delete())
        tx.execute(tables.leases.update().values(daemon="", expires_at=START))
    world = World(tmp_path, database_url)
    with simulated(world):
        asyncio.run(world.live(story))

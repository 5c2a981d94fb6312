"""Two real daemons on one real PostgreSQL: one leads, the other takes over, and nothing is lost or said by both."""

import asyncio
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from command import Shell
from manager import manager_of
from server import Server
from story import key_of
from wait import STOP, until

from monitor import query
from monitor.errors import DatabaseError
from monitor.query import DaemonRow
from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from monitor.store.engines import open_reader
from monitor.store.lease import Lease
from monitor.store.tables import incidents, notifications, snapshots
from monitor.store.writer import Engine, read

FILE = """
[database]
url = "{url}"
[poll]
every = "1s"
deadline = "1s"
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
[accounts.studio]
base_url = "{vendor}"
rate_limit = "off"
[organizations.farm]
account = "studio"
id = "org-1"
[channels.ops]
"""
AN_ID = re.compile(r"\b[0-9a-f]{16}\b")
AT_ONCE = 14  # seconds: it did not wait until the lease of fifteen had run out


@dataclass
class Stage:
    """A vendor with one balance, a receiver, and daemons by name."""

    shell: Shell
    server: Server
    url: str
    reader: Engine
    organization: SandboxOrganization
    vendor: Vendor
    daemons: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)  # sender, notification; without doubles
    hook: str = ""

    def start(self, name: str) -> None:
        self.shell.environ["CREDIT_MONITOR_CHANNELS__OPS__URL"] = self.hook.format(name)
        self.daemons[name] = self.shell.start("run")

    def take(self, message: Received) -> None:
        new = set(AN_ID.findall(message.message)) - {identity for _, identity in self.said}
        self.said += [(message.path.strip("/"), identity) for identity in new]

    def set(self, credits_now: int) -> None:
        self.organization.credits = Decimal(credits_now)

    # --- what is seen -------------------------------------------------------------------------------------------------

    def rows(self, question: Any) -> list[Any]:
        return read(self.reader, lambda tx: list(tx.execute(question)))

    def balances(self) -> list[int]:
        """As they were taken."""
        return [int(row.credits) for row in self.rows(sa.select(snapshots).order_by(snapshots.c.taken_at))]

    def reasons(self) -> list[str]:
        """Of everything that was to be said, in order."""
        return [row.reason for row in self.rows(sa.select(notifications).order_by(notifications.c.created_at))]

    def there(self) -> list[DaemonRow]:
        return query.daemons(self.reader) or []

    def leader(self) -> str | None:
        pids = {process.pid: name for name, process in self.daemons.items()}
        try:
            return next((pids.get(one.pid) for one in self.there() if one.leads_since), None)
        except DatabaseError:
            return None

    async def both(self) -> None:
        """The first leads, the second stands by."""
        self.start("first")
        await until(lambda: self.leader() == "first")
        self.start("second")
        await until(lambda: len(self.there()) == 2)

    def stop(self, name: str) -> None:
        self.daemons[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self.daemons[name].send_signal(signal.SIGCONT)

    # --- the database -------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """End every connection, on the server's side."""
        name = sa.make_url(self.url).database
        self.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Without the database."""
        name = sa.make_url(self.url).database
        self.server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        self.cut()
        try:
            yield
        finally:
            self.server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@pytest.fixture
async def stage(shell, postgres, postgres_url) -> AsyncIterator[Stage]:
    organization = SandboxOrganization("org-1", "Farm", Decimal(5000))
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor({key_of("studio"): ["org-1"]}, [organization]))
        reader = open_reader(postgres_url)
        stack.callback(reader.dispose)
        one = Stage(shell, postgres, postgres_url, reader, organization, vendor)
        receiver = await stack.enter_async_context(Receiver(one.take))
        one.hook = receiver.url("{}")
        shell.write(FILE, url=postgres_url, vendor=vendor.url)
        shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
        try:
            yield one
        finally:
            for process in one.daemons.values():
                process.kill()
                _, err = await asyncio.to_thread(process.communicate)
                assert "Traceback" not in err


@pytest.fixture
async def pair(stage) -> Stage:
    """One leads and has polled, one stands by."""
    await stage.both()
    await until(stage.balances)
    return stage


# --- who leads --------------------------------------------------------------------------------------------------------


async def test_one_polls_the_other_stands_by_ready_and_status_names_both(stage):
    stage.start("first")
    await until(lambda: stage.leader() == "first")
    async with manager_of(stage.shell) as told:
        stage.start("second")
        leads = f"STATUS=standing by: another credit-monitor leads on {socket.gethostname()}"
        assert await told.heard("STATUS=standing") == leads
        await told.heard("READY=1")
    answer = await asyncio.to_thread(stage.shell, "status")
    first, second = (stage.daemons[name].pid for name in ("first", "second"))
    assert re.search(rf"leader: .* \(process {first}\) since", answer.out)
    assert re.search(rf"standing by: .* \(process {second}\)", answer.out)


async def test_a_standby_whose_key_cannot_be_read_says_so_now_and_not_when_it_is_needed(stage):
    leader = Lease(stage.url)
    assert leader.acquire()
    del stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"]
    stage.shell.environ["CREDIT_MONITOR_CHANNELS__OPS__URL"] = stage.hook.format("third")
    answer = await asyncio.to_thread(stage.shell.process, "run")
    leader.release()
    assert answer.code == 78
    assert "accounts.studio" in answer.err


async def test_a_leader_that_is_told_to_stop_or_is_killed_on_this_machine_is_followed_at_once(pair):
    pair.daemons["first"].terminate()
    assert await until(lambda: pair.leader() == "second") < AT_ONCE
    assert await asyncio.to_thread(pair.daemons["first"].wait, STOP) == 0
    pair.start("third")
    await until(lambda: len(pair.there()) == 2)
    pair.daemons["second"].kill()
    assert await until(lambda: pair.leader() == "third") < AT_ONCE
    count = len(pair.balances())
    await until(lambda: len(pair.balances()) > count)


async def test_a_leader_that_was_stopped_is_followed_within_thirty_seconds_and_may_only_bring_facts_when_it_wakes(pair):
    pair.set(900)
    await until(lambda: len(pair.said) == 1)
    async with pair.away():
        pair.set(700)
        await asked(pair.vendor)
        pair.stop("first")
        pair.set(100)
    assert await until(lambda: pair.leader() == "second", within=60) < 45  # promised are thirty
    await until(lambda: len(pair.said) == 2)
    assert 700 not in pair.balances()
    pair.go_on("first")
    await until(lambda: 700 in pair.balances())
    pair.set(5000)
    await until(lambda: len(pair.said) == 3)
    assert [sender for sender, _ in pair.said] == ["first", "second", "second"]
    assert pair.reasons() == ["opened", "escalated", "resolved"]
    assert len(pair.rows(sa.select(incidents))) == 1
    assert pair.leader() == "second"
    await until(lambda: len(pair.there()) == 2)


# --- the database goes away -------------------------------------------------------------------------------------------


async def test_connections_that_are_cut_cost_nothing(pair):
    for credits_now in (900, 6000, 100):
        pair.set(credits_now)
        pair.cut()
        await until(lambda last=credits_now: last in pair.balances())
    await until(lambda: len(pair.said) == 3)
    assert pair.reasons() == ["opened", "resolved", "opened"]


async def test_one_that_is_alone_goes_on_fetching_without_its_database_and_stores_and_judges_it_all_in_order(stage):
    stage.start("only")
    await until(lambda: stage.leader() == "only")
    await until(stage.balances)
    async with stage.away():
        for credits_now in (900, 5000, 150):
            stage.set(credits_now)
            await asked(stage.vendor)
    await until(lambda: len(stage.said) == 3)
    taken = stage.rows(sa.select(snapshots).order_by(snapshots.c.taken_at))
    kept = [int(row.credits) for row in taken]
    assert [one for one, before in zip(kept, [0, *kept], strict=False) if one != before] == [5000, 900, 5000, 150]
    assert stage.reasons() == ["opened", "resolved", "opened"]


async def asked(vendor: Vendor) -> None:
    """Until the vendor has answered twice more: the first may have been under way."""
    before = len(vendor.requests)
    await until(lambda: len(vendor.requests) >= before + 2)
    await asyncio.sleep(0.1)

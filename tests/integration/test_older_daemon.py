"""An older daemon beside this one, whose schema it does not know: it loses, doubles and unwatches nothing.

Runs where `CREDIT_MONITOR_OLDER` names an installed checkout of it: `git worktree add ../older v0.1.0`, and there
`make .venv/installed`, because its children must be of its version, too.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from command import Shell
from story import key_of
from wait import until

from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from monitor.store import migrate
from monitor.store.engines import open_reader, open_writer
from monitor.store.tables import daemons, deliveries
from monitor.store.writer import Engine, read

OLDER = os.environ.get("CREDIT_MONITOR_OLDER", "")
NEWER = str(Path(__file__).parents[2])
pytestmark = pytest.mark.skipif(not OLDER, reason="CREDIT_MONITOR_OLDER names no checkout of an older version")
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
[channels.boss]
"""
TEMPFAIL = 75
AN_ID = re.compile(r"\b[0-9a-f]{16}\b")


@dataclass
class Stage:
    """A vendor with one balance, a receiver for each of two channels, and one daemon at a time, or two."""

    shell: Shell
    reader: Engine
    organization: SandboxOrganization
    receivers: dict[str, Receiver]
    received: dict[str, list[Received]]
    daemons: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, code: str) -> None:
        own = Path(code, ".venv/bin/python")
        command = [str(own) if own.exists() else sys.executable, "-m", "monitor", "run"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self.daemons.append(subprocess.Popen(command, env=self.shell._environ({}), cwd=code, text=True, **pipes))

    async def stop(self, *, kill: bool = False) -> None:
        process = self.daemons.pop(0)
        process.kill() if kill else process.terminate()
        _, err = await asyncio.to_thread(process.communicate)
        assert "Traceback" not in err

    def states(self, channel: str) -> list[str]:
        question = sa.select(deliveries.c.state).where(deliveries.c.channel == channel).order_by(deliveries.c.id)
        return list(read(self.reader, lambda tx: tx.execute(question).scalars().all()))

    def ids(self, channel: str) -> list[str]:
        return [key for message in self.received[channel] for key in AN_ID.findall(message.message)]

    def titles(self, channel: str) -> list[str]:
        return [message.title.split(":")[0] for message in self.received[channel]]

    def count(self, table: sa.Table) -> int:
        return read(self.reader, lambda tx: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    async def falls(self, credits_now: int, *, rows: int) -> None:
        self.organization.credits = Decimal(credits_now)
        await until(lambda: len(self.states("ops")) == rows)


@pytest.fixture
async def stage(shell, postgres_url) -> AsyncIterator[Stage]:
    organization = SandboxOrganization("org-1", "Farm", Decimal(5000))
    received: dict[str, list[Received]] = {"ops": [], "boss": []}
    async with AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor({key_of("studio"): ["org-1"]}, [organization]))
        reader = open_reader(postgres_url)
        stack.callback(reader.dispose)
        receivers = {
            name: await stack.enter_async_context(Receiver(messages.append)) for name, messages in received.items()
        }
        shell.write(FILE, url=postgres_url, vendor=vendor.url)
        shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
        for name, receiver in receivers.items():
            shell.environ[f"CREDIT_MONITOR_CHANNELS__{name.upper()}__URL"] = receiver.url()
        one = Stage(shell, reader, organization, receivers, received)
        yield one
        while one.daemons:
            await one.stop(kill=True)


async def test_it_does_not_begin_on_a_schema_it_does_not_know(stage):
    stage.start(NEWER)
    await stage.falls(900, rows=1)
    stage.start(OLDER)
    process = stage.daemons.pop()
    _, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == TEMPFAIL
    assert "made by a newer version than this one" in err


async def test_one_that_leads_goes_on_and_one_that_stands_by_follows_no_newer_one(stage, postgres_url):
    writer = open_writer(postgres_url)
    with migrate._alone(writer) as connection:
        command.downgrade(migrate._config(connection, migrate._own_scripts()), "0006")
    writer.dispose()
    stage.start(OLDER)
    await stage.falls(900, rows=1)
    stage.start(OLDER)
    await until(lambda: stage.count(daemons) == 2)
    stage.start(NEWER)  # it brings the schema up to date, and stands by
    await until(lambda: stage.count(daemons) == 3)
    await stage.falls(100, rows=2)  # the older one leads on
    await stage.stop(kill=True)
    await stage.falls(5000, rows=3)  # the newer one leads: the older one may not
    older = stage.daemons.pop(0)
    await stage.stop(kill=True)  # the newer one: only the older one is left
    stage.organization.credits = Decimal(900)
    stage.start(NEWER)
    await until(lambda: len(stage.states("ops")) == 4)
    assert older.poll() is None
    stage.daemons.append(older)
    await until(lambda: stage.states("ops")[-1] == "delivered")
    await until(lambda: len(set(stage.ids("ops"))) == 4)  # alone, or told with a later one: nothing is lost

"""An older daemon on the schema of this one: it delivers what it understands, loses and doubles nothing.

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
from command import Shell
from story import key_of
from wait import until

from monitor.sandbox import Behaviour, Received, Receiver, SandboxOrganization, Vendor
from monitor.store.engines import open_reader
from monitor.store.tables import deliveries
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


async def test_it_takes_over_from_a_newer_one_and_delivers_what_that_left(stage):
    stage.receivers["ops"].behaviour = Behaviour.REFUSE
    stage.start(NEWER)
    await until(lambda: stage.organization)
    await stage.falls(900, rows=1)
    stage.start(OLDER)
    await stage.falls(100, rows=2)
    await until(lambda: stage.states("boss") == ["delivered"] * 2)
    assert stage.states("ops") == ["folded", "pending"]
    await stage.stop(kill=True)
    stage.receivers["ops"].behaviour = Behaviour.TAKE
    await until(lambda: stage.states("ops") == ["folded", "delivered"])
    await stage.falls(5000, rows=3)
    await until(lambda: stage.states("ops")[-1] == stage.states("boss")[-1] == "delivered")
    assert stage.titles("ops") == ["CRITICAL", "RESOLVED"]
    assert stage.titles("boss") == ["WARNING", "CRITICAL", "RESOLVED"]


async def test_what_it_leaves_behind_is_told_once_by_a_newer_one(stage):
    stage.receivers["ops"].behaviour = Behaviour.REFUSE
    stage.start(OLDER)
    await stage.falls(900, rows=1)
    await stage.falls(100, rows=2)
    assert stage.states("ops") == ["pending", "pending"]
    stage.start(NEWER)
    await until(lambda: stage.states("boss") == ["delivered"] * 2)
    await stage.stop(kill=True)
    stage.receivers["ops"].behaviour = Behaviour.TAKE
    await until(lambda: stage.states("ops") == ["folded", "delivered"])
    await stage.falls(5000, rows=3)
    await until(lambda: stage.states("ops")[-1] == stage.states("boss")[-1] == "delivered")
    assert stage.titles("ops") == ["CRITICAL", "RESOLVED"]
    for channel in ("ops", "boss"):
        assert len(stage.ids(channel)) == len(set(stage.ids(channel))) == 3

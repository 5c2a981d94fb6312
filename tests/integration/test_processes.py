"""The daemon and the processes that it sends with: however one of them ends, none is left, and no message is lost."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from processes import alive, children, family, templates
from receivers import silence
from story import key_of
from wait import LONG, STOP, until

from monitor import check, config
from monitor.daemon.process import wall_clock
from monitor.sandbox import Behaviour, Received, Receiver, SandboxOrganization, Vendor
from monitor.store import engines
from monitor.store.tables import deliveries
from tests.support import daemon

CONFIG = """
[database]
url = "sqlite:///{folder}/monitor.db"
[poll]
every = "1s"
[rules]
credits = {{ warning = 1000, critical = 200 }}
runway = "off"
[accounts.studio]
base_url = "{vendor}"
rate_limit = "off"
[organizations.farm]
id = "org-1"
"""


@dataclass
class Site:
    """A configuration with a vendor, a channel `ops` whose receiver is ours, and a channel `deaf` that hangs."""

    folder: Path
    vendor: Vendor
    ops: Receiver
    environ: dict[str, str]
    received: list[Received] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await daemon.launch(self.folder, self.environ, log=self.folder / "log")
        try:
            await until(lambda: self.vendor.requests)
            yield process
        finally:
            await daemon.kill(process)

    def fall(self, credits_now: int) -> None:
        self.vendor.organizations["org-1"].credits = Decimal(credits_now)

    def states(self, channel: str) -> list[str]:
        reader = engines.open_reader(f"sqlite:///{self.folder}/monitor.db")
        try:
            with reader.connect() as connection:
                question = sa.select(deliveries.c.state).where(deliveries.c.channel == channel).order_by("id")
                return list(connection.execute(question).scalars())
        finally:
            reader.dispose()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    received: list[Received] = []
    farm = SandboxOrganization("org-1", "Farm", Decimal(5000))
    async with (
        Vendor({key_of("studio"): ["org-1"]}, [farm]) as vendor,
        Receiver(received.append) as ops,
        silence() as port,
    ):
        urls = {"ops": ops.url(), "deaf": f"json://127.0.0.1:{port}/"}
        text = CONFIG.format(folder=tmp_path, vendor=vendor.url) + "".join(f"[channels.{name}]\n" for name in urls)
        (tmp_path / "config.toml").write_text(text)
        yield Site(tmp_path, vendor, ops, daemon.environment({"studio": key_of("studio")}, urls), received)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
async def test_no_process_outlives_the_daemon(site, number):
    async with site.running() as process:
        site.fall(100)
        await until(lambda: site.received and len(children(process.pid)) == 1)  # the one that hangs
        left = list(family(process.pid))
        assert len(left) == 3
        await daemon.stop(process, number)
        await until(lambda: not any(map(alive, left)), within=10)
    assert site.states("deaf") == ["pending"]


async def test_a_stop_of_all_processes_of_the_service_lets_a_message_under_way_end(site):
    site.ops.behaviour = Behaviour.TAKE_SLOWLY
    async with site.running() as process:
        site.fall(100)
        await until(lambda: site.ops.attempts)
        everyone = list(family(process.pid))
        for pid in everyone:  # as systemd does, with KillMode=control-group
            os.kill(pid, signal.SIGTERM)
        assert await daemon.stop(process) == 0
        await until(lambda: not any(map(alive, everyone)), within=10)
    assert site.states("ops") == ["delivered"]
    assert len(site.received) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_template_that_crashes_leaves_nothing_and_another_one_sends_the_next_message(site, number):
    async with site.running() as process:
        site.fall(900)
        await until(lambda: site.received and len(children(process.pid)) == 1)
        [template], before = templates(process.pid), children(process.pid)
        os.kill(template, number)
        await until(lambda: not any(map(alive, [template, *before])), within=10)
        site.fall(100)
        await until(lambda: len(site.received) == 2)
        assert "CRITICAL" in site.received[1].title
        assert templates(process.pid) != [template]
        assert await daemon.stop(process) == 0


async def test_a_child_that_crashes_costs_its_message_alone(site):
    async with site.running() as process:
        site.fall(900)
        await until(lambda: site.states("ops") == ["delivered"] and len(children(process.pid)) == 1)  # that of `deaf`
        [template], [child] = templates(process.pid), children(process.pid)
        os.kill(child, signal.SIGSEGV)
        await until(lambda: "the sending process ended early (signal 11)" in (site.folder / "log").read_text())
        site.fall(100)
        await until(lambda: len(site.received) == 2)
        assert templates(process.pid) == [template]


async def test_a_quiet_daemon_keeps_no_process_for_sending(site, monkeypatch):
    site.environ["PYTHONPATH"] = f"{site.folder}:{site.environ['PYTHONPATH']}"
    hurry = "import monitor.channels.child_process as child_process\nchild_process.IDLE = 2.0\n"
    (site.folder / "sitecustomize.py").write_text(hurry)
    async with site.running() as process:
        await until(lambda: templates(process.pid) == [] and len(site.vendor.requests) > 5)
        polls = len(site.vendor.requests)
        while len(site.vendor.requests) < polls + 4:
            assert templates(process.pid) == []
            await asyncio.sleep(0.05)


async def test_check_tells_of_a_fall_and_leaves_no_process(site):
    settings = config.load(
        site.folder / "config.toml", site.environ | {"CREDIT_MONITOR_CHANNELS__DEAF__URL": site.ops.url("deaf")}
    )
    site.fall(100)
    seen: list[list[int]] = []
    site.ops._on_message = lambda message: (site.received.append(message), seen.append(templates()))
    began = time.monotonic()
    report = await check.check(settings, [], clock=wall_clock, dry_run=False)
    assert report.delivered
    assert time.monotonic() - began < STOP
    assert {message.path for message in site.received} == {"/hook", "/deaf"}
    assert {len(pids) for pids in seen} == {1}
    assert templates() == []


async def test_check_hands_over_to_a_fallback_without_waiting_for_a_channel_that_hangs(site):
    text = (site.folder / "config.toml").read_text()
    text = text.replace("[channels.ops]", '[channels.gone]\nfallback = "ops"\n[channels.ops]')
    text = text.replace('id = "org-1"', 'id = "org-1"\nnotify = ["gone", "deaf"]')
    (site.folder / "config.toml").write_text(text)
    async with Receiver(lambda _: None) as gone:
        gone.behaviour, gone.refusal = Behaviour.REFUSE, 404
        settings = config.load(
            site.folder / "config.toml", site.environ | {"CREDIT_MONITOR_CHANNELS__GONE__URL": gone.url()}
        )
        site.fall(100)
        checking = asyncio.create_task(check.check(settings, [], clock=wall_clock, dry_run=False))
        await until(lambda: site.received, within=STOP)
        assert gone.attempts == 1
        assert not checking.done()
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
    assert templates() == []


async def test_test_messages_to_many_channels_are_sent_from_one_template(site):
    names = [f"c{number}" for number in range(6)]
    (site.folder / "config.toml").write_text(
        CONFIG.format(folder=site.folder, vendor=site.vendor.url) + "".join(f"[channels.{name}]\n" for name in names)
    )
    seen: list[list[int]] = []
    site.ops._on_message = lambda _: seen.append(templates())
    urls = daemon.environment({"studio": key_of("studio")}, {name: site.ops.url(name) for name in names})
    settings = config.load(site.folder / "config.toml", urls)
    async with asyncio.timeout(LONG):
        attempts = await check.send_test(settings, names, clock=wall_clock)
    assert {name: attempt.error for name, attempt in attempts.items()} == dict.fromkeys(names)
    assert [len(pids) for pids in seen] == [1] * 6
    assert len({pid for pids in seen for pid in pids}) == 1
    assert templates() == []

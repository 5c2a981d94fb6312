"""SIGHUP on the real process: another configuration without losing anything, or the old one and why."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from command import FILE, Shell
from manager import Manager, ended, manager_of
from receivers import Web
from story import key_of
from wait import LONG

from monitor.sandbox import Fault, SandboxOrganization, Vendor
from tests.support.daemon import SOURCE

KEY = key_of("studio")
HOURLY = FILE.replace('deadline = "1s"', 'deadline = "1s"\nevery = "1h"')
BAD = HOURLY.replace("[poll]", "[polls]")


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in (1, 2, 3)]
    async with Vendor({KEY: ["org-1", "org-2", "org-3"]}, listed) as vendor:
        yield vendor


@pytest.fixture
async def told(shell: Shell) -> AsyncIterator[Manager]:
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = KEY
    async with manager_of(shell) as manager:
        yield manager


async def test_a_good_configuration_is_taken_without_polling_again_and_ends_what_it_leaves_out(
    shell, vendor, told, database_url
):
    vendor.organizations["org-1"].credits = Decimal(1)
    shell.write(HOURLY, url=database_url, vendor=vendor.url)
    process = shell.start("run")
    assert "2 organizations, 1 critical, next poll in" in await told.heard("STATUS=2")
    await told.heard("READY")
    without = HOURLY.replace('runway = "off"', 'runway = "off"\ncredits = "off"')
    shell.write(without, url=database_url, vendor=vendor.url)
    process.send_signal(signal.SIGHUP)
    assert (await told.heard("RELOADING")).startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert "2 organizations, all ok, next poll in" in await told.heard("STATUS=2")
    await told.heard("READY")
    assert len(vendor.requests) == 2
    code, err = await ended(process)
    assert (code, err.count("the configuration was reloaded")) == (0, 1)
    assert "render-farm: credits resolved (critical)" in err
    assert "Traceback" not in err


async def test_a_bad_configuration_changes_nothing_and_says_every_mistake(shell, vendor, told, sqlite_url):
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    await told.heard("READY")
    shell.write(BAD.replace("org-2", ""), url=sqlite_url, vendor=vendor.url)
    process.send_signal(signal.SIGHUP)
    assert "the new configuration is NOT in force" in await told.heard("STATUS=the new")
    await told.heard("READY")
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    process.send_signal(signal.SIGHUP)
    assert "2 organizations, all ok" in await told.heard("STATUS=2")
    await told.heard("READY")
    code, err = await ended(process)
    assert (code, err.count("not reloaded:"), err.count("old configuration stays")) == (0, 2, 1)
    assert "Traceback" not in err


async def test_the_unit_s_reload_ends_as_the_daemon_s_does(shell, vendor, told, sqlite_url, tmp_path):
    unit = (SOURCE / "systemd/credit-monitor.service").read_text().replace("\\\n", "")
    [command] = re.findall(r"^ExecReload=(.*)$", unit, re.MULTILINE)
    shell.environ["RUNTIME_DIRECTORY"] = str(tmp_path)
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    await told.heard("READY")

    async def reload() -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": str(tmp_path), "MAINPID": str(process.pid)}
        arguments = shlex.split(command)
        return await asyncio.to_thread(
            subprocess.run, arguments, env=environ, capture_output=True, text=True, timeout=LONG, check=False
        )

    shell.write(BAD.replace("org-2", ""), url=sqlite_url, vendor=vendor.url)
    answer = await reload()
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"{shell.home / 'config.toml'}:")
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    answer = await reload()
    assert (answer.returncode, answer.stderr) == (0, "")
    await ended(process)
    answer = await reload()
    assert answer.returncode == 1  # nobody answers


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("[accounts.studio]", '[accounts.studio]\nca_file = "/nowhere.pem"'), "accounts.studio.ca_file"),
        (("[rules]", '[channels.ops]\nurl = "nonsense"\n[rules]'), "channels.ops.url"),
        (("[rules]", '[channels.ops]\nurl_file = "/nowhere.url"\n[rules]'), "channels.ops.url_file"),
        (("[poll]", 'migrate = "manual"\n[poll]'), "database.migrate: cannot change in a reload; restart the daemon"),
        (("monitor.db", "other.db"), "database.url: cannot change in a reload; restart the daemon"),
    ],
)
async def test_what_only_a_start_would_find_is_found_by_a_reload(shell, vendor, told, sqlite_url, change, complaint):
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    await told.heard("READY")
    shell.write(HOURLY.replace("{url}", sqlite_url).replace(*change), vendor=vendor.url)
    process.send_signal(signal.SIGHUP)
    await told.heard("STATUS=the new configuration is NOT in force")
    code, err = await ended(process)
    assert code == 0
    assert complaint in err


class Slow(Web):
    """A receiver that thinks before it takes a message."""

    async def act(self, action: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)
        await super().act(action, writer)


async def test_a_message_under_way_is_finished_and_sent_once(shell, vendor, told, sqlite_url):
    vendor.organizations["org-1"].credits = Decimal(1)
    receiver = Slow()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    shell.environ["CREDIT_MONITOR_CHANNELS__OPS__URL"] = f"json://127.0.0.1:{port}/hook"
    shell.write(HOURLY + "[channels.ops]\n", url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    await receiver.arrived.wait()
    await told.heard("READY")
    process.send_signal(signal.SIGHUP)
    await told.heard("RELOADING")
    await told.heard("READY")
    _, err = await ended(process)
    assert (len(receiver.bodies), err.count("delivered render-farm")) == (1, 1)
    server.close()


async def test_hang_ups_at_any_instant_and_by_the_dozen_do_no_harm(shell, vendor, told, sqlite_url):
    vendor.fault = Fault.SERVER_ERROR
    shell.write(FILE, url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    while process.poll() is None and not told.said:
        await asyncio.sleep(0.1)  # Python itself must be up before a signal can be anything but deadly
        if _has_begun(process.pid):
            process.send_signal(signal.SIGHUP)
    for _ in range(50):
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.02)
    await told.heard("READY")
    vendor.fault = None
    process.send_signal(signal.SIGTERM)
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.002)
    _, err = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err


def _has_begun(pid: int) -> bool:
    """Whether a process ignores or takes SIGHUP, as the kernel has it."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
        masks = dict(line.split(":\t") for line in status if line.startswith(("SigIgn", "SigCgt")))
    return any(int(mask, 16) & 1 for mask in masks.values())


async def test_the_watchdog_is_fed_at_half_its_time_or_oftener(shell, vendor, told, sqlite_url):
    shell.environ["WATCHDOG_USEC"] = "4000000"
    shell.write(HOURLY, url=sqlite_url, vendor=vendor.url)
    process = shell.start("run")
    await told.heard("READY")
    await told.heard("WATCHDOG=1")
    began = time.monotonic()
    for _ in range(2):
        await told.heard("WATCHDOG=1", seconds=4)  # which it is given two for
    assert time.monotonic() - began > 2
    assert (await ended(process))[0] == 0

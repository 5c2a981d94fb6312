"""The real process: polled, counted, answered for, told to a dead man's switch; and an address that is taken."""

import asyncio
import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from decimal import Decimal
from urllib.error import HTTPError, URLError

import pytest
from command import FILE, Shell
from story import key_of
from visitor import TOKEN, free_port
from wait import LONG, STOP, until

from monitor.sandbox import Fault, SandboxOrganization, Vendor
from monitor.sandbox.loopback import Loopback, Reply

KEY = key_of("studio")
CANARY = "canary-uuid-0d9e"


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(5000)) for n in (1, 2)]
    async with Vendor({KEY: ["org-1", "org-2"]}, listed) as vendor:
        yield vendor


@pytest.fixture
async def calls() -> AsyncIterator[list[str]]:
    """What the dead man's switch hears; the first element is where it listens."""
    heard: list[str] = []

    def take(request: object) -> Reply:
        heard.append(request.path)  # type: ignore[attr-defined]
        return Reply()

    server = Loopback(take)
    await server.start()
    heard.append(f"http://127.0.0.1:{server.port}/{CANARY}")
    yield heard
    await server.stop()


def get(port: int, path: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except URLError:
        return 0, ""


async def answered(port: int, path: str, expected: str) -> str:
    """The first answer that holds this."""
    bodies = [""]

    async def is_answered() -> bool:
        bodies.append((await asyncio.to_thread(get, port, path))[1])
        return expected in bodies[-1]

    await until(is_answered, why=lambda: bodies[-1])
    return bodies[-1]


def configured(shell: Shell, url: str, vendor: Vendor, heartbeat: str, port: int) -> None:
    file = FILE.replace('deadline = "1s"', 'deadline = "1s"\nevery = "1s"')
    shell.write(f"{file}\n[web]\nlisten = {port}\n", url=url, vendor=vendor.url)
    shell.environ |= {
        "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": KEY,
        "CREDIT_MONITOR_WEB__TOKEN": TOKEN,
        "CREDIT_MONITOR_HEARTBEAT_URL": heartbeat,
    }


async def stopped(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(process.communicate, timeout=STOP)
    assert process.returncode == 0, err
    return err


@pytest.mark.parametrize("fault", [None, Fault.SERVER_ERROR], ids=["well", "down"])
async def test_the_daemon_answers_for_itself_and_calls_its_switch(shell, vendor, sqlite_url, calls, fault) -> None:
    vendor.fault = fault
    port = free_port()
    configured(shell, sqlite_url, vendor, calls[0], port)
    process = shell.start("run")
    try:
        await answered(port, "/readyz", "ok")  # a vendor that is down is the vendor's trouble
        assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
        outcome = "unavailable" if fault else "success"
        await answered(port, "/metrics", 'credit_monitor_poll_duration_seconds_count{account="studio"}')
        counted = f'credit_monitor_checks_total{{account="studio",outcome="{outcome}"}} 4.0'
        body = await answered(port, "/metrics", counted)
        assert ("credit_monitor_balance_credits{" in body) is (fault is None)
        await until(lambda: len(calls) >= 2)
        assert calls[1:] == [f"/{CANARY}/fail" if fault else f"/{CANARY}"]
    finally:
        err = await stopped(process)
    for secret in (KEY, TOKEN, CANARY):
        assert secret not in err + body


async def test_a_port_that_is_taken_ends_the_start_with_one_line(shell, vendor, sqlite_url) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        configured(shell, sqlite_url, vendor, "http://127.0.0.1:9/", port)
        answer = await asyncio.to_thread(shell.process, "run")
    assert answer.code == 75
    assert answer.err.splitlines()[-1] == f"web.listen: 127.0.0.1:{port}: address already in use"


async def test_secrets_that_cannot_be_had_are_mistakes_before_anything_begins(shell, vendor, sqlite_url) -> None:
    shell.write(
        f'heartbeat_url_file = "gone"\n{FILE}\n[web]\nlisten = 9464\ntoken_file = "gone"',
        url=sqlite_url,
        vendor="http://127.0.0.1:9",
    )
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = KEY
    checked = await asyncio.to_thread(shell.process, "config", "validate")
    assert checked.code == 78
    assert [line.split(": ")[1] for line in checked.err.splitlines() if "gone" in line] == [
        "heartbeat_url_file",
        "web.token_file",
    ]
    assert (await asyncio.to_thread(shell.process, "run")).code == 78
    assert json.loads((await asyncio.to_thread(shell.process, "status", "--format", "json")).out or "[]") == []


async def test_one_that_stands_by_answers_for_what_the_other_one_does(shell, vendor, postgres_url) -> None:
    ports = [free_port(), free_port()]
    processes = []
    try:
        for port, leads in zip(ports, (1, 0), strict=True):
            configured(shell, postgres_url, vendor, "http://127.0.0.1:9/", port)
            processes.append(shell.start("run"))
            await answered(port, "/metrics", f"credit_monitor_leader {leads}.0")
        for port in ports:
            await answered(port, "/readyz", "ok")
            assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
            await answered(
                port,
                "/metrics",
                'credit_monitor_balance_credits{account="studio",organization="video",unit="credits"} 5000.0',
            )
    finally:
        for process in processes:
            await stopped(process)

"""The simulated vendor, the receiver and the demo's scenario, asked over plain sockets."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from wait import LONG, until

from monitor.model import Generation
from monitor.sandbox import (
    Behaviour,
    Fault,
    Limit,
    Received,
    Receiver,
    Reply,
    SandboxOrganization,
    Vendor,
    demo_vendor,
    run_scenario,
)
from monitor.sandbox.faults import answer
from monitor.sandbox.scenario import DEMO, balance, set_scene, spent, spent_shares

KEY = "sk-sandbox"


async def ask(port: int, path: str, *, body: bytes = b"", within: float = LONG, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of one request; status 0 when there was no answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), within)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return 0, None
    finally:
        writer.write_eof() if writer.can_write_eof() and not writer.is_closing() else None
    content = await reader.read()
    writer.close()
    return int(head.split(b" ")[1]), json.loads(content) if content else None


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    organizations = [
        SandboxOrganization("org-1", "One", Decimal("12.5")),
        SandboxOrganization("org-2", "Two", lambda: Decimal(3)),
        SandboxOrganization("org-3", "Three", Decimal("1E+3")),
    ]
    async with Vendor({KEY: ["org-2", "org-1"]}, organizations, limit=Limit(5, window=10, timeout=60)) as vendor:
        yield vendor


def port_of(vendor: Vendor) -> int:
    return int(vendor.url.rpartition(":")[2])


async def test_v1_wants_a_bearer_and_v1alpha_the_key_alone(vendor: Vendor) -> None:
    port = port_of(vendor)
    assert await ask(port, "/v1/user/balance", Authorization=f"Bearer {KEY}") == (200, {"credits": 3})
    assert await ask(port, "/v1alpha/user/balance", Authorization=KEY) == (200, {"credits": 3})
    for path, sent in (("/v1/user/balance", KEY), ("/v1alpha/user/balance", f"Bearer {KEY}")):
        status, body = await ask(port, path, Authorization=sent)
        assert (status, body["name"]) == (401, "unauthorized")
        assert sent in body["message"]


async def test_an_organization_is_chosen_by_its_header(vendor: Vendor) -> None:
    port, bearer = port_of(vendor), f"Bearer {KEY}"
    assert await ask(port, "/v1/user/balance", Organization="org-1", Authorization=bearer) == (200, {"credits": 12.5})
    status, body = await ask(port, "/v1/user/balance", Organization="org-3", Authorization=bearer)
    assert (status, body["name"]) == (403, "permission_denied")


async def test_the_account_lists_what_the_key_sees(vendor: Vendor) -> None:
    _, body = await ask(port_of(vendor), "/v1/user/account", Authorization=f"Bearer {KEY}")
    listed = [(entry["id"], entry["is_default"]) for entry in body["organizations"]]
    assert listed == [("org-2", True), ("org-1", False)]


async def test_too_many_requests_earn_a_time_out(vendor: Vendor) -> None:
    answers = [await ask(port_of(vendor), "/v1alpha/user/balance", Authorization=KEY) for _ in range(7)]
    assert [status for status, _ in answers] == [200] * 5 + [429] * 2


async def test_a_fault_can_be_switched_on_and_off(vendor: Vendor) -> None:
    vendor.organizations["org-2"].fault = Fault.SERVER_ERROR
    status, body = await ask(port_of(vendor), "/v1alpha/user/balance", Authorization=KEY)
    assert (status, body["fault"]) == (500, True)
    vendor.organizations["org-2"].fault = Reply(body=b'"anything"')
    assert await ask(port_of(vendor), "/v1alpha/user/balance", Authorization=KEY) == (200, "anything")
    vendor.organizations["org-2"].fault = None
    assert await ask(port_of(vendor), "/v1alpha/user/balance", Authorization=KEY) == (200, {"credits": 3})
    assert len(vendor.requests) == 3


@pytest.mark.parametrize("generation", Generation)
@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_an_answer(fault: Fault, generation: Generation) -> None:
    sent = answer(fault, generation, key=KEY, elsewhere="http://127.0.0.1:9/")
    assert callable(sent) or sent.encode().startswith(b"HTTP/1.1 ")


SCRIPT = """
[keys]
"sk-sandbox" = ["org-1"]
[organizations.org-1]
credits = "1500.25"
[[steps]]
at = 0.0
organization = "org-1"
credits = "150"
[[steps]]
at = 600
fault = "hang"
"""


async def test_it_runs_as_a_process_by_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor.sandbox", "--script", str(script), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        port = int((await process.stdout.readline()).rpartition(b":")[2])

        async def has_fallen() -> bool:
            return await ask(port, "/v1alpha/user/balance", Authorization=KEY) == (200, {"credits": 150})

        await until(has_fallen)
    finally:
        process.terminate()
        await process.communicate()


def test_the_usage_series_spends_everything_once() -> None:
    shares = spent_shares()
    assert len(shares) == 300
    assert list(shares) == sorted(shares)
    assert (spent(0), spent(1), spent(2)) == (0, 1, 1)


def test_a_balance_follows_the_series_down() -> None:
    falling = [balance(Decimal(1000), Decimal(100), progress=step / 50) for step in range(51)]
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == (Decimal(1000), Decimal(100))


def test_a_lap_of_the_demo_shows_everything() -> None:
    vendor = demo_vendor()
    seen: dict[str, list[Decimal]] = {id_: [] for id_ in vendor.organizations}
    faults = set()
    for step in range(200):
        set_scene(vendor, DEMO, progress=step / 200)
        for id_, organization in vendor.organizations.items():
            faults.add((id_, organization.fault))
            seen[id_].append(Decimal(json.loads(organization.balance(), parse_float=Decimal)["credits"]))
    assert min(seen["org-1001"]) < 200
    assert seen["org-1001"][-1] > 1050
    assert min(seen["org-2001"]) < 1000 < max(seen["org-2001"])
    assert ("org-1002", Fault.SERVER_ERROR) in faults
    assert vendor.organizations["org-1002"].fault is None


async def test_a_lap_takes_its_time_and_ends_topped_up() -> None:
    vendor = demo_vendor()
    await asyncio.wait_for(run_scenario(vendor, 0.2), LONG)
    assert vendor.organizations["org-1001"].credits > 4000  # type: ignore[operator]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, list[Received]]]:
    taken: list[Received] = []
    async with Receiver(taken.append) as receiver:
        yield receiver, taken


@pytest.mark.parametrize(
    ("behaviour", "status", "is_taken"),
    [
        (Behaviour.TAKE, 200, True),
        (Behaviour.REFUSE, 503, False),
        (Behaviour.HANG, 0, False),
        (Behaviour.TAKE_AND_HANG, 0, True),
        (Behaviour.REDIRECT, 302, False),
        (Behaviour.RESET, 0, False),
    ],
)
async def test_a_receiver_behaves_as_told(
    receiver: tuple[Receiver, list[Received]], behaviour: Behaviour, status: int, *, is_taken: bool
) -> None:
    listener, taken = receiver
    listener.behaviour = behaviour
    body = json.dumps({"title": "a", "message": "b", "type": "failure", "version": 0}).encode()
    assert (await ask(listener.port, "/hook?x=1", body=body, within=LONG if status else 0.5))[0] == status
    await until(lambda: listener.attempts)
    assert taken == ([Received("a", "b", "failure", "/hook")] if is_taken else [])
    assert listener.attempts == 1

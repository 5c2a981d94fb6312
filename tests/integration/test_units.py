"""Balances in several units through the real commands: one answer, levels by unit, zero, another unit, a new name."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from command import Answer, Shell

from monitor.sandbox import Received, Receiver
from monitor.sandbox.loopback import Loopback, Reply, Request

FILE = """
[database]
url = "{url}"
[accounts.wallet]
provider = "mine"
{wallet}
[accounts.single]
provider = "one"
[providers.mine]
url = "{vendor}/several"
each = "list"
id = "currency"
balance = "amount"
unit = { path = "currency" }
[providers.one]
url = "{vendor}/single"
balance = "amount"
unit = { path = "unit" }
[channels.ops]
"""
BY_UNIT = "rules.credits = { USD = { warning = 20, critical = 5 }, cny = { warning = 200 } }"


@dataclass
class Stage:
    """A vendor with several balances in one answer and one with a single one, and the command line."""

    shell: Shell
    vendor_url: str
    database_url: str
    several: Mapping[str, str]
    single: tuple[str, str] = ("12.3", "USD")
    fault: Reply | None = None
    requests: list[str] = field(default_factory=list)
    heard: list[Received] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        path = request.path
        self.requests.append(path)
        if self.fault:
            return self.fault
        if path == "/several":
            entries = [{"currency": unit, "amount": amount} for unit, amount in self.several.items()]
            return Reply(body=json.dumps({"list": entries}).encode())
        return Reply(body=json.dumps({"amount": self.single[0], "unit": self.single[1]}).encode())

    def write(self, wallet: str = "", *, single: str = "single") -> None:
        file = FILE.replace("[accounts.single]", f"[accounts.{single}]")
        self.shell.write(file, url=self.database_url, vendor=self.vendor_url, wallet=wallet)

    async def run(self, *arguments: str) -> Answer:
        return await asyncio.to_thread(self.shell, *arguments)

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return list(json.loads((await self.run(*arguments, "--format", "json")).out))

    async def states(self) -> dict[str, str]:
        return {row["organization"]: row["state"] for row in await self.rows("check")}


@pytest.fixture
async def stage(shell, empty_database_url) -> AsyncIterator[Stage]:
    one = Stage(shell, "", empty_database_url, {"USD": "5.5", "CNY": "110.00"})
    vendor = Loopback(one.answer)
    await vendor.start()
    one.vendor_url = f"http://127.0.0.1:{vendor.port}"
    async with Receiver(one.heard.append) as receiver:
        shell.environ |= {
            "CREDIT_MONITOR_ACCOUNTS__WALLET__API_KEY": "key-1",
            "CREDIT_MONITOR_ACCOUNTS__SINGLE__API_KEY": "key-2",
            "CREDIT_MONITOR_CHANNELS__OPS__URL": receiver.url(),
        }
        one.write()
        yield one
    await vendor.stop()


async def test_one_request_gives_every_balance_of_an_answer_with_its_unit(stage):
    found = {row["organization"]: (row["credits"], row["unit"]) for row in await stage.rows("check")}
    assert found == {"wallet/CNY": (110, "CNY"), "wallet/USD": (5.5, "USD"), "single": (12.3, "USD")}
    assert sorted(stage.requests) == ["/several", "/single"]
    for command in ("status", "history", "usage"):
        rows = await stage.rows(command)
        assert {row["unit"] for row in rows} == {"CNY", "USD"}
        text = (await stage.run(command, "--format", "csv")).out
        assert next(csv.reader(io.StringIO(text)))[-1] == "unit"
    table = (await stage.run("status")).out
    assert "110.00 CNY" in table
    assert "12.30 USD" in table


async def test_levels_by_unit_hold_and_no_level_of_stabilitys_judges_money(stage):
    assert await stage.states() == {"wallet/CNY": "ok", "wallet/USD": "ok", "single": "ok"}
    stage.write(BY_UNIT)
    assert await stage.states() == {"wallet/CNY": "warning", "wallet/USD": "warning", "single": "ok"}
    stage.several = {"USD": "4.99", "CNY": "110"}
    assert (await stage.states())["wallet/USD"] == "critical"
    last = stage.heard[-1]
    assert last.title == "CRITICAL: wallet/USD has 4.99 USD, below 5.00 USD"
    assert "5.25 USD" in last.message


async def test_a_plain_level_holds_where_the_account_has_one_unit_alone(stage):
    stage.write("rules.credits = { warning = 1000 }")
    assert (await stage.states())["wallet/USD"] == "ok"
    stage.several = {"USD": "5.5"}
    stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__SINGLE__RULES__CREDITS__WARNING"] = "13"
    assert (await stage.states())["single"] == "warning"


@pytest.mark.parametrize("fault", [None, Reply(402, b'{"error": {"message": "top up"}}')])
async def test_nothing_left_is_critical_where_nobody_set_a_level_unless_that_is_off(stage, fault):
    stage.single, stage.fault = ("0", "USD"), fault
    assert (await stage.states())["single"] == "critical"
    assert any(message.title.startswith("CRITICAL: single has") for message in stage.heard)
    stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__SINGLE__RULES__CREDITS"] = "off"
    assert (await stage.states())["single"] != "critical"


async def test_another_unit_begins_beside_the_old_one_whose_end_is_told_once(stage):
    stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__SINGLE__RULES__CREDITS"] = "{ USD = { warning = 20 } }"
    assert (await stage.states())["single"] == "warning"
    stage.single = ("12.3", "EUR")
    for _ in range(3):
        states = await stage.states()
    assert (states["single/EUR"], "single" in states) == ("ok", False)
    assert [row["reason"] for row in await stage.rows("incidents")] == ["reconfigured"]
    assert [message.title for message in stage.heard] == [
        "WARNING: single has 12.30 USD, below 20.00 USD",
        "CLOSED: low balance of single: the configuration changed",
    ]
    stage.single = ("30", "USD")  # and back: the first one goes on
    states = await stage.states()
    assert ("single" in states, "single/EUR" in states) == (True, False)


async def test_an_entry_that_is_gone_fails_alone_and_an_answer_that_fails_is_every_ones(stage):
    await stage.states()
    stage.several = {"USD": "5.5"}
    rows = {row["organization"]: row["failure"] for row in await stage.rows("check")}
    assert rows == {"wallet/CNY": "unexpected_answer", "wallet/USD": None, "single": None}
    stage.fault = Reply(503, b"{}")
    assert {row["failure"] for row in await stage.rows("check")} == {"unavailable"}


async def test_totals_are_by_unit_and_never_across(stage):
    await stage.states()
    stage.several, stage.single = {"USD": "4.5", "CNY": "100"}, ("10", "USD")
    await stage.states()
    lines = [line.split() for line in (await stage.run("usage")).out.splitlines() if line.startswith("total")]
    assert lines == [
        ["total", "10.00", "CNY", "0.00", "CNY", "10.00", "CNY", "100.0%"],
        ["total", "3.30", "USD", "0.00", "USD", "3.30", "USD", "100.0%"],
    ]


async def test_a_new_account_name_begins_a_history_that_db_rename_joins(stage):
    await stage.states()
    stage.single = ("9.3", "USD")
    await stage.states()
    stage.write(single="other")
    stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__OTHER__API_KEY"] = "key-2"
    del stage.shell.environ["CREDIT_MONITOR_ACCOUNTS__SINGLE__API_KEY"]
    stage.single = ("8", "USD")
    assert "other" in await stage.states()
    assert [row["credits"] for row in await stage.rows("history", "other")] == [8]
    done = await stage.run("db", "rename", "single", "other")
    assert (done.code, done.out) == (0, "single is other now: 2 balances joined\n")
    assert [row["credits"] for row in await stage.rows("history", "other")] == [12.3, 9.3, 8]
    assert sum(row["used"] for row in await stage.rows("usage", "other")) == pytest.approx(4.3)
    again = await stage.run("db", "rename", "single", "other")
    assert (again.code, "no such organization" in again.err) == (64, True)
    two = await stage.run("db", "rename", "wallet/USD", "other")
    assert (two.code, "still watched" in two.err) == (64, True)


async def test_an_import_in_another_unit_is_refused_with_its_line(stage, tmp_path):
    await stage.states()
    (tmp_path / "old.csv").write_text(
        "taken_at,credits,organization,unit\n"
        "2026-01-01T00:00:00Z,20,single,USD\n"
        "2026-01-02T00:00:00Z,19,single,credits\n"
    )
    refused = await stage.run("db", "import", str(tmp_path / "old.csv"))
    assert refused.code == 64
    assert "old.csv:3: unit: single is counted in USD, not in credits" in refused.err

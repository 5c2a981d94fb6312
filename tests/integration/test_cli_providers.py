"""`providers`: the list, `show`, `try` on a saved answer, on samples, and by asking once."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from command import Answer, Shell
from odd_vendors import ODD, Odd
from vendors import CATALOGUE, Vendors, key_of, variables_of

from monitor.sandbox.loopback import Reply

ANSWER = '{"data":{"total":100.5,"used":25.75}}'
MINE = """[providers.mine]
url = "https://api.example.com/v1/teams/{team}/balance"
auth = "bearer"
balance = "data.total - data.used"
unit = "USD"
"""


def rows(answer: Answer) -> Any:
    return json.loads(answer.out, parse_float=Decimal)


def saved(shell: Shell, body: str) -> str:
    (shell.home / "answer").write_text(body)
    return str(shell.home / "answer")


def test_a_file_with_nothing_but_a_description_is_enough_to_try_it(shell: Shell) -> None:
    shell.write(MINE)
    tried = shell("providers", "try", "mine", "--answer", saved(shell, ANSWER), "--format", "json")
    assert (tried.code, rows(tried)) == (0, [{"id": "", "credits": Decimal("74.75"), "unit": "USD"}])
    assert tried.err == ""


def test_a_table_says_what_was_read_from_which_path(shell: Shell) -> None:
    shell.write(MINE)
    tried = shell("providers", "try", "mine", "--answer", saved(shell, ANSWER))
    assert "balance: data.total = 100.5" in tried.out
    assert "74.75 USD" in tried.out


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_vendor_is_tried_on_its_answer(shell: Shell, odd: Odd) -> None:
    shell.write(f"[providers.odd]\n{odd.toml}\n")
    tried = shell("providers", "try", "odd", "--answer", saved(shell, odd.body), "--format", "json")
    found = [(row["id"], row["credits"], row["unit"]) for row in rows(tried)]
    assert found == [(id_, amount and Decimal(amount), unit) for id_, amount, unit in odd.expect]
    assert tried.code == 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"data":{"totl":1,"used":0}}', "data.total: leads nowhere: data has totl, used; did you mean totl?"),
        ("<html>", "a gateway's page came instead of the vendor's answer"),
        ("", "the answer is empty, where JSON was described"),
        ("x" * 300_000, "the answer is longer than 262144 bytes"),
    ],
)
def test_an_answer_that_is_no_balance_is_65_with_the_reason(shell: Shell, body: str, why: str) -> None:
    shell.write(MINE)
    tried = shell("providers", "try", "mine", "--answer", saved(shell, body), "--format", "json")
    assert (tried.code, tried.out) == (65, "")
    assert why in tried.err


def test_a_mistake_in_the_description_has_its_line(shell: Shell) -> None:
    shell.write(MINE.replace("balance =", "balnce ="))
    tried = shell("providers", "try", "mine", "--answer", saved(shell, ANSWER))
    assert tried.code == 78
    assert "config.toml:4: providers.mine.balnce: unknown setting; did you mean balance?" in tried.err


def test_mistakes_of_others_do_not_matter(shell: Shell) -> None:
    shell.write(MINE + "[providers.other]\nurl = 5\n[accounts.studio]\nquokka = 1\n")
    assert shell("providers", "try", "mine", "--answer", saved(shell, ANSWER)).code == 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_built_in_vendor_reads_its_samples_without_any_file(shell: Shell, name: str) -> None:
    tried = shell("providers", "try", name, "--format", "json")
    expected = [{"id": id_, "credits": amount, "unit": unit} for id_, amount, unit in CATALOGUE[name].samples[0].expect]
    assert (tried.code, rows(tried)) == (0, expected)


def test_a_sample_that_gives_something_else_is_65(shell: Shell) -> None:
    shell.write(MINE + "test = [{ body = '" + ANSWER + "', expect = [['', '74', 'USD']] }]\n")
    tried = shell("providers", "try", "mine")
    assert tried.code == 65
    assert "test 1: gives other balances than it expects: 74 USD" in tried.err


def test_without_samples_account_and_answer_there_is_nothing_to_try(shell: Shell) -> None:
    shell.write(MINE)
    assert shell("providers", "try", "mine").code == 64
    near = shell("providers", "try", "deepsek")
    assert (near.code, near.err) == (64, "deepsek: no such vendor; did you mean deepseek?\n")


def test_show_prints_what_can_be_copied(shell: Shell) -> None:
    shown = shell("providers", "show", "twilio").out
    shell.write(shown.replace("twilio]", "mine]"))
    assert shell("providers", "try", "mine").code == 0
    assert shell("providers", "show", "mine").out == shown[shown.index("[") :].replace("twilio]", "mine]")


def test_the_list_has_the_built_in_and_the_described(shell: Shell) -> None:
    shell.write(MINE)
    listed = {row["provider"]: row for row in rows(shell("providers", "--format", "json"))}
    assert set(listed) == {*CATALOGUE, "mine"}
    assert listed["openrouter"]["unit"] == "USD"
    assert listed["twilio"]["vars"] == ["sid"]
    assert (listed["mine"]["built_in"], listed["deepseek"]["built_in"]) == (False, True)
    assert listed["deepseek"]["variable"] == "DEEPSEEK_API_KEY"


# --- asking -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    async with Vendors() as serving:
        yield serving


def configure(shell: Shell, vendors: Vendors, *names: str) -> None:
    tables = []
    for name in names:
        pairs = ", ".join(f'{key} = "{value}"' for key, value in variables_of(CATALOGUE[name]).items())
        tables.append(
            f'[accounts.{name}-one]\nprovider = "{name}"\napi_key = "{key_of(name)}"\n'
            f'base_url = "{vendors.url(name)}"\nvars = {{ {pairs} }}\n'
        )
    shell.write("\n".join(tables))


async def run(shell: Shell, *arguments: str) -> Answer:
    return await asyncio.to_thread(shell, *arguments)


@pytest.mark.parametrize("name", ["openrouter", "deepgram", "serpapi", "twocaptcha", "stability"])
async def test_a_configured_account_is_asked_once_and_its_answer_shown(
    shell: Shell, vendors: Vendors, name: str
) -> None:
    configure(shell, vendors, name)
    tried = await run(shell, "providers", "try", name)
    assert tried.code == 0
    assert ": HTTP 200\n" in tried.out
    assert "canary" not in (tried.out + tried.err).lower()
    assert vendors.wrong == []
    by_account = await run(shell, "providers", "try", f"{name}-one", "--format", "json")
    assert [row["unit"] for row in rows(by_account)] == [unit for _, _, unit in CATALOGUE[name].samples[0].expect]


async def test_a_refusal_is_shown_without_the_key_and_asked_for_once(shell: Shell, vendors: Vendors) -> None:
    configure(shell, vendors, "serpapi")
    vendors.fault = lambda name, _: Reply(500, b'{"error":"fault of %b"}' % key_of(name).encode())
    tried = await run(shell, "providers", "try", "serpapi")
    assert tried.code == 65
    assert "the vendor has a fault (HTTP 500): fault of [redacted]" in tried.err
    assert "canary" not in (tried.out + tried.err).lower()
    assert len(vendors.requests["serpapi"]) == 1


async def test_organizations_and_doctor_know_them(shell: Shell, vendors: Vendors) -> None:
    configure(shell, vendors, "deepseek", "deepgram", "bfl")
    listed = rows(await run(shell, "organizations", "--format", "json"))
    assert {(row["organization"], row["unit"]) for row in listed} == {
        ("deepseek-one/CNY", "CNY"),
        ("deepseek-one/USD", "USD"),
        ("org-7", None),
        ("bfl-one", "credits"),
    }
    examined = await run(shell, "doctor")
    assert "account deepseek-one: " in examined.out
    assert "it sees 2 organizations" in examined.out

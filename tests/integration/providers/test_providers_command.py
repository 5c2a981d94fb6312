"""Any program as a vendor: what it is given, what it may print, how it may end, and that it is gone when it is late."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from wait import until

from monitor.errors import CredentialRejected, FetchError, NoCredits, ProviderUnavailable, UnexpectedAnswer
from monitor.model import Balance, Generation
from monitor.providers import Access, open_provider
from monitor.providers.command import AT_ONCE

KEY = "key-CANARYcanaryCANARY"
RunIt = Callable[..., Awaitable[tuple[Balance, ...]]]


@pytest.fixture
def run(tmp_path: Path, described_by: Callable[[str], Any]) -> RunIt:
    """Runs a Python script as a described vendor; returns its balances."""

    async def run_script(
        script: str, toml: str = "", *, seconds: float = 30, organization: str | None = None, key: str = KEY
    ) -> tuple[Balance, ...]:
        program = tmp_path / "balance"
        program.write_text(f"#!{sys.executable}\n{script}\n")
        program.chmod(0o755)
        made = described_by(f'command = ["{program}", "{{organization}}", "fixed"]\n{toml}')
        access = Access("", key, Generation.V1, None, timedelta(seconds=seconds), description=made)
        provider = open_provider(access)
        try:
            return await provider.fetch(organization)
        finally:
            await provider.aclose()

    return run_script


async def failure(running: Awaitable[object]) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await running
    assert "canary" not in str(caught.value).lower()
    return caught.value


@pytest.mark.parametrize(
    ("printed", "toml", "expected"),
    [
        ("12.5", "unit = 'USD'", [("", "12.5", "USD")]),
        ("12.30 USD", "", [("", "12.3", "USD")]),
        (" 1,234.50 EUR ", "", [("", "1234.5", "EUR")]),
        ("-3", "unit = 'credits'\\ndivide = 2", [("", "-1.5", "credits")]),
        ('{"left": 7}', "balance = 'left'\\nunit = 'USD'", [("", "7", "USD")]),
        ('[{"c":"USD","a":1},{"c":"EUR","a":2}]', "each = '$'\\nid = 'c'\\nbalance = 'a'\\nunit = { path = 'c' }",
         [("USD", "1", "USD"), ("EUR", "2", "EUR")]),
        ("left: 5 of 9", "format = 'text'\\npattern = 'left: (?P<balance>[0-9]+)'\\nunit = 'USD'", [("", "5", "USD")]),
    ],
)  # fmt: skip
async def test_it_prints_a_number_with_a_unit_or_json(run: RunIt, printed: str, toml: str, expected: list[Any]) -> None:
    balances = await run(f"print({printed!r})", toml.replace("\\n", "\n"))
    found = [(balance.id, balance.credits, balance.unit) for balance in balances]
    assert found == [(id_, Decimal(amount), unit) for id_, amount, unit in expected]


@pytest.mark.parametrize("printed", ["", "twelve USD", "12.5", "1e5 USD", "12 <b>", "12 USD\\n13 USD", "{}", "NaN USD"])
async def test_anything_else_is_no_balance(run: RunIt, printed: str) -> None:
    assert type(await failure(run(f'print("{printed}")'))) is UnexpectedAnswer


async def test_a_unit_that_is_not_the_described_one_is_an_error(run: RunIt) -> None:
    assert "the unit is EUR and not USD" in str(await failure(run("print('12 EUR')", "unit = 'USD'")))


async def test_it_is_given_the_key_alone_and_little_else(run: RunIt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_MONITOR_ACCOUNTS__X__API_KEY", "secret")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    script = (
        "import os, sys, json\n"
        "print(json.dumps({'stdin': sys.stdin.read(), 'argv': sys.argv[1:], 'env': dict(os.environ), 'b': 1,"
        " 'home': os.listdir(os.environ['HOME'])}))"
    )
    seen = f"\nok = {{ stdin = '{KEY}', 'argv[0]' = 'org-9', 'env.CREDIT_MONITOR_ORGANIZATION' = 'org-9' }}"
    assert "ok: stdin is not" in str(await failure(run(script, "balance = 'b'\nunit = 'USD'\nok = { stdin = 'x' }")))
    (balance,) = await run(script, "balance = 'b'\nunit = 'USD'\nabsent = ['home']" + seen, organization="org-9")
    assert (balance.id, balance.credits) == ("org-9", 1)
    allowed = {
        "PATH",
        "LANG",
        "TZ",
        "HOME",
        "CREDIT_MONITOR_ORGANIZATION",
        "LC_CTYPE",
    }  # Python sets the last one itself
    names = f"import os\nprint(len(set(os.environ) - {allowed!r}), 'USD')"
    assert (await run(names))[0].credits == 0


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("import sys; sys.exit(75)", ProviderUnavailable, "cannot answer now (exit 75)"),
        ("import sys; sys.exit(77)", CredentialRejected, "the key is not accepted (exit 77)"),
        ("import sys; sys.exit(69)", NoCredits, "no credits are left (exit 69)"),
        ("import sys; print('12 USD'); sys.exit(3)", UnexpectedAnswer, "failed (exit 3)"),
        ("import os; os.kill(os.getpid(), 9)", ProviderUnavailable, "ended by SIGKILL"),
        ("import sys; print('a\\nno KEY\\n', file=sys.stderr); sys.exit(1)", UnexpectedAnswer, ": no [redacted]"),
        ("raise SystemExit('bad ' + input())", UnexpectedAnswer, ": bad [redacted]"),
    ],
)
async def test_how_it_ends_says_what_is_wrong(run: RunIt, script: str, kind: type[FetchError], words: str) -> None:
    error = await failure(run(script.replace("KEY", KEY)))
    assert type(error) is kind
    assert words in str(error)


async def test_a_program_that_is_not_there_or_none_is_told(run: RunIt, described_by: Any, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("12 USD")
    for program, words in (("/nonexistent/balance", "no such file"), (f"{tmp_path}/none", "permission denied")):
        made = described_by(f'command = ["{program}"]')
        provider = open_provider(Access("", "", Generation.V1, None, timedelta(seconds=30), description=made))
        error = await failure(provider.fetch())
        assert (type(error), words in str(error)) == (UnexpectedAnswer, True)


async def test_a_flood_is_ended_and_no_balance(run: RunIt) -> None:
    flood = "import sys\nwhile True: sys.stdout.write('1' * 65536)"
    assert isinstance(await failure(run(flood)), UnexpectedAnswer | ProviderUnavailable)
    noise = "import sys\nfor _ in range(100): sys.stderr.write('x' * 65536)\nprint('1 USD')"
    assert isinstance(await failure(run(noise)), ProviderUnavailable)


def alive(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_one_that_hangs_is_killed_with_its_children(run: RunIt, tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        f"if os.fork(): open('{tmp_path}/parent', 'w').write(str(os.getpid()))\n"
        f"else: open('{tmp_path}/child', 'w').write(str(os.getpid()))\n"
        "time.sleep(600)"
    )
    running = asyncio.ensure_future(run(script, seconds=600))
    files = (tmp_path / "parent", tmp_path / "child")
    await until(lambda: all(file.exists() and file.read_text() for file in files))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not any(alive(int(file.read_text())) for file in files))
    assert "did not answer within 0.3 s" in str(await failure(run("import time; time.sleep(600)", seconds=0.3)))


async def test_a_child_that_keeps_the_output_open_is_killed_at_the_deadline(run: RunIt) -> None:
    script = "import os, time\nif os.fork(): print('5 USD', flush=True)\nelse: time.sleep(600)"
    assert isinstance(await failure(run(script, seconds=1)), ProviderUnavailable)


def running_now(folder: Path) -> int:
    return len(list(folder.glob("run-*")))


async def test_four_run_at_once_in_all(run: RunIt, tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        f"open('{tmp_path}/run-%d' % os.getpid(), 'w').close()\n"
        f"while not os.path.exists('{tmp_path}/go'): time.sleep(0.02)\n"
        "print('1 USD')"
    )
    running = [asyncio.ensure_future(run(script)) for _ in range(AT_ONCE + 3)]
    await until(lambda: running_now(tmp_path) == AT_ONCE)
    await asyncio.sleep(0.2)
    assert running_now(tmp_path) == AT_ONCE
    (tmp_path / "go").touch()
    assert len(await asyncio.gather(*running)) == AT_ONCE + 3


async def test_a_key_is_not_needed(run: RunIt) -> None:
    assert (await run("print('1 USD')", key=""))[0].credits == 1

"""Standard streams that are closed, full or gone: no traceback, and the exit code still says what was found."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from command import FILE, Shell
from story import key_of
from wait import LONG

from monitor.sandbox import Fault, SandboxOrganization, Vendor

STREAMS = [">&-", ">/dev/full", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-", "<&-", ">/dev/full 2>/dev/full"]


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """One organization without credits, and one with plenty."""
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal((n - 1) * 5000)) for n in (1, 2)]
    async with Vendor({key_of("studio"): ["org-1", "org-2"]}, listed) as vendor:
        yield vendor


@pytest.fixture
def ready(shell: Shell, sqlite_url: str, vendor: Vendor) -> Shell:
    shell.write(FILE, url=sqlite_url, vendor=vendor.url)
    shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
    return shell


async def redirected(shell: Shell, command: str, streams: str) -> tuple[int, str]:
    """Exit code and standard error, where that is open, of a command in a shell with these redirections."""
    said = shell.home / "said"
    environ = {"HOME": str(shell.home), "PATH": os.environ["PATH"]} | shell.environ
    line = f"exec {sys.executable} -m monitor {command} >/dev/null 2>{said} {streams}"
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/sh", "-c", line], env=environ, cwd=Path(__file__).parents[2], timeout=LONG, check=False
    )
    return done.returncode, said.read_text()


@pytest.mark.parametrize("streams", STREAMS)
async def test_the_verdict_of_a_check_stands_whatever_becomes_of_its_output(ready, streams):
    code, said = await redirected(ready, "check", streams)
    assert code == 2
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert ("standard output: " in said) == (">" in streams.replace("2>", "") and "2>" not in streams)
    rows = json.loads(ready("history", "--format", "json").out)  # no stream's text has gone into the database
    assert [row["credits"] for row in rows] == [0, 5000]


@pytest.mark.parametrize("command", ["status", "history", "--help", "config init -"])
@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
async def test_without_a_verdict_output_that_is_lost_is_a_failure(ready, command, streams):
    code, said = await redirected(ready, command, streams)
    why = "is closed" if "&" in streams else "no space left on device"
    assert (code, said) == (74, f"standard output: {why}; what was to be printed is lost\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [("config validate", 0), ("doctor", 1), ("db current", 0), ("silence video --for 1h --reason x", 0)],
)
async def test_what_is_done_is_done_whatever_becomes_of_the_output(ready, command, code):
    await redirected(ready, "check", "")
    for streams in (">&-", ">/dev/full"):
        assert (await redirected(ready, command, streams))[0] == code


async def test_a_reader_that_leaves_does_not_change_the_verdict(ready):
    def check() -> tuple[int, str]:
        with ready.start("check") as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            return process.wait(LONG), process.stderr.read()

    assert await asyncio.to_thread(check) == (2, "")


# --- names that nobody can look up ------------------------------------------------------------------------------------

ALL = FILE.replace('rate_limit = "off"', 'rate_limit = "off"\norganizations = "all"')


async def test_an_organization_that_cannot_be_looked_up_is_unknown_and_said_why(shell, database_url, vendor):
    shell.write(ALL + '[organizations.default]\naccount = "studio"\n', url=database_url, vendor=vendor.url)
    environ = {"CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": key_of("studio")}
    vendor.account_fault = Fault.SERVER_ERROR
    for name in ("org-7", "default"):
        done = await asyncio.to_thread(shell, "check", name, "--format", "json", **environ)
        (row,) = json.loads(done.out)
        assert (done.code, row["organization"], row["state"], row["credits"]) == (3, name, "unknown", None)
        assert (
            "its account cannot be asked: account studio: the vendor has a fault (HTTP 500)" in row["failure_message"]
        )
        assert f"{name}: is not known yet" in done.err
    worst = await asyncio.to_thread(shell, "check", "render-farm", "org-7", **environ)
    assert worst.code == 2
    vendor.account_fault = None
    done = await asyncio.to_thread(shell, "check", "org-7", **environ)
    assert (done.code, done.err.startswith("org-7: no such organization; did you mean org-")) == (64, True)

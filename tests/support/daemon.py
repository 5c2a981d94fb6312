"""The real daemon as a process: how every acceptance test and proof starts it, stops it and hands it its secrets."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import monitor
from tests.support.wait import STOP

SOURCE: Final = Path(monitor.__file__).parents[1]
MONITOR: Final = ("-m", "monitor")
UNDAMPED: Final = ("-m", "tests.proofs.undamped")


def credentials(keys: Mapping[str, str], urls: Mapping[str, str]) -> dict[str, str]:
    """API keys by account and URLs by channel, as the environment variables of the daemon."""
    named = {f"ACCOUNTS__{account}__API_KEY": key for account, key in keys.items()}
    named |= {f"CHANNELS__{channel}__URL": url for channel, url in urls.items()}
    return {f"CREDIT_MONITOR_{name.replace('-', '_').upper()}": value for name, value in named.items()}


def environment(keys: Mapping[str, str], urls: Mapping[str, str], *, source: Path = SOURCE) -> dict[str, str]:
    """All that a daemon is given: of this machine only where its programs and its home are."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(source)} | credentials(keys, urls)


async def launch(
    folder: Path,
    environ: Mapping[str, str],
    *,
    log: Path,
    program: Sequence[str] = MONITOR,
    options: Sequence[str] = (),
    before: Callable[[], None] | None = None,
) -> Process:
    """Start a daemon on the `config.toml` of a folder; what it says is added to `log`.

    `before` is called in its process before it begins.
    """
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *program, "run", *options, "--config", folder / "config.toml"),
            env=environ,
            cwd=folder,
            stdout=output,
            stderr=output,
            preexec_fn=before,
        )


async def stop(process: Process, number: int = signal.SIGTERM, *, within: float = STOP) -> int:
    """Tell a process to end; return its exit code, or raise `TimeoutError` when it does not end in time."""
    if process.returncode is None:
        process.send_signal(number)
    async with asyncio.timeout(within):
        return await process.wait()


async def kill(process: Process | None) -> None:
    """See that a process is gone."""
    if process and process.returncode is None:
        process.kill()
        await process.wait()

"""`credit-monitor demo`: the real daemon against a simulated vendor and a receiver that prints what arrives."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from monitor import query
from monitor.cli.output import say
from monitor.cli.table import cut_line
from monitor.errors import MonitorError
from monitor.model import STABILITY_UNIT
from monitor.query import OrganizationStatus
from monitor.sandbox import (
    DEMO_V1_KEY,
    DEMO_V1ALPHA_KEY,
    DEMO_WALLET_KEY,
    Received,
    Receiver,
    Vendor,
    Wallet,
    demo_vendor,
    run_scenario,
)
from monitor.store import engines
from monitor.store.writer import Engine

LAP: Final = 60.0  # seconds, when nobody says how long
SETTLING: Final = 3.0  # seconds at the end for the last messages
COLOURS: Final = {"critical": "red", "warning": "yellow", "unknown": "magenta", "ok": "green"}
CONFIG: Final = """
[database]
url = "sqlite:///{folder}/demo.db"
[poll]
every = "1s"
deadline = "1s"
[rules]
stale_after = "4s"
[accounts.v1]
base_url = "{vendor}"
[accounts.v1alpha]
base_url = "{vendor}"
generation = "v1alpha"
[accounts.router]
provider = "openrouter"
base_url = "{wallet}"
rules.credits = {{ warning = 20, critical = 5 }}
[organizations.render-farm]
account = "v1"
id = "org-1001"
[organizations.lab]
account = "v1"
id = "org-1002"
[organizations.archive]
account = "v1alpha"
[channels.terminal]
[web]
listen = "127.0.0.1:{port}"
"""
PORT: Final = 9464  # the page's, where it is free


async def play(length: timedelta | None) -> int:
    """Play laps until Ctrl-C, or one lap within `length`; gives the exit code."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last one when the terminal goes away
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    seconds = length.total_seconds() if length else None
    lap = LAP if seconds is None else max(seconds - SETTLING, 1.0)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="credit-monitor-demo-")))
        receiver = await stack.enter_async_context(Receiver(_print_alert))
        vendor = await stack.enter_async_context(demo_vendor())
        port = _free_port()
        _introduce(lap, folder, port)
        wallet = await stack.enter_async_context(Wallet())
        daemon = await _start_daemon(folder, vendor, wallet, receiver, port)
        scenes = asyncio.create_task(_scenes(vendor, wallet, lap, endless=seconds is None))
        watching = asyncio.create_task(_watch(folder / "demo.db"))
        watching.add_done_callback(lambda _: stopped.set())  # nobody takes what it prints any more
        try:
            return await _until_done(daemon, stopped, seconds, folder)
        finally:
            scenes.cancel()
            watching.cancel()
            await asyncio.gather(scenes, watching, return_exceptions=True)


def _free_port() -> int:
    """Return the usual port of the page, or another one when that is taken."""
    for port in (PORT, 0):
        with socket.socket() as bound, suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
            bound.bind(("127.0.0.1", port))
            return int(bound.getsockname()[1])
    raise MonitorError("no port of this machine is free for the page")


def _introduce(lap: float, folder: Path, port: int) -> None:
    say("A simulated vendor with three organizations, and one in dollars, polled every second by the real daemon.")
    say("Levels: warning below 1,000 credits or 20 USD, critical below 200 or 5. What a channel gets starts with >>")
    say(f"One round takes {lap:.0f} seconds; everything is kept in {folder} and removed at the end.")
    say(f"Its page: http://127.0.0.1:{port}/\n")


async def _start_daemon(
    folder: Path, vendor: Vendor, wallet: Wallet, receiver: Receiver, port: int
) -> asyncio.subprocess.Process:
    written = CONFIG.format(folder=folder, vendor=vendor.url, wallet=wallet.url, port=port)
    (folder / "config.toml").write_text(written, encoding="utf-8")
    secrets = {
        "CREDIT_MONITOR_ACCOUNTS__V1__API_KEY": DEMO_V1_KEY,
        "CREDIT_MONITOR_ACCOUNTS__V1ALPHA__API_KEY": DEMO_V1ALPHA_KEY,
        "CREDIT_MONITOR_ACCOUNTS__ROUTER__API_KEY": DEMO_WALLET_KEY,
        "CREDIT_MONITOR_CHANNELS__TERMINAL__URL": receiver.url(),
    }
    # Settings that the person has for a daemon of their own must not reach this one.
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("CREDIT_MONITOR_", "CREDENTIALS_"))}
    with (folder / "daemon.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "monitor", "run", "--config", str(folder / "config.toml")),
            env=kept | secrets,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )


async def _scenes(vendor: Vendor, wallet: Wallet, lap: float, *, endless: bool) -> None:
    await asyncio.gather(run_scenario(vendor, lap), wallet.run(lap))
    while endless:
        await asyncio.gather(run_scenario(vendor, lap), wallet.run(lap))


async def _until_done(
    daemon: asyncio.subprocess.Process, stopped: asyncio.Event, seconds: float | None, folder: Path
) -> int:
    """Wait for the end, whoever brings it; then end the daemon as systemd would."""
    ended = asyncio.create_task(daemon.wait())
    asked = asyncio.create_task(stopped.wait())
    await asyncio.wait({ended, asked}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if ended.done():
        click.echo((folder / "daemon.log").read_text(encoding="utf-8")[-2000:], err=True)
        click.echo(f"the daemon ended by itself with exit code {daemon.returncode}", err=True)
        return MonitorError.exit_code
    daemon.send_signal(signal.SIGTERM)
    code = await ended
    click.echo(f"\nThe daemon was told to stop and ended with exit code {code}.")
    return code


async def _watch(database: Path) -> None:
    """Print a line of balances whenever a second has passed and something was recorded."""
    last: list[tuple[object, ...]] = []
    engine = engines.open_reader(f"sqlite:///{database}")
    try:
        while True:
            await asyncio.sleep(1)
            rows = _ask(engine)
            now: list[tuple[object, ...]] = [(one.name, one.credits, one.state) for one in rows]
            if now and now != last:
                click.echo(_line(rows))
            last = now
    finally:
        engine.dispose()


def _ask(engine: Engine) -> list[OrganizationStatus]:
    try:
        return query.status(engine)
    except MonitorError:
        return []  # the daemon is still making its tables


def _line(rows: Iterable[OrganizationStatus]) -> str:
    """Return the balances of each unit on a line: all of them are wider than a terminal."""
    by_unit: dict[str, list[str]] = {}
    for one in rows:
        state = click.style(one.state, fg=COLOURS[one.state])
        by_unit.setdefault(one.unit, []).append(f"{one.name} {_figure(one)} {state}")
    return "\n  ".join("  ".join(words) for words in by_unit.values())


def _figure(one: OrganizationStatus) -> str:
    if one.credits is None:
        return "-"
    return f"{one.credits:z,.2f}" if one.unit == STABILITY_UNIT else f"{one.credits:z,.2f} {one.unit}"


def _print_alert(received: Received) -> None:
    colour = {"failure": "red", "warning": "yellow", "success": "green"}.get(received.type)
    click.echo(click.style(cut_line(f">> {received.title}", sys.stdout), fg=colour, bold=True))

"""Look at the service: its state in systemd, and the environment that systemd gives it.

Starts, stops and enables nothing.
"""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from typing import Final

from monitor.config.service import UNIT
from monitor.doctor.findings import Finding, ok, problem, warning

SYSTEMD: Final = "/run/systemd/system"  # exists when systemd runs the machine
PROPERTIES: Final = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "WatchdogUSec", "StatusText")


def look_at_environ(environ: Mapping[str, str], used: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding on what `service_environ` added."""
    if added := sorted(used.keys() - environ.keys()):
        yield ok("service", "looked at as the service sees it: " + ", ".join(f"{name}={used[name]}" for name in added))


async def look_at_systemd() -> list[Finding]:
    """Return the state of the unit in one finding, and what is wrong with it in others."""
    program = shutil.which("systemctl")
    if program is None or not os.path.isdir(SYSTEMD):  # noqa: ASYNC240, PTH112 -- in memory
        return [ok("systemd", "is not looked at: it does not run this machine")]
    state = await _query(program, "show", UNIT, f"--property={','.join(PROPERTIES)}")
    version = (await _query(program, "--version")).get("", "systemd")
    if state.get("LoadState") != "loaded":
        return [ok("systemd", f"{version}: there is no {UNIT}")]
    return [_look_at_state(state, version), *_look_at_start(state)]


async def _query(program: str, *arguments: str) -> dict[str, str]:
    """Return the `NAME=value` lines that systemctl prints; its first other line by an empty name."""
    process = await asyncio.create_subprocess_exec(program, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    values: dict[str, str] = {}
    for line in out.decode(errors="replace").splitlines():
        name, equals, value = line.partition("=")
        values.setdefault(name if equals else "", value if equals else line)
    return values


def _look_at_state(state: Mapping[str, str], version: str) -> Finding:
    active = f"{UNIT} is {state.get('ActiveState', 'unknown')} ({state.get('SubState', 'unknown')})"
    watchdog = state.get("WatchdogUSec", "")
    guard = "no watchdog" if watchdog in {"", "0", "infinity"} else f"watchdog {watchdog}"
    status = f": {state['StatusText']}" if state.get("StatusText") else ""
    text = f"{active}, {guard}, {state.get('NRestarts', '0')} restarts, {version}{status}"
    match state.get("ActiveState"):
        case "active":
            return ok("systemd", text)
        case "failed":
            return problem("systemd", text, f"journalctl -u {UNIT}, then: systemctl restart {UNIT}")
        case _:
            return warning("systemd", text, f"systemctl start {UNIT}")


def _look_at_start(state: Mapping[str, str]) -> Iterator[Finding]:
    if state.get("UnitFileState") == "disabled":
        yield warning("systemd", "the service does not come back after a reboot", f"systemctl enable {UNIT}")

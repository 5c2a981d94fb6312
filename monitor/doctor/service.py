"""What systemd says of the service, and how root sees what the service sees.

Refuses to start, stop or enable anything.
"""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from monitor.config import find_file
from monitor.doctor.findings import Finding, ok, problem, warning

UNIT: Final = "credit-monitor.service"
FILE: Final = Path("/etc/credit-monitor/config.toml")
CREDENTIALS: Final = Path("/run/credentials") / UNIT
STATE: Final = Path("/var/lib/credit-monitor")
BOOTED: Final = "/run/systemd/system"  # there when systemd runs the machine
ASKED: Final = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "WatchdogUSec", "StatusText")


def as_service(path: Path | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with the service's credentials and state directory, when it is the service's file that is used.

    They are there for root while the service runs; without them every key would seem to be missing.
    """
    if find_file(path, environ) != FILE or "CREDENTIALS_DIRECTORY" in environ:
        return environ
    more = {}
    if CREDENTIALS.is_dir() and os.access(CREDENTIALS, os.R_OK | os.X_OK):
        more["CREDENTIALS_DIRECTORY"] = str(CREDENTIALS)
    if STATE.is_dir() and "STATE_DIRECTORY" not in environ:
        more["STATE_DIRECTORY"] = str(STATE)
    return {**environ, **more}


def said(environ: Mapping[str, str], seen: Mapping[str, str]) -> Iterator[Finding]:
    """That somebody else's eyes were used."""
    if added := sorted(seen.keys() - environ.keys()):
        yield ok("service", "looked at as the service sees it: " + ", ".join(f"{name}={seen[name]}" for name in added))


async def look_at_systemd() -> list[Finding]:
    """The unit's state in one line, and what is wrong with it in others."""
    program = shutil.which("systemctl")
    if program is None or not os.path.isdir(BOOTED):  # noqa: ASYNC240, PTH112 -- in memory
        return [ok("systemd", "is not looked at: it does not run this machine")]
    state = await _ask(program, "show", UNIT, f"--property={','.join(ASKED)}")
    version = (await _ask(program, "--version")).get("", "systemd")
    if state.get("LoadState") != "loaded":
        return [ok("systemd", f"{version}: there is no {UNIT}")]
    return [_unit(state, version), *_start(state)]


async def _ask(program: str, *arguments: str) -> dict[str, str]:
    """Its `NAME=value` lines; the first line without one by an empty name."""
    process = await asyncio.create_subprocess_exec(program, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found: dict[str, str] = {}
    for line in out.decode(errors="replace").splitlines():
        name, equals, value = line.partition("=")
        found.setdefault(name if equals else "", value if equals else line)
    return found


def _unit(state: Mapping[str, str], version: str) -> Finding:
    active = f"{UNIT} is {state.get('ActiveState', 'unknown')} ({state.get('SubState', 'unknown')})"
    watchdog = state.get("WatchdogUSec", "")
    guarded = "no watchdog" if watchdog in {"", "0", "infinity"} else f"watchdog {watchdog}"
    status = f": {state['StatusText']}" if state.get("StatusText") else ""
    found = f"{active}, {guarded}, {state.get('NRestarts', '0')} restarts, {version}{status}"
    match state.get("ActiveState"):
        case "active":
            return ok("systemd", found)
        case "failed":
            return problem("systemd", found, f"journalctl -u {UNIT}, then: systemctl restart {UNIT}")
        case _:
            return warning("systemd", found, f"systemctl start {UNIT}")


def _start(state: Mapping[str, str]) -> Iterator[Finding]:
    if state.get("UnitFileState") == "disabled":
        yield warning("systemd", "the service does not come back after a reboot", f"systemctl enable {UNIT}")

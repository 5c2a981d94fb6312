"""Which process this is, in words that another process of the same machine can check: has it died?

Refuses to guess: what cannot be seen from here counts as alive.
"""

import itertools
import os
import socket
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

_NUMBERS: Final = itertools.count(1)  # several of one process are told apart
STATE: Final = 0  # fields of /proc/PID/stat after the command's closing bracket
STARTED: Final = 19


def own_id() -> str:
    """`machine.pid.started.number`; the machine is a digest of what is unique to this boot and container."""
    return f"{_machine() or '-'}.{os.getpid()}.{_started(os.getpid()) or '-'}.{next(_NUMBERS)}"


def is_dead(process_id: str) -> bool:
    """Whether the process of an `own_id` is known to have died: it was on this very machine and is not there now."""
    machine, pid, started, *_ = (*process_id.split("."), "", "", "")
    if machine != _machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    fields = _stat(int(pid))
    return bool(fields) and (fields[STATE] == "Z" or (started.isdecimal() and fields[STARTED] != started))


def _machine() -> str | None:
    """A digest of machine, boot and process namespace; None where there is nothing to tell it by."""
    facts = [_text(Path(path)) for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")]
    if not any(facts):
        return None
    with suppress(OSError):
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
        return sha256("\n".join([socket.gethostname(), *facts]).encode()).hexdigest()[:12]
    return None


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot."""
    fields = _stat(pid)
    return fields[STARTED] if fields else None


def _stat(pid: int) -> list[str]:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields if len(fields) > STARTED else []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

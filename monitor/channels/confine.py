"""What binds a process of this room to its parent, and keeps it from taking what the daemon needs."""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
KILL_FIRST: Final = "1000"  # of -1000 to 1000: before the daemon, when memory runs out


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def discard(descriptor: int) -> None:
    """Send what is written to a descriptor nowhere; what is read from it is at its end."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def limit_memory(room: int) -> None:
    """Let this process take no more than `room` bytes on top of what it has, and be the first to go.

    Nothing depends on it but the memory of a process that misbehaves, so a container that refuses it does no harm.
    """
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
        limit = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILL_FIRST)

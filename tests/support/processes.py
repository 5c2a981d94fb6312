"""Processes as /proc shows them: the template that channels are sent from, its children, and what they hold."""

import os
from collections.abc import Iterator
from pathlib import Path


def forked(parent: int) -> list[int]:
    """The children of a process that run."""
    listed = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            listed.append(task.read_text())
        except OSError:  # it has ended
            continue
    return [int(pid) for pid in " ".join(listed).split() if alive(int(pid))]


def family(process: int) -> Iterator[int]:
    """A process and all that it, or one of those, has started."""
    yield process
    for child in forked(process):
        yield from family(child)


def templates(parent: int | None = None) -> list[int]:
    return [pid for pid in forked(parent or os.getpid()) if b"monitor.channels.template" in command(pid)]


def children(parent: int | None = None) -> list[int]:
    return [pid for template in templates(parent) for pid in forked(template)]


def command(pid: int) -> bytes:
    """What a process was started with; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False

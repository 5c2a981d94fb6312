"""A small file system and a small memory, as far as this machine gives them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.proofs.faults.world import World

SMALL_MIB, LARGE_MIB = 12, 60  # the latter for thousands of organizations
GROUPS = (  # where a memory group can be made, and the file that limits it: version 2, and 1
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
)


@contextmanager
def mounted(folder: Path, *, large: bool = False) -> Iterator[Path]:
    """A directory of 0700, on a tmpfs of a few MiB when that can be mounted, else on what is there."""
    folder.mkdir(mode=0o700)
    size = f"size={LARGE_MIB if large else SMALL_MIB}m,mode=0700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], capture_output=True, check=False)
    try:
        yield folder
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=False)


@contextmanager
def limited(world: World) -> Iterator[None]:
    """The limits that a world's options ask for, in place before the daemon begins."""
    if world.options.memory_mib is None:
        yield
        return
    group = _memory_group(world.options.memory_mib)
    world.memory_group, world.limited_by = group, "by a control group" if group else "by RLIMIT_DATA, for each process"
    try:
        yield
    finally:
        if group:
            with suppress(OSError):
                group.rmdir()


def _memory_group(mebibytes: int) -> Path | None:
    """A control group for the daemon and its children together; None where none can be made (that takes root)."""
    for place, limit in GROUPS:
        group = place / f"credit-monitor-faults-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(mebibytes * 2**20))
        except OSError:
            group.rmdir()
            continue
        return group
    return None

"""Look at the machine: room on the disk, time zones, compiled code."""

import os
import shutil
import sys
import zoneinfo
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import monitor
from monitor.config import Settings
from monitor.doctor.findings import Finding, ok, problem, warning
from monitor.store import engines

MIB: Final = 1024 * 1024
LITTLE: Final = 512 * MIB
TOO_LITTLE: Final = 64 * MIB


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on the free space for a SQLite database; that of a PostgreSQL server cannot be seen from here."""
    path = engines.sqlite_file(settings.database.url)
    if path is None:
        yield ok("disk", "the database is on a PostgreSQL server; its disk is not looked at from here")
        return
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    state = f"{free // MIB:,} MiB are free at {folder}"
    todo = "make room, or move the database (database.url) to a larger disk"
    if free < TOO_LITTLE:
        yield problem("disk", state, todo)
    else:
        yield warning("disk", state, todo) if free < LITTLE else ok("disk", state)


def look_at_time_zones(settings: Settings | None) -> Iterator[Finding]:
    """Yield a finding on the data of time zones, and on the zone in which messages are written."""
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        yield problem("time zones", "there are no data of time zones", "install tzdata: apt install tzdata")
        return
    zones = dict.fromkeys(("UTC", settings.timezone.key if settings else "UTC"))
    yield ok("time zones", f"data are here; messages give times in {' and in '.join(zones)}")


def look_at_bytecode() -> Iterator[Finding]:
    """Yield a finding on whether every start compiles the package, which takes four seconds."""
    package = Path(monitor.__file__).parent
    compiled = Path(cache_from_source(monitor.__file__))
    if compiled.is_file() or (os.access(package, os.W_OK) and not sys.dont_write_bytecode):
        yield ok("bytecode", "the package is compiled")
    else:
        state = f"{package} is not compiled and may not be written: every start takes seconds longer"
        yield warning("bytecode", state, f"{sys.executable} -m compileall -q {package.parent}")

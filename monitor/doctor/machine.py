"""What the machine owes every Python program: time zones, and compiled code."""

import os
import sys
import zoneinfo
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import monitor
from monitor.config import Settings
from monitor.doctor.findings import Finding, ok, problem, warning


def look_at_time_zones(settings: Settings | None) -> Iterator[Finding]:
    """Whether the zones of the world are here, and in which one messages are written."""
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        yield problem("time zones", "there are no data of time zones", "install tzdata: apt install tzdata")
        return
    used = dict.fromkeys(("UTC", settings.timezone.key if settings else "UTC"))
    yield ok("time zones", f"data are here; messages give times in {' and in '.join(used)}")


def look_at_bytecode() -> Iterator[Finding]:
    """Whether the next start has to compile the package anew, which takes four seconds."""
    package = Path(monitor.__file__).parent
    compiled = Path(cache_from_source(monitor.__file__))
    if compiled.is_file() or (os.access(package, os.W_OK) and not sys.dont_write_bytecode):
        yield ok("bytecode", "the package is compiled")
    else:
        found = f"{package} is not compiled and may not be written: every start takes seconds longer"
        yield warning("bytecode", found, f"{sys.executable} -m compileall -q {package.parent}")

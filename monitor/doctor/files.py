"""Who may look at a SQLite database, whose it is, and how much room there is left for it."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor.config import Settings
from monitor.doctor.findings import Finding, apart, ok, problem, warning
from monitor.doctor.findings import look as looking
from monitor.store import engines, integrity

MIB: Final = 1024 * 1024
LITTLE: Final = 512 * MIB
TOO_LITTLE: Final = 64 * MIB


async def look(settings: Settings) -> list[Finding]:
    """Permissions, owner and free space; of a PostgreSQL nothing can be said from here."""
    path = engines.sqlite_file(settings.database.url)
    if path is None:
        return [ok("disk", "the database is on a PostgreSQL server; its disk is not looked at from here")]
    url = settings.database.url
    found = await looking("database files", apart(lambda: list(_files(url, path))))
    return [*found, *await looking("disk", apart(lambda: [_disk(path)]))]


def _files(url: str, path: Path) -> Iterator[Finding]:
    what = "database files"
    found = 0
    for lax in integrity.lax_modes(url):
        state, _, mend = lax.partition("; ")
        found += 1
        yield warning(what, state, mend)
    if not path.exists():
        return
    if odd := _ownership(path):
        found += 1
        yield odd
    if not found:
        yield ok(what, f"{path}: the database's files are for their owner alone")


def _ownership(path: Path) -> Finding | None:
    owner, mine = path.stat().st_uid, os.geteuid()
    if mine not in {0, owner}:
        found = f"{path} belongs to {_name(owner)}, and you are {_name(mine)}"
        return warning("database files", found, f"run credit-monitor as {_name(owner)}, or as root")
    if (other := path.parent.stat().st_uid) not in {0, owner}:
        found = f"{path} belongs to {_name(owner)}, its directory to {_name(other)}"
        return warning("database files", found, f"chown {_name(other)} {path}")
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _disk(path: Path) -> Finding:
    place = next(one for one in path.absolute().parents if one.is_dir())
    free = shutil.disk_usage(place).free
    found = f"{free // MIB:,} MiB are free at {place}"
    todo = "make room, or move the database (database.url) to a larger disk"
    if free < TOO_LITTLE:
        return problem("disk", found, todo)
    return warning("disk", found, todo) if free < LITTLE else ok("disk", found)

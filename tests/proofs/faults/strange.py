"""Databases that are another program's, lack something or have settings of their own; and nobody who polls."""

import re
import shutil

from monitor.model import Reason, Severity
from tests.proofs.faults.fault import Cannot
from tests.proofs.faults.scene import Plot, Scene
from tests.proofs.faults.untold import OPS, check, named
from tests.support import daemon
from tests.support.pooler import pooled

OPENED, CRITICAL = Reason.OPENED, Severity.CRITICAL
ALL = 'organizations = "all"\n'
UNUSABLE = 75
ONLY = ("postgresql",)


async def refused(plot: Plot, url: str, *words: str) -> None:
    """`run` on this database has to end, with these words."""
    config = plot.site.write(named(1) + OPS, (plot.site.url, url), name="other.toml")
    code, out = await plot.site.command("run", config=config)
    missing = [word for word in words if not re.search(word, out)]
    assert (code, missing) == (UNUSABLE, []), out


async def another_programs(plot: Plot) -> None:
    """It has an `alembic_version`, and one of our numbers in it: whose it seems to be is said."""
    url = f"sqlite:///{plot.site.folder / 'shop.db'}" if plot.server is None else plot.server.new()
    if plot.server is None:
        (plot.site.folder / "shop.db").touch(mode=0o600)
    plot.run(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('0002')",
        "CREATE TABLE orders (id INTEGER)",
        url=url,
    )
    await refused(plot, url, "belongs to another program, it seems", "its tables are orders", "choose another")


async def table_gone(plot: Plot) -> None:
    """The table is named, and an upgrade is not the advice; what was fetched is judged when it is back."""
    site = plot.site
    site.write(named(1) + OPS)
    async with site.running():
        await site.polled(2)
        plot.run("ALTER TABLE silences RENAME TO aside")
        site.set_credits(100)
        await site.until(lambda: "its table silences has gone" in site.log)
        plot.run("ALTER TABLE aside RENAME TO silences")
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")


async def settings_of_the_role(plot: Plot) -> None:
    """Dates and texts in another form than we read: every balance is recorded, every fall told."""
    assert plot.server is not None
    name = plot.site.url.partition("?")[0].rpartition("/")[2]
    for setting in ("datestyle = 'SQL, DMY'", "client_encoding = 'LATIN1'", "timezone = 'Asia/Tokyo'"):
        plot.server.execute(f"ALTER DATABASE {name} SET {setting}")
    await _titles(plot)


async def another_encoding(plot: Plot) -> None:
    """A database that cannot hold the titles, and has our schema: it runs on, loudly."""
    assert plot.server is not None
    plot.site.url = plot.server.new_encoded("LATIN1")
    await _titles(plot)
    assert "its encoding is LATIN1" in plot.site.log


async def _titles(plot: Plot) -> None:
    site = plot.site
    site.vendor.organizations["org-1"].name = "Müller Kyōto"
    site.write(ALL + OPS)
    async with site.running():
        await site.polled(4)
        site.set_credits(5, "org-1")
        await plot.told("org-1", OPENED, CRITICAL, 5, "ops")


async def no_schema(plot: Plot) -> None:
    """The schema that the connection is to use is not there: it is named as that."""
    await refused(plot, f"{plot.site.url}&options=-csearch_path%3Dnowhere", "schema", "nowhere|search_path")


async def shared_sessions(plot: Plot) -> None:
    """A pooler that gives every transaction another session is refused, with the remedy."""
    assert plot.server is not None
    if shutil.which("pgbouncer") is None and shutil.which("pgbouncer", path="/usr/sbin") is None:
        raise Cannot("pgbouncer is not installed")
    name = plot.site.url.partition("?")[0].rpartition("/")[2]
    with pooled(plot.server, name, mode="transaction") as url:
        await refused(plot, url, "session")


async def nobody_polls(plot: Plot) -> None:
    """A daemon that is dead is the first line of `status` and `doctor`, and `check` says so."""
    site = plot.site
    config = site.write(named(1) + OPS)
    async with site.running() as process:
        await site.polled(3)
        await daemon.kill(process)
    line = r"no daemon: nothing has polled for \d+ s"

    async def is_said() -> bool:
        return bool(re.search(f"^{line}", (await site.command("status", config=config))[1], re.MULTILINE))

    await site.until(is_said)
    code, out = await site.command("doctor", config=config)
    assert code == 2, out
    assert re.search(rf"^problem  daemon: {line}", out, re.MULTILINE), out
    site.set_credits(100)
    await check(plot, 2, config=config)
    plot.demand("farm-1", OPENED, CRITICAL, 100, "ops")
    await plot.all_told()


def _scene(name: str, play: object, **options: object) -> Scene:
    return Scene(f"database: {name}", play, **options)  # type: ignore[arg-type]


SCENES = [
    _scene("another program's", another_programs),
    _scene("a table has gone", table_gone, cause="its table silences has gone"),
    _scene("settings of a role", settings_of_the_role, databases=ONLY),
    _scene("another encoding", another_encoding, cause="its encoding is LATIN1", databases=ONLY),
    _scene("no such schema", no_schema, databases=ONLY),
    _scene("a pooler that shares sessions", shared_sessions, databases=ONLY),
    _scene("nobody polls", nobody_polls, quick=True),
]

"""The same where accounts, organizations or rights change, and where two daemons or an administrator have a say."""

import asyncio
import os
import signal
import sqlite3
from asyncio.subprocess import Process
from contextlib import closing

from tests.proofs.faults.refusals import refusing
from tests.proofs.faults.scene import Plot
from tests.proofs.faults.untold import CRITICAL, OPENED, OPS, RESOLVED, check, named, scene
from tests.support import daemon
from tests.support.premises import KEY
from tests.support.story import key_of

# --- accounts and organizations that change ---------------------------------------------------------------------------

LAB = key_of("lab")


def account(plot: Plot, name: str, more: str = "") -> str:
    return f'[accounts.{name}]\nbase_url = "{plot.site.vendor.url}"\nrate_limit = "off"\n{more}'


async def another_default(plot: Plot) -> None:
    """An organization without `id` whose key gets another default: no "no access" of the old one."""
    site, plot.names_change = plot.site, True
    site.write("[organizations.farm]\n" + OPS)
    async with site.running():
        await site.polled(2)
        site.set_credits(100, "org-1")
        await plot.told("org-1", OPENED, CRITICAL, 100, "ops")
    site.vendor.keys[KEY] = ["org-2"]  # which is not allowed to see the old one any more
    async with site.running(log="log-2"):
        await plot.told("org-1", RESOLVED, CRITICAL, 100, "ops")
        await site.polled(4)
        site.set_credits(100, "org-2")
        await plot.told("farm", OPENED, CRITICAL, 100, "ops")


async def another_account(plot: Plot) -> None:
    """An organization without `id` that moves to another account: it is asked for with the key that sees it."""
    site, plot.names_change = plot.site, True
    site.environ |= daemon.credentials({"lab": LAB}, {})
    site.vendor.keys = {KEY: ["org-1"], LAB: ["org-2"]}
    more = account(plot, "lab")
    site.write(
        more + '[organizations.farm]\naccount = "studio"\n[organizations.other]\naccount = "lab"\nid = "org-2"\n' + OPS
    )
    async with site.running() as process:
        await site.polled(4)
        site.write(more + '[organizations.farm]\naccount = "lab"\n' + OPS)
        await site.reload(process)
        await site.polled(4)
        site.set_credits(100, "org-2")
        await plot.told("farm", OPENED, CRITICAL, 100, "ops")


async def last_organization(plot: Plot) -> None:
    """An account loses its last organization while its key is rejected: what stands of it ends."""
    site = plot.site
    site.environ |= daemon.credentials({"lab": LAB}, {})
    more = account(plot, "lab")
    site.write(more + named(1, 'account = "studio"\n') + '[organizations.other]\naccount = "lab"\nid = "org-2"\n' + OPS)
    async with site.running() as process:
        await plot.told("account", OPENED, CRITICAL, 0, "ops")
        config = site.write(more + named(1, 'account = "studio"\n') + OPS)
        await site.reload(process)
        await plot.told("account", RESOLVED, CRITICAL, 0, "ops")
        await check(plot, 0, config=config)


async def account_renamed(plot: Plot) -> None:
    """What stands of its organizations stands on: nothing is closed, nothing said again."""
    site = plot.site
    key = site.folder / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    del site.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"]  # which would be an account, too
    config = site.write(f'api_key_file = "{key}"\norganizations = "all"\n{OPS}')
    async with site.running() as process:
        site.set_credits(100, "org-1")
        await plot.told("org-1", OPENED, CRITICAL, 100, "ops")
        config.write_text(config.read_text().replace("[accounts.studio]", "[accounts.atelier]"))
        await site.reload(process)
        await site.polled(6)
        site.set_credits(5000)
        await plot.told("org-1", RESOLVED, CRITICAL, 5000, "ops")


# --- two daemons, pipes, an administrator's word ----------------------------------------------------------------------


async def _stop_between_writes(plot: Plot, process: Process) -> None:
    """Stop a daemon that holds no lock of SQLite's, which nobody could take from it."""

    async def is_stopped() -> bool:
        process.send_signal(signal.SIGSTOP)
        with closing(sqlite3.connect(plot.file, isolation_level=None, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                return False
        return True

    await plot.site.until(is_stopped)


async def two_daemons(plot: Plot) -> None:
    """On SQLite the lock file is removed before the second starts: every message once."""
    site = plot.site
    site.write(named(1) + OPS)
    async with site.running() as first:
        await site.polled(2)
        if plot.is_sqlite:
            await _stop_between_writes(plot, first)
            os.unlink(f"{plot.file}.lock")  # noqa: PTH108 -- no more than a path
        second = await daemon.launch(site.folder, site.environ, log=site.folder / "log-2")
        try:
            said = "watching " if plot.is_sqlite else "standing by"
            await site.until(lambda: said in (site.folder / "log-2").read_text())
            first.send_signal(signal.SIGCONT)
            site.set_credits(100)
            await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")
            if plot.is_sqlite:
                assert await asyncio.wait_for(first.wait(), 90) == 75
            else:
                await daemon.kill(first)
            await site.until(lambda: "watching " in (site.folder / "log-2").read_text())
            site.set_credits(5000)
            await plot.told("farm-1", RESOLVED, CRITICAL, 5000, "ops")
        finally:
            await daemon.kill(second)


async def pipe(plot: Plot) -> None:
    """The configuration is a FIFO at one SIGHUP: it is said, and the next one is answered."""
    site = plot.site
    config = site.write(named(1) + OPS)
    text = config.read_text()
    async with site.running() as process:
        config.unlink()
        os.mkfifo(config)
        process.send_signal(signal.SIGHUP)
        await site.until(lambda: "cannot be read: it is no regular file" in site.log)
        config.unlink()
        config.write_text(text.replace("critical = 200", "critical = 300"))
        await site.reload(process)
        site.set_credits(250)
        await plot.told("farm-1", OPENED, CRITICAL, 250, "ops")


async def read_only(plot: Plot) -> None:
    """An administrator's read-only is respected and told; what was fetched meanwhile is judged afterwards."""
    assert plot.server is not None
    site, name = plot.site, plot.site.url.partition("?")[0].rpartition("/")[2]
    cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
    site.write(named(1) + OPS)
    async with site.running():
        await site.polled(2)
        for setting in ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"):
            plot.server.execute(f"ALTER DATABASE {name} {setting}")
            plot.server.execute(cut)
            if setting.startswith("SET"):
                site.set_credits(100)
                await site.until(lambda: "default_transaction_read_only" in site.log)
                await site.polled(3)
                assert not site.received["ops"]
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")


async def ungranted(plot: Plot) -> None:
    """A right on one table is missing: it is named, and what could not be kept is told when it can be."""
    site = plot.site
    site.write(named(1) + OPS)
    begin, end = refusing(site.url, "notifications")
    async with site.running():
        await site.polled(2)
        plot.run(*begin)
        site.set_credits(100)
        await site.until(lambda: "permission denied for table notifications" in site.log)
        plot.run(*end)
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")


SCENES = [
    scene("the key gets another default organization", another_default, cause="not its default", organizations=2),
    scene("an organization moves to another account", another_account, organizations=2),
    scene("an account loses its last organization", last_organization, organizations=2),
    scene("an account is renamed", account_renamed, organizations=2),
    scene("a second daemon", two_daemons),
    scene("the configuration is a pipe", pipe, cause="no regular file"),
    scene("an administrator's read-only", read_only, cause="default_transaction_read_only", databases=("postgresql",)),
    scene("a right is missing", ungranted, cause="permission denied for table notifications"),
]

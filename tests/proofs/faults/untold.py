"""States in which somebody was not told, or what is not true: on the real programs, with counts of what is told."""

import asyncio
import os
import signal
import sqlite3
from asyncio.subprocess import Process
from contextlib import closing

from monitor.model import Reason, Severity
from monitor.sandbox import Behaviour, Fault
from tests.proofs.faults.refusals import refusing
from tests.proofs.faults.scene import Plot, Scene
from tests.support import daemon
from tests.support.premises import KEY, channel
from tests.support.story import key_of

OPENED, ESCALATED, RESOLVED = Reason.OPENED, Reason.ESCALATED, Reason.RESOLVED
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
HOURLY = ('every = "1s"', 'every = "1h"')
NO_LIMIT, SLOW = 'rate_limit = "off"', 'rate_limit = "1/1s"'
SOON = ("[rules]", '[rules]\nstale_after = "8s"')
OPS = channel("ops")


def named(count: int, more: str = "") -> str:
    return "".join(f'[organizations.farm-{number}]\nid = "org-{number}"\n{more}' for number in range(1, count + 1))


# --- two programs on one database -------------------------------------------------------------------------------------


def key_alone(plot: Plot) -> dict[str, str]:
    """What a `check` is given that has nothing but the key: the working configuration without a file."""
    site, left_out = plot.site, "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"
    return {name: value for name, value in site.environ.items() if name != left_out} | {
        "STABILITY_API_KEY": KEY,
        "CREDIT_MONITOR_ACCOUNTS__DEFAULT__BASE_URL": site.vendor.url,
        "CREDIT_MONITOR_DATABASE__URL": site.url,
    }


async def check(plot: Plot, code: int, **options: object) -> None:
    """Run `check`, which has to end with this code."""
    ended, out = await plot.site.command("check", **options)  # type: ignore[arg-type]
    assert ended == code, out


async def checks_beside(plot: Plot) -> None:
    """`check` with a key alone, and with a file that was edited, sees everything first; the daemon alone tells."""
    site = plot.site
    site.write(named(2) + OPS, HOURLY)
    async with site.running():
        await site.until(lambda: len(site.vendor.requests) >= 2)
        site.set_credits(100, "org-1")
        await check(plot, 2, environ=key_alone(plot))
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")
        lower = site.write(named(2) + OPS, HOURLY, ("critical = 200", "critical = 20"), name="other.toml")
        site.set_credits(99, "org-1")
        await check(plot, 1, config=lower)
        await check(plot, 2, environ=key_alone(plot))
        site.set_credits(5000)
        await check(plot, 0, environ=key_alone(plot))
        await plot.told("farm-1", RESOLVED, CRITICAL, 5000, "ops")


async def checks_alone(plot: Plot) -> None:
    """Between two daemons a `check` with another channel tells that, and leaves alone what waits for the daemon's."""
    site = plot.site
    site.write(named(1) + OPS, HOURLY)
    site.receivers["ops"].behaviour = Behaviour.REFUSE
    async with site.running() as process:
        await site.until(lambda: site.vendor.requests)
        site.set_credits(100)
        await check(plot, 2, environ=key_alone(plot))
        await site.until(lambda: site.receivers["ops"].attempts)
        await daemon.kill(process)
    plot.demand("farm-1", OPENED, CRITICAL, 100, "ops")
    other = site.write(named(1) + channel("boss"), HOURLY, name="other.toml")
    plot.demand("farm-1", OPENED, CRITICAL, 100, "boss")
    await check(plot, 2, config=other)
    await check(plot, 2, config=other)
    assert len(site.received["boss"]) == 1
    site.receivers["ops"].behaviour = Behaviour.TAKE
    async with site.running(log="log-2"):
        await plot.all_told()


# --- an outcome that cannot be written, ids ---------------------------------------------------------------------------


async def unwritten(plot: Plot) -> None:
    """The channel goes on, what is known to be sent is not sent again, and it is said."""
    site = plot.site
    site.write(named(2) + OPS)
    begin, end = refusing(site.url, "attempts")
    async with site.running() as process:
        await site.polled(2)
        plot.run(*begin)
        for number in (1, 2):
            site.set_credits(100, f"org-{number}")
            await plot.told(f"farm-{number}", OPENED, CRITICAL, 100, "ops", marked=False)
        plot.run(*end)
        await site.until(lambda: "what became of its messages is written" in site.log)
        assert await daemon.stop(process) == 0
    async with site.running(log="log-2"):
        await site.polled(4)


async def deleted(plot: Plot) -> None:
    """A delivery under way is deleted by hand: nobody waits for it, and its id says nothing of the next one."""
    site = plot.site
    site.write(named(2) + OPS)
    site.receivers["ops"].behaviour = Behaviour.TAKE_SLOWLY
    async with site.running():
        site.set_credits(100, "org-1")
        await site.until(lambda: site.receivers["ops"].attempts)
        plot.run("DELETE FROM deliveries")
        site.receivers["ops"].behaviour = Behaviour.TAKE
        await site.until(lambda: site.received["ops"])
        plot.deleted.update(*(one.ids for one in plot.arrivals()))
        plot.demand("farm-1", OPENED, CRITICAL, 100)
        site.set_credits(100, "org-2")
        await plot.told("farm-2", OPENED, CRITICAL, 100, "ops")


# --- channels ---------------------------------------------------------------------------------------------------------

DIES = """import sys, os, pathlib
broken = pathlib.Path(__file__).with_name('broken')
import monitor.channels.child_process as parent
parent.PASSED_ON = (*parent.PASSED_ON, 'PYTHONPATH')
if 'monitor.channels.template' in sys.orig_argv and broken.exists():
    os.kill(os.getpid(), 9)
"""


async def child_dies(plot: Plot) -> None:
    """What checks the URLs after a start dies: the daemon goes on, and sends as soon as it can."""
    site = plot.site
    site.customize(DIES)
    (site.folder / "broken").touch()
    site.write(named(1) + OPS)
    async with site.running() as process:
        await site.until(lambda: "could not be checked: the sending process ended early" in site.log)
        site.set_credits(100)
        await site.polled(3)
        assert process.returncode is None
        (site.folder / "broken").unlink()
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")


async def channel_comes_back(plot: Plot) -> None:
    """It was away while it got worse: it hears how bad it is."""
    site = plot.site
    both = named(1) + OPS + channel("boss")
    site.write(both)
    async with site.running() as process:
        site.set_credits(900)
        await plot.told("farm-1", OPENED, WARNING, 900, "ops", "boss")
        site.write(both.replace('id = "org-1"', 'id = "org-1"\nnotify = ["ops"]'))
        await site.reload(process)
        site.set_credits(100)
        await plot.told("farm-1", ESCALATED, CRITICAL, 100, "ops")
        site.write(both)
        await site.reload(process)
        await plot.told("farm-1", OPENED, CRITICAL, 100, "boss")
        await site.reload(process)
        site.set_credits(5000)
        await plot.told("farm-1", RESOLVED, CRITICAL, 5000, "ops", "boss")


async def channel_renamed(plot: Plot) -> None:
    """What waits for it moves with it."""
    site = plot.site
    plot.renamed["ops"] = "on-call"
    site.receivers["ops"].behaviour = Behaviour.REFUSE
    site.write(named(1) + OPS)
    async with site.running() as process:
        site.set_credits(100)
        await site.until(lambda: site.receivers["ops"].attempts)
        site.receivers["ops"].behaviour = Behaviour.TAKE
        site.write(named(1) + channel("on-call", of="ops"))
        await site.reload(process)
        await plot.told("farm-1", OPENED, CRITICAL, 100, "on-call")


async def channel_mended(plot: Plot) -> None:
    """A reload with another address: nobody waits for the pause of the old one to end."""
    site = plot.site
    site.receivers["ops"].behaviour = Behaviour.REFUSE
    plot.renamed["boss"] = "ops"
    site.write(named(1) + OPS)
    async with site.running() as process:
        site.set_credits(100)
        await site.until(lambda: site.receivers["ops"].attempts >= 3)  # the next pause has twenty seconds
        site.write(named(1) + channel("ops", of="boss"))
        await site.reload(process)
        plot.demand("farm-1", OPENED, CRITICAL, 100, "ops")
        await site.until(lambda: site.received["boss"], within=15)
        await plot.all_told()


async def backlog(plot: Plot) -> None:
    """Of what waited the critical goes first, however late it came."""
    site = plot.site
    plot.renamed["boss"] = "ops"
    site.write(named(4) + OPS)
    site.receivers["ops"].behaviour = Behaviour.REFUSE
    async with site.running() as process:
        for number in (1, 2, 3, 4):
            attempts = site.receivers["ops"].attempts
            severity, amount = (CRITICAL, 100) if number == 4 else (WARNING, 900)
            site.set_credits(amount, f"org-{number}")
            plot.demand(f"farm-{number}", OPENED, severity, amount, "ops")
            await site.until(lambda attempts=attempts: site.receivers["ops"].attempts > attempts)
        site.write(named(4) + channel("ops", of="boss"))
        await site.reload(process)
        await plot.all_told()
    first = site.received["boss"][0]
    assert "farm-4" in first.title, first.title


# --- polls that take long, time in which nothing ran, clocks ----------------------------------------------------------


async def cut_off(plot: Plot) -> None:
    """Each reload comes long before a poll could be complete: all are told."""
    site = plot.site
    site.set_credits(100)
    site.write(named(20) + OPS, (NO_LIMIT, SLOW))
    for number in range(1, 21):
        plot.demand(f"farm-{number}", OPENED, CRITICAL, 100, "ops")
    async with site.running() as process:
        for _ in range(30):
            await site.polled(1)
            await site.reload(process)
        await plot.all_told()


async def does_not_fit(plot: Plot) -> None:
    """Who is not asked within `stale_after` is told as stale; how many is the machine's affair."""
    site, plot.knows_all = plot.site, False
    site.write(named(30) + OPS, (NO_LIMIT, SLOW), ("[rules]", '[rules]\nstale_after = "6s"'))
    async with site.running() as process:
        await site.until(lambda: "has not been asked for" in site.words())
        await site.until(lambda: "is known again" in site.words())
        assert await daemon.stop(process) == 0
    site.write(named(30) + OPS)  # and what is under way arrives
    async with site.running(log="log-2"):
        await site.until(lambda: site.words().count("is known again") and plot.nothing_waits())


async def suspended(plot: Plot) -> None:
    """Stopped with a check under way for longer than `stale_after`: that counts for nobody."""
    site = plot.site
    site.customize("import monitor.daemon.leadership as leadership\nleadership.DELIVERY_LIMIT = 5.0\n")
    site.write(named(3) + OPS, SOON)
    async with site.running() as process:
        await site.polled(3)
        site.vendor.fault = Fault.HANG
        await site.polled(3)
        process.send_signal(signal.SIGSTOP)
        site.vendor.fault = None
        await asyncio.sleep(20)
        process.send_signal(signal.SIGCONT)
        await site.polled(12)
        site.set_credits(100, "org-1")
        await plot.told("farm-1", OPENED, CRITICAL, 100, "ops")
    assert "loop hangs" not in site.log


BEHIND = """import datetime, pathlib
import monitor.daemon.process as process
ahead, behind = process.wall_clock, pathlib.Path(__file__).with_name('behind')
process.wall_clock = lambda: ahead() - datetime.timedelta(hours=behind.exists())
"""


async def clock_set_right(plot: Plot) -> None:
    """An hour back as the vendor goes down: whoever gives no balance is told in time."""
    site, plot.knows_all = plot.site, False  # one by one or as an outage: the machine decides
    site.customize(BEHIND)
    site.write(named(2) + OPS, SOON)
    async with site.running():
        await site.polled(4)
        site.vendor.fault = Fault.SERVER_ERROR
        (site.folder / "behind").touch()
        await site.until(lambda: site.received["ops"], within=60)
        site.vendor.fault = None
        await site.until(lambda: "again" in site.titles()[-1] and plot.nothing_waits())


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


def _scene(name: str, play: object, **options: object) -> Scene:
    return Scene(f"untold: {name}", play, **options)  # type: ignore[arg-type]


SCENES = [
    _scene("`check` with other settings beside the daemon", checks_beside, organizations=2, quick=True),
    _scene("`check` with another channel between two daemons", checks_alone, channels=("ops", "boss")),
    _scene("no outcome can be written, and a restart", unwritten, cause="that cannot be written", organizations=2),
    _scene("a delivery is deleted while it is sent", deleted, organizations=2),
    _scene("the child that checks URLs dies", child_dies, cause="could not be checked"),
    _scene("a channel leaves, and comes back", channel_comes_back, channels=("ops", "boss"), quick=True),
    _scene("a channel is renamed", channel_renamed),
    _scene("a channel is mended", channel_mended, channels=("ops", "boss")),
    _scene("critical goes before warning in a backlog", backlog, organizations=4, channels=("ops", "boss")),
    _scene("reloads cut every poll off", cut_off, organizations=20),
    _scene("a poll does not fit its interval", does_not_fit, cause="would fit", organizations=30),
    _scene("the key gets another default organization", another_default, cause="not its default", organizations=2),
    _scene("an organization moves to another account", another_account, organizations=2),
    _scene("an account loses its last organization", last_organization, organizations=2),
    _scene("suspend with a check under way", suspended, organizations=3),
    _scene("an account is renamed", account_renamed, organizations=2),
    _scene("a second daemon", two_daemons),
    _scene("the configuration is a pipe", pipe, cause="no regular file"),
    _scene("the clock is set right as the vendor goes down", clock_set_right, organizations=2),
    _scene("an administrator's read-only", read_only, cause="default_transaction_read_only", databases=("postgresql",)),
    _scene("a right is missing", ungranted, cause="permission denied for table notifications"),
]

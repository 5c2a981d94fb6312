"""States in which somebody was not told, or what is not true: on the real programs, with counts of what is told."""

import asyncio
import signal

from monitor.model import Reason, Severity
from monitor.sandbox import Behaviour, Fault
from tests.proofs.faults.refusals import refusing
from tests.proofs.faults.scene import Plot, Scene
from tests.support import daemon
from tests.support.premises import KEY, channel

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


def scene(name: str, play: object, **options: object) -> Scene:
    return Scene(f"untold: {name}", play, **options)  # type: ignore[arg-type]


SCENES = [
    scene("`check` with other settings beside the daemon", checks_beside, organizations=2, quick=True),
    scene("`check` with another channel between two daemons", checks_alone, channels=("ops", "boss")),
    scene("no outcome can be written, and a restart", unwritten, cause="that cannot be written", organizations=2),
    scene("a delivery is deleted while it is sent", deleted, organizations=2),
    scene("the child that checks URLs dies", child_dies, cause="could not be checked"),
    scene("a channel leaves, and comes back", channel_comes_back, channels=("ops", "boss"), quick=True),
    scene("a channel is renamed", channel_renamed),
    scene("a channel is mended", channel_mended, channels=("ops", "boss")),
    scene("critical goes before warning in a backlog", backlog, organizations=4, channels=("ops", "boss")),
    scene("reloads cut every poll off", cut_off, organizations=20),
    scene("a poll does not fit its interval", does_not_fit, cause="would fit", organizations=30),
    scene("suspend with a check under way", suspended, organizations=3),
    scene("the clock is set right as the vendor goes down", clock_set_right, organizations=2),
]

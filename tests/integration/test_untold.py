"""States in which somebody might not be told, or be told what is not true: each on the real process."""

import asyncio
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from premises import KEY, channel, site_of

from monitor.sandbox import Behaviour, Fault
from tests.support import daemon

ALL = 'organizations = "all"\n'


def named(count: int) -> str:
    return "".join(f'[organizations.farm-{number}]\nid = "org-{number}"\n' for number in range(1, count + 1))


# --- polls that take longer than they may -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["listed", "all"])
async def test_polls_that_reloads_cut_off_go_on_where_the_last_one_ended(tmp_path, database_url, kind):
    async with site_of(tmp_path, database_url, organizations=20) as site:
        site.set_credits(100)
        more = (ALL if kind == "all" else named(20)) + channel("ops")
        site.write(more, ('rate_limit = "off"', 'rate_limit = "1/1s"'))
        names = [f"org-{number}" if kind == "all" else f"farm-{number}" for number in range(1, 21)]
        async with site.running() as process:
            for _ in range(15):  # each comes long before a poll could be complete
                await site.polled(1)
                await site.reload(process)
                if all(re.search(rf"\b{name}\b", site.words()) for name in names):
                    return
        pytest.fail(f"some were never told: {site.words()}")


async def test_a_poll_that_does_not_fit_is_said_once_and_age_alone_is_told(tmp_path, database_url):
    async with site_of(tmp_path, database_url, organizations=30) as site:
        slow = ('rate_limit = "off"', 'rate_limit = "1/1s"')
        site.write(named(30) + channel("ops"), slow, ("[rules]", '[rules]\nstale_after = "6s"'))
        async with site.running() as process:
            await site.until(lambda: "has not been asked for" in site.words())
            assert "farm-1 " not in site.titles()[0]
            await site.reload(process)
            await site.until(lambda: "no balance of farm-30" in site.words() or "farm-30" in site.words())
            await site.until(lambda: "is known again" in site.words())
        assert site.log.count("takes longer than poll.every (1s)") == 1
        assert "would fit" in site.log


# --- time in which nothing ran, and clocks that are set ---------------------------------------------------------------

HURRIED = "import monitor.daemon.leadership as leadership\nleadership.DELIVERY_LIMIT = 5.0\n"


async def test_a_stop_of_the_process_with_a_check_under_way_makes_nothing_stale_and_nothing_hang(
    tmp_path, database_url
):
    async with site_of(tmp_path, database_url, organizations=3) as site:
        site.customize(HURRIED)
        site.write(named(3) + channel("ops"), ("[rules]", '[rules]\nstale_after = "8s"'))
        async with site.running() as process:
            await site.polled(3)
            site.vendor.fault = Fault.HANG
            await site.polled(3)
            process.send_signal(signal.SIGSTOP)
            site.vendor.fault = None
            await asyncio.sleep(20)  # the state itself: so long nothing ran
            process.send_signal(signal.SIGCONT)
            await site.polled(12)
            site.set_credits(100, "org-1")
            await site.until(lambda: site.received["ops"])
        assert ["CRITICAL" in title for title in site.titles()] == [True]
        assert not [word for word in ("stale", "outage", "CRITICAL", "cannot be used") if word in site.log]


async def test_a_clock_that_is_set_right_delays_no_stale(tmp_path, database_url):
    async with site_of(tmp_path, database_url, organizations=2) as site:
        site.customize(
            "import datetime, pathlib\n"
            "import monitor.daemon.process as process\n"
            "ahead, behind = process.wall_clock, pathlib.Path(__file__).with_name('behind')\n"
            "process.wall_clock = lambda: ahead() - datetime.timedelta(hours=behind.exists())\n"
        )
        site.write(named(2) + channel("ops"), ("[rules]", '[rules]\nstale_after = "8s"'))
        async with site.running():
            await site.polled(4)
            site.vendor.fault = Fault.SERVER_ERROR
            (tmp_path / "behind").touch()
            await site.until(lambda: site.received["ops"])
            assert "no balance" in site.titles()[0].lower() or "outage" in site.log


# --- `check` and the daemon on one database ---------------------------------------------------------------------------


def key_alone(site):
    """The environment of a `check` that is given nothing but the key: the working configuration without a file."""
    left_out = "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"
    return {name: value for name, value in site.environ.items() if name != left_out} | {
        "STABILITY_API_KEY": KEY,
        "CREDIT_MONITOR_ACCOUNTS__DEFAULT__BASE_URL": site.vendor.url,
        "CREDIT_MONITOR_DATABASE__URL": site.url,
    }


HOURLY = ('every = "1s"', 'every = "1h"')


async def test_a_check_with_other_settings_leaves_the_telling_to_the_daemon(tmp_path, database_url):
    async with site_of(tmp_path, database_url, organizations=2) as site:
        site.write(named(2) + channel("ops"), HOURLY)
        async with site.running():
            await site.polled(0)
            await site.until(lambda: len(site.vendor.requests) >= 2)
            site.set_credits(100, "org-1")
            code, out = await site.command("check", environ=key_alone(site))
            assert code == 2, out
            await site.until(lambda: "farm-1" in site.words())
            lower = site.write(
                named(2) + channel("ops"), HOURLY, ("critical = 200", "critical = 20"), name="other.toml"
            )
            site.set_credits(99, "org-1")
            assert (await site.command("check", config=lower))[0] == 1
            site.set_credits(98, "org-1")
            assert (await site.command("check", environ=key_alone(site)))[0] == 2
            site.set_credits(5000)
            assert (await site.command("check", environ=key_alone(site)))[0] == 0
            await site.until(lambda: len(site.received["ops"]) == 2)
        titles = site.titles()
        assert "CRITICAL" in titles[0]
        assert "farm-1" in titles[1]
        assert (await site.command("organizations", "--format", "csv", config=tmp_path / "config.toml"))[1].count(
            "farm"
        )


async def test_a_check_beside_the_daemon_gives_up_none_of_its_messages(tmp_path, database_url):
    async with site_of(tmp_path, database_url) as site:
        site.receivers["ops"].behaviour = Behaviour.HANG
        site.write(named(1) + channel("ops"), HOURLY)
        async with site.running() as process:
            await site.until(lambda: site.vendor.requests)
            site.set_credits(100)
            assert (await site.command("check", environ=key_alone(site)))[0] == 2
            await site.until(lambda: site.receivers["ops"].attempts)
            assert (await site.command("check", environ=key_alone(site)))[0] == 2
            await daemon.kill(process)
        # Without a daemon: what waits for others is left alone.
        site.set_credits(5000)
        code, out = await site.command("check", environ=key_alone(site))
        assert code == 0, out
        site.receivers["ops"].behaviour = Behaviour.TAKE
        async with site.running(log="second"):
            await site.until(lambda: site.received["ops"])


async def test_a_check_with_other_levels_between_two_daemons_closes_nothing_of_theirs(tmp_path, database_url):
    async with site_of(tmp_path, database_url) as site:
        site.write(named(1) + channel("ops"), HOURLY, ("critical = 200", "critical = 900"))
        site.set_credits(800)
        async with site.running() as process:
            await site.until(lambda: site.received["ops"])
            assert await daemon.stop(process) == 0
        for amount, code in ((800, 2), (700, 2), (5000, 0)):  # by its own levels the first two are a warning
            site.set_credits(amount)
            assert (await site.command("check", environ=key_alone(site)))[0] == code
            if amount < 5000:
                async with site.running(log=f"log-{amount}") as process:
                    await site.until(lambda: site.vendor.requests)
                    assert await daemon.stop(process) == 0
        async with site.running(log="last"):
            await site.until(lambda: len(site.received["ops"]) > 1)
        assert [title.partition(":")[0] for title in site.titles()] == ["CRITICAL", "RESOLVED"]


@pytest.mark.parametrize("how", ["start", "reload"])
async def test_a_key_that_was_replaced_is_not_told_as_rejected_any_more(tmp_path, sqlite_url, how):
    async with site_of(tmp_path, sqlite_url, channels=("ops", "boss")) as site:
        keys, site.vendor.keys = site.vendor.keys, {}
        site.receivers["ops"].behaviour, site.receivers["ops"].refusal = Behaviour.REFUSE, 403  # due at once after that
        site.write(named(1) + channel("ops"), HOURLY)
        async with site.running() as process:
            await site.until(lambda: site.receivers["ops"].attempts)
            site.vendor.keys, site.receivers["ops"].behaviour = keys, Behaviour.TAKE
            if how == "reload":
                site.write(named(1) + channel("ops") + channel("boss"), HOURLY)
                await site.reload(process)
                await site.until(lambda: site.received["boss"] and site.received["ops"])
            else:
                assert await daemon.stop(process) == 0
        if how == "start":
            async with site.running(log="second"):
                await site.until(lambda: site.received["ops"])
        assert {title.partition(":")[0] for name in ("ops", "boss") for title in site.titles(name)} == {"RESOLVED"}


# --- channels that leave and come back --------------------------------------------------------------------------------


async def test_a_channel_that_was_away_while_it_got_worse_hears_how_bad_it_is(tmp_path, database_url):
    async with site_of(tmp_path, database_url, channels=("ops", "boss")) as site:
        both = named(1) + channel("ops") + channel("boss")
        site.write(both)
        async with site.running() as process:
            site.set_credits(900)
            await site.until(lambda: site.received["ops"] and site.received["boss"])
            site.write(both.replace('id = "org-1"', 'id = "org-1"\nnotify = ["ops"]'))
            await site.reload(process)
            site.set_credits(100)
            await site.until(lambda: len(site.received["ops"]) == 2)
            site.write(both)
            await site.reload(process)
            await site.until(lambda: len(site.received["boss"]) == 2)
            assert "CRITICAL" in site.titles("boss")[1]
            await site.reload(process)
            await site.polled(3)
            site.set_credits(5000)
            await site.until(lambda: len(site.received["boss"]) == 3 and len(site.received["ops"]) == 3)


async def test_what_waits_for_a_renamed_channel_moves_with_it(tmp_path, database_url):
    async with site_of(tmp_path, database_url) as site:
        site.receivers["ops"].behaviour = Behaviour.REFUSE
        site.write(named(1) + channel("ops"))
        async with site.running() as process:
            site.set_credits(100)
            await site.until(lambda: site.receivers["ops"].attempts)
            site.receivers["ops"].behaviour = Behaviour.TAKE
            site.write(named(1) + channel("on-call", of="ops"))
            await site.reload(process)
            await site.until(lambda: site.received["ops"])
            await site.polled(3)
            site.set_credits(5000)
            await site.until(lambda: len(site.received["ops"]) == 2)
            assert "gave up" not in site.log
            site.receivers["ops"].behaviour = Behaviour.REFUSE
            attempts = site.receivers["ops"].attempts
            site.set_credits(100)
            await site.until(lambda: site.receivers["ops"].attempts > attempts)
        site.write(named(1))
        async with site.running(log="second"):
            await site.until(
                lambda: "on-call: no longer a channel: gave up 1 message" in (tmp_path / "second").read_text()
            )


# --- trouble of the machine, pipes, and a lock that is gone -----------------------------------------------------------


async def test_a_child_that_dies_while_it_checks_urls_is_no_mistake_in_the_configuration(tmp_path, sqlite_url):
    async with site_of(tmp_path, sqlite_url) as site:
        site.customize(
            "import sys, os, pathlib\n"
            "broken = pathlib.Path(__file__).with_name('broken')\n"
            "import monitor.channels.child_process as parent\n"
            "parent.PASSED_ON = (*parent.PASSED_ON, 'PYTHONPATH')\n"
            "if 'monitor.channels.template' in sys.orig_argv and broken.exists():\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        (tmp_path / "broken").touch()
        config = site.write(named(1) + channel("ops"))
        assert (await site.command("config", "validate", config=config))[0] == 70
        text = config.read_text()
        config.write_text(text.replace("[poll]", "[poll]\nevry = '1s'"))
        code, out = await site.command("config", "validate", config=config)
        assert (code, "evry" in out) == (78, True)
        config.write_text(text)
        async with site.running() as process:
            await site.until(lambda: "could not be checked: the sending process ended early (signal 9)" in site.log)
            process.send_signal(signal.SIGHUP)
            await site.until(lambda: "the configuration was not reloaded: the URLs" in site.log)
            site.set_credits(100)
            await site.polled(3)
            assert process.returncode is None
            (tmp_path / "broken").unlink()
            await site.until(lambda: site.received["ops"])
            await site.reload(process)


async def test_a_pipe_as_configuration_holds_up_no_later_reload(tmp_path, sqlite_url):
    async with site_of(tmp_path, sqlite_url) as site:
        config = site.write(named(1) + channel("ops"))
        text = config.read_text()
        async with site.running() as process:
            for path, before in ((config, text), (tmp_path / "ops.url", (tmp_path / "ops.url").read_text())):
                path.unlink()
                os.mkfifo(path)
                process.send_signal(signal.SIGHUP)
                await site.until(lambda path=path: f"{path}: cannot be read: it is no regular file" in site.log)
                path.unlink()
                path.write_text(before)
                await site.reload(process)
        config.unlink()
        os.mkfifo(config)
        code, out = await site.command("config", "validate", config=config)
        assert (code, "no regular file" in out) == (78, True)


async def test_a_reload_that_hangs_is_said_and_the_next_one_begins_again(tmp_path, sqlite_url):
    async with site_of(tmp_path, sqlite_url) as site:
        site.customize(
            "import pathlib, time\n"
            "import monitor.config as config\n"
            "load, hangs = config.load, pathlib.Path(__file__).with_name('hangs')\n"
            "config.load = lambda *a: (hangs.exists() and time.sleep(600)) or load(*a)\n"
        )
        site.write(named(1) + channel("ops"))
        async with site.running() as process:
            (tmp_path / "hangs").touch()
            process.send_signal(signal.SIGHUP)
            await site.until(lambda: "reading the configuration has taken 10 s" in site.log)
            (tmp_path / "hangs").unlink()
            await site.reload(process)
            assert await daemon.stop(process) == 0


async def test_two_daemons_never_tell_the_same_where_the_lock_file_was_removed(tmp_path, sqlite_url):
    async with site_of(tmp_path, sqlite_url) as site:
        site.write(named(1) + channel("ops"))
        lock = sqlite_url.removeprefix("sqlite:///") + ".lock"
        async with site.running() as first:
            await site.polled(1)
            os.unlink(lock)  # noqa: PTH108 -- no more than a path
            await site.until(lambda: "was removed, and is there again" in site.log)
            code, out = await site.command("run", config=tmp_path / "config.toml")
            assert code == 75
            assert re.search(r"another credit-monitor \(process \d+, since .*\) runs on", out)
            first.send_signal(signal.SIGSTOP)
            os.unlink(lock)  # noqa: PTH108 -- no more than a path
            async with site.running(log="second"):
                first.send_signal(signal.SIGCONT)
                site.set_credits(100)
                assert await asyncio.wait_for(first.wait(), 90) == 75
                await site.until(lambda: site.received["ops"])
                await site.polled(3)
                assert len(site.received["ops"]) == 1


async def test_a_backup_that_is_put_in_the_place_of_the_database_is_gone_on_with(tmp_path, sqlite_url):
    async with site_of(tmp_path, sqlite_url) as site:
        site.write(named(1) + channel("ops"))
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        async with site.running() as process:
            await site.polled(2)
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "copy")) as copy:
                source.backup(copy)
            (tmp_path / "copy").replace(path)
            await site.until(lambda: "the database file was replaced: begun anew" in site.log)
            site.set_credits(100)
            await site.until(lambda: site.received["ops"])
            assert process.returncode is None

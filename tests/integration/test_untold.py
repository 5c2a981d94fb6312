"""States in which somebody might not be told, or be told what is not true: each on the real process."""

import asyncio
import signal

import pytest
from premises import channel, site_of

from monitor.sandbox import Fault

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
            for _ in range(5):
                await site.polled(1)
                await site.reload(process)
            await site.until(lambda: all(f"{name} " in f"{site.words()} " for name in names), within=20)


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
        assert not [word for word in ("stale", "outage", "hangs", "cannot be used") if word in site.log]


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

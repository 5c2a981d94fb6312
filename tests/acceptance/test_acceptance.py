"""The installed wheel as a process: a balance falls through both levels and is topped up in two steps."""

import json
import signal
from decimal import Decimal

import pytest
from harness import CANARY_KEY, CANARY_PATH, stage, text

from monitor.sandbox import Behaviour, Fault

STORY = [
    ("900", "WARNING: render-farm has 900 credits, below 1,000"),
    ("148.2", "CRITICAL: render-farm has 148.2 credits, below 200"),
    ("650", "EASED"),
    ("5000", "RESOLVED"),
]
SUBJECTS = ["WARNING: render-farm: credits below 1,000", "CRITICAL: render-farm: credits below 200"]  # of mail


@pytest.mark.parametrize("interruption", [None, signal.SIGTERM, signal.SIGKILL])
async def test_exactly_opened_escalated_eased_resolved_arrive_on_each_channel(
    site, tmp_path, database_url, interruption
):
    async with stage(site, tmp_path, database_url) as s:
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 2)
        for number, (balance, _) in enumerate(STORY, start=1):
            s.organization.credits = Decimal(balance)
            await s.until(lambda number=number: len(s.titles("hook")) >= number and len(s.subjects()) >= number)
            if number >= 2:
                await s.until(lambda number=number: len(s.titles("pager")) >= number - 1)
            if interruption:
                await s.end(interruption)
                await s.start()
        assert await s.end() == 0
        titles = s.titles("hook")
        assert titles[:2] == [STORY[0][1], STORY[1][1]]
        assert len(titles) == 4
        subjects = s.subjects()
        assert subjects[:2] == SUBJECTS
        assert [subject.split(":")[0] for subject in subjects[2:]] == ["EASED", "RESOLVED"]
        assert s.titles("pager") == titles[1:]
        assert "render-farm" in titles[2]
        assert "render-farm" in titles[3]
        bodies = [message.message for message in s.received["hook"]]
        assert "4,851.8" in bodies[-1]  # topped up since it opened
        logs = s.all_logs()
        assert "Traceback" not in logs
        assert CANARY_KEY not in logs
        assert CANARY_PATH not in logs


async def test_a_dead_channel_neither_delays_nor_repeats_another_and_hears_everything_at_once(
    site, tmp_path, sqlite_url
):
    async with stage(site, tmp_path, sqlite_url) as s:
        s.receivers["hook"].behaviour = Behaviour.REFUSE
        await s.start()
        for number, (balance, _) in enumerate(STORY[:2], start=1):
            s.organization.credits = Decimal(balance)
            await s.until(lambda number=number: len(s.subjects()) == number)
        assert s.titles("hook") == []
        _, out, _ = await s.command("status")
        assert "channel hook" in out
        assert CANARY_PATH not in out
        s.receivers["hook"].behaviour = Behaviour.TAKE
        await s.until(lambda: s.titles("hook"))
        assert s.titles("hook") == [STORY[1][1]]
        assert "Not delivered before now: warning since" in s.received["hook"][0].message
        assert len(s.subjects()) == 2


async def test_a_kill_between_two_checks_of_a_falling_balance_loses_nothing(site, tmp_path, sqlite_url):
    async with stage(site, tmp_path, sqlite_url) as s:
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 1)
        await s.end(signal.SIGKILL)
        s.organization.credits = Decimal(5)
        await s.start()
        await s.until(lambda: len(s.titles("pager")) == 1)
        assert s.titles("pager") == ["CRITICAL: render-farm has 5 credits, below 200"]


async def test_a_rejected_key_is_told_once_and_appears_nowhere(site, tmp_path, database_url):
    async with stage(site, tmp_path, database_url) as s:
        s.write_config(stale_after="2s")
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 2)
        s.vendor.fault = Fault.UNAUTHORIZED
        await s.until(lambda: len(s.titles("hook")) == 1)
        seen = len(s.vendor.requests)
        await s.until(lambda: len(s.vendor.requests) >= seen + 4)
        s.vendor.fault = None
        await s.until(lambda: len(s.titles("hook")) == 2)
        assert await s.end() == 0
        assert len(s.titles("hook")) == 2
        everything = s.all_logs() + repr(s.received) + "".join(map(text, s.mailbox.letters))
        for table in ("status", "history", "incidents"):
            everything += "".join(map(str, await s.command(table, "--format", "json")))
        for file in (tmp_path / "state").glob("*"):
            everything += file.read_bytes().decode("latin-1")
        assert CANARY_KEY not in everything


async def test_check_tells_delivers_and_exits_like_a_monitoring_plugin(site, tmp_path, database_url):
    async with stage(site, tmp_path, database_url) as s:
        code, out, _ = await s.command("check", "--format", "json")
        assert (code, json.loads(out)[0]["state"], json.loads(out)[0]["credits"]) == (0, "ok", 1500)
        s.organization.credits = Decimal("999.999999")
        assert (await s.command("check", "--dry-run"))[0] == 1
        assert s.titles("hook") == []
        code, out, _ = await s.command("check")
        assert (code, len(s.titles("hook")), len(s.subjects())) == (1, 1, 1)
        s.organization.credits = Decimal(1)
        assert (await s.command("check"))[0] == 2
        assert len(s.titles("pager")) == 1
        code, out, _ = await s.command("history", "render-farm", "--format", "csv")
        assert [line.split(",")[4] for line in out.splitlines()[1:]] == ["1500", "999.999999", "1"]


async def test_two_daemons_on_one_sqlite_file_are_refused(site, tmp_path, sqlite_url):
    async with stage(site, tmp_path, sqlite_url) as s:
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 2)
        code, _, err = await s.command("run")
        assert code == 75
        assert "another credit-monitor" in err
        assert "Traceback" not in err


async def test_a_vendor_that_hangs_does_not_hold_up_the_stop(site, tmp_path, sqlite_url):
    async with stage(site, tmp_path, sqlite_url) as s:
        s.vendor.fault = Fault.HANG
        (tmp_path / "config.toml").write_text(
            s.write_config().read_text().replace('deadline = "2s"', 'deadline = "60s"')
        )
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 1)
        assert await s.end() == 0


async def test_a_receiver_that_hangs_does_not_hold_up_the_stop(site, tmp_path, sqlite_url):
    async with stage(site, tmp_path, sqlite_url, credits="10") as s:
        for receiver in s.receivers.values():
            receiver.behaviour = Behaviour.HANG
        await s.start()
        await s.until(lambda: all(receiver.attempts for receiver in s.receivers.values()))
        assert await s.end() == 0


async def test_a_fallback_hears_of_a_fall_in_every_step_and_the_channel_that_is_back_how_it_is(
    site, tmp_path, sqlite_url
):
    async with stage(site, tmp_path, sqlite_url) as s:
        file = s.write_config()
        alone = file.read_text().replace('id = "org-1"\n', 'id = "org-1"\nnotify = ["hook"]\n')
        file.write_text(
            alone.replace("[channels.hook]\n", '[channels.hook]\nfallback = "mail"\nfallback_after = "1s"\n')
        )
        s.receivers["hook"].behaviour = Behaviour.REFUSE  # with 503
        await s.start()
        await s.until(lambda: len(s.vendor.requests) >= 2)
        for number, (balance, _) in enumerate(STORY[:2], start=1):
            s.organization.credits = Decimal(balance)
            await s.until(lambda number=number: len(s.subjects()) == number)
        assert s.subjects() == SUBJECTS
        _, out, _ = await s.command("status")
        assert "mail stands in" in out
        s.receivers["hook"].behaviour = Behaviour.TAKE
        await s.command("notify", "hook")  # what waits for it is due at once
        await s.until(lambda: len(s.titles("hook")) == 2)
        assert s.titles("hook")[1] == STORY[1][1]
        s.organization.credits = Decimal(5000)
        await s.until(lambda: len(s.titles("hook")) == len(s.subjects()) == 3)
        assert "RESOLVED" in s.titles("hook")[2]
        assert s.subjects()[2].startswith("RESOLVED: render-farm")
        assert await s.end() == 0

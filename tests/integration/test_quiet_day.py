"""A day on which nothing happens: what the journal has of it, and what a line about a balance or a failure says."""

import itertools
import re
from datetime import timedelta
from decimal import Decimal

from filled import HOUR
from story import DOWN, START, Story, key_of

from monitor.config import Retention
from monitor.daemon.retention import Pruner
from monitor.model import Snapshot
from monitor.sandbox import SandboxOrganization, Vendor
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import organizations, snapshots

FILE = """
[accounts.studio]
base_url = "{url}"
rate_limit = "off"
organizations = "all"
[channels.ops]
"""
MINUTES = timedelta(minutes=5)
STALE = "no balance of farm for N min (last known: 5,000 credits)"


async def test_a_quiet_day_is_under_thirty_lines(tmp_path, database_url, caplog):
    """288 polls of two organizations, of which every hour some balances get too old."""
    caplog.set_level("INFO", logger="monitor")
    listed = [
        SandboxOrganization(
            f"org-{n}", f"Organization {n}", (Decimal(9000 - used) for used in itertools.count()).__next__
        )
        for n in (1, 2)
    ]
    async with Vendor({key_of("studio"): ["org-1", "org-2"]}, listed) as vendor:
        story = Story(tmp_path, database_url, START).begin(FILE.format(url=vendor.url))
        await story.parts.polls[0].run()
        ids = [row["id"] for row in story.rows(organizations)]
        old = [(id_, Snapshot(START - 400 * 24 * HOUR + n * HOUR, Decimal(n))) for id_ in ids for n in range(48)]
        story.store.write_now(lambda tx: insert_snapshots(tx, old))
        pruner = Pruner(story.store, story.settings.model_copy(update={"retention": Retention()}))
        for n in range(288):
            story.now = START + n * MINUTES
            await story.parts.polls[0].run()
            await pruner.tick(story.now)
        counted = len(story.rows(snapshots))
        await story.end()
    assert counted >= 2 * 288
    assert counted < 2 * 288 + len(old)
    lines = [f"{record.name}: {record.getMessage()}" for record in caplog.records if record.name.startswith("monitor")]
    assert len(lines) < 30, "\n".join(lines)
    assert sum("old row(s) removed" in line for line in lines) in {1, 2}


async def test_lines_about_balances_have_figures_and_lines_about_failures_a_reason(story, caplog):
    caplog.set_level("INFO", logger="monitor")
    await story.check("900")
    await story.check("150")
    await story.check("5000")
    for _ in range(12):
        story.now += MINUTES
        await story.check(DOWN)
    lines = [record.getMessage() for record in caplog.records if record.name == "monitor.app"]
    assert [re.sub(r"\d+ min", "N min", line) for line in lines] == [
        "farm: credits opened (warning): farm has 900 credits, below 1,000",
        "farm: credits escalated (critical): farm has 150 credits, below 200",
        "farm: credits resolved (critical): farm has 5,000 credits again",
        f"farm: stale opened (warning): {STALE}; the vendor answered 503",
    ]

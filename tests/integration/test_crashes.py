"""A transaction that breaks off at any of its statements leaves nothing; the next try makes up for it."""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from broken import broken
from story import DENIED, DOWN, REJECTED, SPENT, TOML, Story, configured

from monitor.app import open_parts
from monitor.errors import DatabaseError
from monitor.store.tables import (
    accounts,
    attempts,
    checks,
    deliveries,
    incidents,
    notifications,
    organizations,
    snapshots,
)
from monitor.store.writer import Store

SOLID = TOML.replace('runway = "off"', 'runway = { warning = "7d", critical = "2d" }')
OTHERS = """
[channels.late]
[organizations.video]
account = "studio"
id = "org-2"
"""
TABLES = (accounts, organizations, snapshots, checks, incidents, notifications, deliveries, attempts)
# Numbers and names that any run draws anew.
CHANCE = {"id", "notification_id", "incident_id", "organization_id", "subject_id", "group_id", "folded_into"}


def image(story: Story) -> list[list[dict[str, Any]]]:
    """Everything in the database, but for what is drawn by chance."""
    questions = [sa.select(*(column for column in table.c if column.name not in CHANCE)) for table in TABLES]
    read = story.write(lambda tx: [tx.execute(question).mappings().all() for question in questions])
    return [sorted(map(dict, rows), key=str) for rows in read]


BATCHES = {
    "opens, escalates, eases, resolves": ["1500", "900", "100", DOWN, "600", "5000"],
    "ends with everything open": ["1500", "900", SPENT, DENIED],
    "a rejected key and back": [REJECTED, REJECTED, "1500", REJECTED],
}


async def settled(story: Story, outcomes: list, *, breaking: bool) -> list[list[dict[str, Any]]]:
    """Gather a batch over two organizations and settle it; with `breaking` first break it at each statement in turn."""
    await story.restart(SOLID + OTHERS)
    for outcome in outcomes:
        for name in ("farm", "video"):
            story.now += timedelta(minutes=5)
            story.parts.batch.add(story.result(outcome, name))
    ledger, writer = story.parts.batch, story.parts.store.engine
    before, at = image(story), 0
    while breaking:
        at += 1
        with broken(writer, at) as here:
            await ledger.flush()
        if here.seen < at:
            break
        assert image(story) == before, f"statement {at} left something"
    await ledger.flush()
    assert not breaking or at > 10
    return image(story)


@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_broken_at_any_statement_is_settled_as_if_undisturbed(
    story, tmp_path_factory, migrated_sqlite, name
):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "story.db").write_bytes(migrated_sqlite.read_bytes())
    undisturbed = Story(folder, f"sqlite:///{folder / 'story.db'}").begin()
    expected = await settled(undisturbed, BATCHES[name], breaking=False)
    await undisturbed.end()
    assert await settled(story, BATCHES[name], breaking=True) == expected


async def test_a_start_broken_at_any_statement_says_what_changed_once_when_it_succeeds(
    story, tmp_path_factory, migrated_sqlite
):
    """A changed file: a level lowered, a channel new, another one gone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "story.db").write_bytes(migrated_sqlite.read_bytes())
    undisturbed = Story(folder, f"sqlite:///{folder / 'story.db'}").begin()
    for one in (undisturbed, story):
        await one.restart(SOLID + OTHERS)
        await one.check("100")
        await one.check("900", "video")
        one.now += timedelta(minutes=1)
    expected = await undisturbed.restart(CHANGED)
    await undisturbed.end()
    story.now += timedelta(minutes=1)
    assert begun_at_last(story) > 10
    assert story.heard() == expected != []
    assert await story.restart(CHANGED) == []


CHANGED = (SOLID + OTHERS).replace("[channels.boss]", "[channels.new]").replace("warning = 1000", "warning = 500")


def begun_at_last(story: Story) -> int:
    """Begin, breaking one statement further each time; gives at which none was left to break."""
    settings, opened = configured(story.folder, CHANGED, story.url), Store(story.url)
    for at in count(1):
        with broken(opened.engine, at):
            try:
                open_parts(settings, opened, clock=lambda: story.now)
            except DatabaseError:
                continue
        opened.close()
        return at
    raise AssertionError

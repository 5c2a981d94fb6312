"""Results are settled in order of arrival, whatever happens to the database, and none of them takes others with it."""

import asyncio
import threading
from datetime import timedelta
from decimal import Decimal

import sqlalchemy as sa
from story import DOWN, NOON, of_credits
from wait import LONG, until

from monitor.model import Check, Snapshot
from monitor.poll import Batch
from monitor.store.tables import accounts, checks, organizations, snapshots
from monitor.store.writer import Store

SECOND = timedelta(seconds=1)


def add(story, *outcomes) -> None:
    for outcome in outcomes:
        story.now += SECOND
        story.parts.batch.add(story.result(outcome))


# --- on the whole monitor ---------------------------------------------------------------------------------------------


async def test_results_are_settled_within_a_second_or_two_without_being_asked_for(story):
    add(story, "1500")
    await until(lambda: story.rows(snapshots))


async def test_a_hundred_results_do_not_wait_for_the_second(story, monkeypatch):
    monkeypatch.setattr("monitor.poll.batch.LONGEST_WAIT", 3600)
    results = [Check(1, 1, NOON + n * SECOND, Snapshot(NOON + n * SECOND, Decimal(5000))) for n in range(100)]
    for one in results:
        story.parts.batch.add(one)
    await until(lambda: len(story.rows(snapshots)) == 100)


async def test_results_are_held_while_the_database_is_away_and_settled_in_order_when_it_is_back(story, outage):
    outage.begin(story.parts.store.engine)
    batch = story.parts.batch
    results = []
    story.now += SECOND
    for number, outcome in enumerate(["1500", "900", "100", DOWN, "600", "5000"]):
        at = NOON + number * SECOND
        results.append(Check(1, 1, at, Snapshot(at, Decimal(outcome)) if isinstance(outcome, str) else outcome))
    for one in results[:3]:
        batch.add(one)
    batch.polled(1, NOON)
    await batch.flush()
    for one in results[3:]:
        batch.add(one)
    await batch.flush()
    outage.end(story.parts.store.engine)
    assert story.rows(snapshots) == []
    assert story.rows(accounts)[0]["polled_at"] is None
    await batch.flush()
    assert [row["credits"] for row in story.rows(snapshots)] == [1500, 900, 100, 600, 5000]
    assert story.heard() == [
        *of_credits("ops", reason="opened", severity="warning"),
        *of_credits("ops", "boss", reason="escalated", severity="critical"),
        *of_credits("ops", "boss", reason="eased", severity="warning"),
        *of_credits("ops", "boss", reason="resolved", severity="warning"),
    ]
    assert len(story.rows(checks)) == 1
    assert story.rows(accounts)[0]["polled_at"] == NOON


async def test_what_is_held_is_settled_without_a_further_poll(story, outage, caplog):
    outage.begin(story.parts.store.engine)
    story.parts.batch.add(Check(1, 1, NOON, Snapshot(NOON, Decimal(900))))
    await story.parts.batch.flush()
    outage.end(story.parts.store.engine)

    def said() -> list[str]:
        return [record.message for record in caplog.records if record.name == "monitor.poll.batch"]

    await until(lambda: len(said()) == 2)  # once that it is away, once that it is back
    assert "held" in said()[0]
    assert len(story.rows(snapshots)) == 1


async def test_a_poll_that_is_cancelled_while_its_results_are_written_loses_none_of_them(story):
    """The writer is busy, as it is in the moment of a stop."""
    begun, free = threading.Event(), threading.Event()
    busy = asyncio.create_task(story.parts.store.write(lambda _: begun.set() or free.wait(LONG)))
    await until(begun.is_set)
    story.parts.batch.add(Check(1, 1, NOON, Snapshot(NOON, Decimal(900))))
    poll = asyncio.create_task(story.parts.batch.flush())
    await asyncio.sleep(0.05)
    poll.cancel()
    free.set()
    await asyncio.gather(poll, busy, return_exceptions=True)
    await story.parts.batch.flush()
    assert [row["credits"] for row in story.rows(snapshots)] == [900]
    assert story.heard() == of_credits("ops", reason="opened", severity="warning")


async def test_ending_settles_what_was_gathered(story):
    add(story, "900")
    assert await story.restart() == of_credits("ops", reason="opened", severity="warning")


# --- alone ------------------------------------------------------------------------------------------------------------


class Odd(Exception):
    pass


async def test_one_result_that_cannot_be_judged_takes_no_other_with_it(tmp_path, sqlite_url, caplog):
    """A fault of ours in one organization must not leave the others unwatched."""
    opened = Store(sqlite_url)
    settled: list[int] = []

    def settle(tx, batch):
        if any(check.organization_id == 13 for check in batch):
            raise Odd
        tx.execute(sa.text("SELECT 1"))
        settled.extend(check.organization_id for check in batch)
        return []

    batch = Batch(opened, settle, lambda _: None)
    for number in range(30):
        batch.add(Check(1, number, NOON, DOWN))
    batch.polled(1, NOON)
    async with asyncio.timeout(LONG):
        await batch.flush()
    assert settled == [number for number in range(30) if number != 13]
    assert "Odd" in caplog.text
    batch.add(Check(1, 99, NOON, DOWN))
    await batch.flush()
    assert settled[-1] == 99
    opened.close()


async def test_what_is_said_is_passed_on_once_for_each_batch(sqlite_url):
    opened, said = Store(sqlite_url), []
    batch = Batch(opened, lambda _, batch: list(batch), said.append)
    for number in range(250):
        batch.add(Check(1, number, NOON, DOWN))
    await batch.flush()
    assert [len(one) for one in said] == [100, 100, 50]
    assert [check.organization_id for one in said for check in one] == list(range(250))
    opened.close()


async def test_a_poll_is_complete_with_the_last_of_its_results_and_not_before(story):
    seen = []

    def settle(tx, batch):
        seen.append(tx.execute(sa.select(accounts.c.polled_at)).scalar_one())
        return []

    batch = Batch(story.parts.store, settle, lambda _: None)
    for number in range(150):
        batch.add(Check(1, number, NOON, DOWN))
    batch.polled(1, NOON)
    await batch.flush()
    assert seen == [None, NOON]


async def test_nothing_to_settle_writes_nothing(story):
    before = story.rows(organizations)
    await story.parts.batch.flush()
    assert story.rows(organizations) == before

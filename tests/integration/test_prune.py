"""`db prune`: what would go, and what went."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from command import DEAD, FILE
from filled import fill

from monitor.model import Snapshot
from monitor.proration import DAY, floor
from monitor.store import leader_lock
from monitor.store.engines import transaction
from monitor.store.snapshots import insert_snapshots

RETENTION = "[retention]\nraw = '10d'\nhourly = '20d'\ndaily = '30d'\n"
VIDEO = 2


@pytest.fixture
def aged(shell, engine, database_url):
    """Forty days of one balance a day up to now, and a history that is all of the future."""
    fill(engine)
    today = floor(datetime.now(UTC), DAY)
    with transaction(engine) as tx:
        points = [Snapshot(today - timedelta(days=40 - n, hours=-1), Decimal(100 - n)) for n in range(41)]
        insert_snapshots(tx, [(VIDEO, snapshot) for snapshot in points])
    shell.write(FILE + RETENTION, url=database_url, vendor=DEAD)
    return shell


def counts(answer):
    return {row["sort"]: row["rows"] for row in json.loads(answer.out)}


def test_a_dry_run_says_how_much_would_go_and_removes_nothing(aged):
    first, second = (aged("db", "prune", "--dry-run", "--format", "json") for _ in range(2))
    assert (first.code, first.err, first.out) == (0, "", second.out)
    assert counts(first) == {"snapshots": 30, "hours": 0, "days": 10, "failed checks": 0, "attempts": 0}
    before = {row["sort"]: row["before"] for row in json.loads(first.out)}
    assert before["days"] == f"{floor(datetime.now(UTC), DAY) - timedelta(days=30):%Y-%m-%dT00:00:00Z}"
    assert aged("db", "prune", "--dry-run").out.splitlines()[1].split()[:2] == ["snapshots", "30"]


def test_all_of_it_goes_at_once_beside_a_daemon_and_then_there_is_nothing_left(aged, database_url):
    hold = leader_lock.acquire(database_url)
    done = aged("db", "prune", "--format", "json")
    assert (done.code, counts(done)["snapshots"], counts(done)["days"]) == (0, 30, 10)
    assert counts(done)["hours"] == 20 * 24 - 1  # every hour that the removed balances' use was shared out over
    assert set(counts(aged("db", "prune", "--format", "json")).values()) == {0}
    assert hold
    hold.release()


def test_what_is_kept_for_ever_has_no_date(aged, database_url):
    aged.write(FILE + RETENTION.replace("'30d'", "'forever'"), url=database_url, vendor=DEAD)
    shown = aged("db", "prune", "--dry-run").out.splitlines()
    assert shown[3].split() == ["days", "0", "-"]

"""Old balances go, and what they add up to stays: by day as it was, by hour from what took their place."""

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa
from examples import examples
from filled import NOON, fill
from hypothesis import given
from hypothesis import strategies as st
from video import VIDEO, by_hour, left, remove_all, rows, taken

from monitor.config import Retention
from monitor.daemon import retention
from monitor.proration import DAY, floor
from monitor.store import pruning, rollups
from monitor.store.engines import transaction
from monitor.store.pruning import Cutoffs, Kind, Portion
from monitor.store.snapshots import insert_snapshots, pruned_before
from monitor.store.tables import (
    attempts,
    balance_days,
    balance_hours,
    checks,
    deliveries,
    organizations,
    snapshots,
)

LATER = NOON + timedelta(days=1000)
moves = st.lists(st.tuples(st.integers(-500, 4000), st.integers(0, 50)), min_size=1, max_size=12)


@given(moves, st.lists(st.integers(-2, 40), min_size=1, max_size=3), moves)
@examples(10)
def test_removing_snapshots_changes_no_total_whatever_the_history(engine, small, steps, cuts, more):
    with transaction(engine) as tx:
        for table in (snapshots, balance_days, balance_hours, organizations):  # of the example before
            tx.execute(table.delete())
        values = {"base_url": "https://a.example", "vendor_id": "org-2", "name": "video", "account": "studio"}
        tx.execute(organizations.insert().values(id=VIDEO, **values))
        minutes, plain = 0, []
        for steps_now in (steps, more):
            for forward, balance in steps_now:
                minutes += forward
                since = pruned_before(tx, VIDEO)
                one = taken(minutes, balance)
                if since is None or one[1].taken_at > since:
                    plain.append(one[1])
                insert_snapshots(tx, [one])
            whole = (rows(tx, balance_days), by_hour(tx), left(tx))
            for cut in cuts:
                before = floor(NOON, DAY) + cut * DAY
                remove_all(tx, Cutoffs(before, None, None))
                assert rows(tx, balance_days) == whole[0]
                assert by_hour(tx) == whole[1]
                assert left(tx) == [one for one in left(tx) if one.taken_at >= before] or len(left(tx)) == 1
                assert left(tx)[-1] == whole[2][-1]
        kept = sum(row.snapshots for row in rows(tx, balance_hours)) + len(left(tx))
        assert kept == len({one.taken_at for one in plain}) == sum(row.snapshots for row in rows(tx, balance_days))


def test_each_hour_keeps_its_first_last_lowest_and_highest_balance(engine, small):
    fill(engine)
    with transaction(engine) as tx:
        points = [(1, 50), (5, 70), (20, 40), (40, 45), (59, 44), (130, 30)]
        insert_snapshots(tx, [taken(*one) for one in points])
        remove_all(tx, Cutoffs(LATER, None, None))
        found = [row for row in rows(tx, balance_hours) if row.organization_id == VIDEO]
    keys = ("snapshots", "first", "last", "lowest", "highest", "used", "topped_up")
    first, second, third = ([getattr(row, key) for key in keys] for row in found)
    assert first[:5] == [5, 50, 44, 40, 70]
    assert second[:5] == third[:5] == [0, None, None, None, None]  # a gap, with its share of the use
    assert (sum(row.used for row in found), sum(row.topped_up for row in found)) == (30 + 1 + 14, 20 + 5)


def test_a_long_gap_without_use_leaves_no_rows(engine):
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [taken(0, 50), taken(600 * 1440, 50), taken(600 * 1440 + 1, 50)])
        remove_all(tx, Cutoffs(LATER, None, None))
        assert sum(row.organization_id == VIDEO for row in rows(tx, balance_hours)) == 2


def test_hours_and_days_go_when_they_are_too_old_and_the_newest_balance_stays(engine, small):
    fill(engine)
    day = floor(NOON, DAY)
    with transaction(engine) as tx:
        insert_snapshots(tx, [taken(n * 720, 100 - n) for n in range(20)])
        gone = remove_all(tx, Cutoffs(day + 8 * DAY, day + 6 * DAY, day + 4 * DAY))
        mine = [
            [row for row in rows(tx, table) if row.organization_id == VIDEO] for table in (balance_hours, balance_days)
        ]
        assert mine[0][0].starts_at == day + 6 * DAY
        assert mine[1][0].starts_at == day + 4 * DAY
        assert [one.credits for one in left(tx)] == [100 - n for n in range(15, 20)]
        assert gone[Kind.DAYS] == 4 + 2  # two of organization 1; the one balance of organization 3 keeps its day
        remove_all(tx, Cutoffs(LATER, LATER, LATER))
        assert [one.credits for one in left(tx)] == [81]
        assert [row.organization_id for row in rows(tx, balance_days)] == [1, 2, 3]


def test_what_is_older_than_removed_days_is_still_refused(engine):
    fill(engine)
    day = floor(NOON, DAY)
    with transaction(engine) as tx:
        insert_snapshots(tx, [taken(n * 720, 100 - n) for n in range(20)])
        assert pruned_before(tx, VIDEO) is None
        remove_all(tx, Cutoffs(day + 8 * DAY, day + 8 * DAY, day + 8 * DAY))
        since, before = pruned_before(tx, VIDEO), rows(tx, balance_days)
        assert since == left(tx)[0].taken_at
        insert_snapshots(tx, [taken(5, 1), taken(-5000, 1)])
        assert (rows(tx, balance_days), left(tx)[0].taken_at) == (before, since)


def test_failed_checks_and_attempts_go_too_but_not_those_of_a_delivery_under_way(engine, small):
    fill(engine)
    with transaction(engine) as tx:
        for n in range(7):
            tx.execute(checks.insert().values(account_id=1, ended_at=NOON + n * DAY, kind="unavailable", message="x"))
            tx.execute(attempts.insert().values(delivery_id=1 + n % 2, ended_at=NOON + n * DAY, error="x"))
        gone = remove_all(tx, Cutoffs(NOON + 5 * DAY, None, None))
        assert (gone[Kind.CHECKS], gone[Kind.ATTEMPTS]) == (6, 4)
        assert [row.ended_at for row in rows(tx, checks)] == [NOON + 5 * DAY, NOON + 6 * DAY]
        pending = tx.execute(sa.select(deliveries.c.id).where(deliveries.c.state == "pending")).scalars().all()
        assert {row.delivery_id for row in rows(tx, attempts) if row.ended_at < NOON + 5 * DAY} == set(pending)


def test_who_only_asks_whether_there_is_something_to_remove_counts_no_rows(engine):
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [taken(n * 720, 100 - n) for n in range(20)])
        cut = Cutoffs(NOON + 5 * DAY, None, NOON + 5 * DAY)
        counted, seen = list(pruning.expired_portions(tx, cut)), list(pruning.expired_portions(tx, cut, most=1))
    assert {one.rows for one in seen} == {1}
    assert max(one.rows for one in counted) > 1
    assert [replace(one, rows=1) for one in counted] == seen


def test_nothing_goes_where_everything_is_kept(engine):
    fill(engine)
    kept = retention.cutoffs(Retention(None, None, None), LATER)
    with transaction(engine) as tx:
        assert list(pruning.expired_portions(tx, kept)) == []


def test_a_change_over_years_is_shared_out_over_its_hours_a_little_at_a_time(engine, monkeypatch):
    """A machine that began in 1970, before its clock was set."""
    fill(engine)
    kept: list[int] = []
    add = rollups.Rollups.add_to

    def watched(self, tx, table):
        kept.append(len(self.rows))
        add(self, tx, table)

    monkeypatch.setattr(rollups.Rollups, "add_to", watched)
    hours = 30_000
    with transaction(engine) as tx:
        far = [taken(-60.0 * hours, 60), taken(0, 0), taken(1, 0)]
        insert_snapshots(tx, far)
        kept.clear()
        before = by_hour(tx)
        assert pruning.delete_slice(tx, Portion(Kind.SNAPSHOTS, NOON, 1, VIDEO)) == 1
        assert by_hour(tx) == before
        assert sum(used for used, _ in before.values()) == 60
    assert max(kept) <= pruning.SLICE

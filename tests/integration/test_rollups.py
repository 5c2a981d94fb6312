"""The days that are kept up as snapshots arrive, against the plain way: all snapshots in order of time."""

from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from examples import examples
from filled import NOON, fill
from hypothesis import given
from hypothesis import strategies as st
from video import VIDEO, days, expected

from monitor.model import Snapshot
from monitor.store.engines import transaction
from monitor.store.snapshots import insert_snapshots, pruned_before
from monitor.store.tables import balance_days, organizations, snapshots


def taken(minutes: int, balance: str | int) -> Snapshot:
    return Snapshot(NOON + timedelta(minutes=minutes), Decimal(balance))


moves = st.lists(st.tuples(st.integers(-5000, 20_000), st.integers(0, 50)), min_size=1, max_size=12)


@given(moves, st.integers(1, 4))
@examples(10)
def test_days_are_exact_whatever_the_order_of_arrival(engine, steps, batch):
    with transaction(engine) as tx:
        for table in (snapshots, balance_days, organizations):  # of the example before
            tx.execute(table.delete())
        tx.execute(
            organizations.insert().values(
                id=VIDEO, base_url="https://a.example", vendor_id="org-2", name="video", account="studio"
            )
        )
        minutes, arrived = 0, []
        for forward, balance in steps:  # a clock that is now and then stepped back, and now and then stands still
            minutes += forward
            arrived.append((VIDEO, taken(minutes, balance)))
        for start in range(0, len(arrived), batch):
            insert_snapshots(tx, arrived[start : start + batch])
            insert_snapshots(tx, arrived[start : start + batch])  # the outcome of a commit was not known
        assert days(tx) == expected(tx)
        newest = tx.execute(sa.select(organizations.c.newest_at).where(organizations.c.id == VIDEO)).scalar_one()
        assert newest == max(snapshot.taken_at for _, snapshot in arrived)


def test_a_day_without_a_snapshot_is_a_gap_with_its_share_of_the_use(engine):
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [(VIDEO, taken(0, 100)), (VIDEO, taken(4 * 1440, 60))])
        rows = [(row[4], row[2], row[5]) for row in days(tx)]
    assert [count for count, *_ in rows] == [1, 0, 0, 0, 1]
    assert sum(used for _, used, _ in rows) == 40
    assert rows[1][1:] == (10, None)


def test_the_first_of_two_balances_of_one_instant_stays(engine):
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [(VIDEO, taken(0, 100)), (VIDEO, taken(0, 60)), (VIDEO, taken(1, 90))])
        assert days(tx) == expected(tx)
        assert tx.execute(
            sa.select(snapshots.c.credits).where(snapshots.c.organization_id == VIDEO)
        ).scalars().all() == [
            100,
            90,
        ]


@pytest.mark.parametrize(("late", "kept"), [(-10, False), (5, True)])
def test_what_is_older_than_all_that_retention_has_left_is_dropped(engine, late, kept):
    fill(engine)
    with transaction(engine) as tx:
        insert_snapshots(tx, [(VIDEO, taken(minutes, 50)) for minutes in (-20, 0, 10)])
        tx.execute(snapshots.delete().where(snapshots.c.organization_id == VIDEO, snapshots.c.taken_at < NOON))
        assert pruned_before(tx, VIDEO) == NOON
        insert_snapshots(tx, [(VIDEO, taken(late, 40))])
        balances = (
            tx.execute(sa.select(snapshots.c.credits).where(snapshots.c.organization_id == VIDEO)).scalars().all()
        )
    assert (40 in balances) is kept

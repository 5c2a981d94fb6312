"""Identity, exact figures, current rows: what is recorded is what was seen, in the order in which it arrived."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from story import DOWN, NOON

from monitor.errors import DatabaseError
from monitor.model import Check, Failure, FailureKind, Organization, Snapshot
from monitor.store import accounts
from monitor.store.checks import account_failures
from monitor.store.engines import transaction
from monitor.store.organizations import (
    current_rows,
    ensure_organization,
    organization_rows,
    set_placement,
    update_current_rows,
)
from monitor.store.snapshots import record_checks, snapshot_before
from monitor.store.tables import checks, organizations, snapshots
from monitor.store.writer import Store

VENDOR = "https://api.stability.ai"
MICRO = Decimal("0.000001")
SMALLEST, LARGEST = Decimal("0.000001"), Decimal("999999999999.999999")


def place(tx, vendor_id="org-1", name="farm", *, base_url=VENDOR, account="studio", title=None):
    return ensure_organization(tx, base_url=base_url, vendor_id=vendor_id, name=name, account=account, title=title)


def known(tx, vendor_id="org-1"):
    account = accounts.ensure_account(tx, "studio", base_url=VENDOR, generation="v1")
    return account.id, place(tx, vendor_id).id


def all_rows(tx, table):
    return [tuple(row) for row in tx.execute(sa.select(table))]


# --- identity ---------------------------------------------------------------------------------------------------------


def test_an_organization_is_its_base_url_and_vendor_id_whatever_it_is_called(engine):
    with transaction(engine) as tx:
        first = place(tx, name="farm")
        again = place(tx, name="render-farm", account="lab")
        elsewhere = place(tx, base_url="http://proxy:8080")
        assert (first.id, len(organization_rows(tx))) == (again.id, 2)
        assert elsewhere.id != first.id
        row = current_rows(tx, [first.id])[first.id]
        assert (row.name, row.account, row.vendor_id) == ("render-farm", "lab", "org-1")


def test_an_unknown_title_keeps_the_one_that_is_known(engine):
    with transaction(engine) as tx:
        row = place(tx, title="Render Farm GmbH")
        place(tx, title=None)
        assert current_rows(tx, [row.id])[row.id].title == "Render Farm GmbH"
        place(tx, title="Render Farm AG")
        assert current_rows(tx, [row.id])[row.id].title == "Render Farm AG"


def test_an_account_is_its_name_and_keeps_when_it_was_polled(engine):
    with transaction(engine) as tx:
        first = accounts.ensure_account(tx, "studio", base_url=VENDOR, generation="v1")
        assert first.polled_at is None
        accounts.mark_polled(tx, first.id, NOON)
        again = accounts.ensure_account(tx, "studio", base_url="http://proxy:8080", generation="v1alpha")
        assert again == replace(first, polled_at=NOON)
        assert accounts.account_rows(tx) == [again]


def test_removing_an_organization_keeps_its_history_and_placing_it_again_watches_it(engine):
    with transaction(engine) as tx:
        account, farm = known(tx)
        record_checks(tx, [Check(account, farm, NOON, Snapshot(NOON, Decimal(5)))])
        set_placement(tx, farm, name="farm", account="studio", watched=False)
        assert [row.watched for row in organization_rows(tx)] == [False]
        assert place(tx).watched
        assert len(all_rows(tx, snapshots)) == 1


@pytest.mark.parametrize("name", ["Ünïcödé 🎨", "'; DROP TABLE snapshots; --", "a" * 2000, "%", "\\"])
def test_any_name_and_title_come_back_as_they_were(engine, name):
    with transaction(engine) as tx:
        organization = place(tx, vendor_id=name, name=name, title=name)
        row = current_rows(tx, [organization.id])[organization.id]
        assert (row.vendor_id, row.name, row.title) == (name, name, name)


# --- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credits",
    [
        "0",
        "-3.25",
        "0.000001",
        "-0.000001",
        "123456789012.000001",
        "999999999999.999999",
        "-999999999999.999999",
        "1E+2",
    ],
)
def test_credits_are_exact_to_six_places(engine, credits):
    with transaction(engine) as tx:
        account, farm = known(tx)
        record_checks(tx, [Check(account, farm, NOON, Snapshot(NOON, Decimal(credits)))])
        assert snapshot_before(tx, farm, NOON) == Snapshot(NOON, Decimal(credits))


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 23, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9998, 12, 31, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_instants_are_exact_to_the_microsecond_and_come_back_as_utc(engine, at):
    with transaction(engine) as tx:
        account, farm = known(tx)
        record_checks(tx, [Check(account, farm, at, Snapshot(at, Decimal(1)))])
        snapshot = snapshot_before(tx, farm, at)
        assert snapshot == Snapshot(at, Decimal(1))
        assert snapshot.taken_at.utcoffset() == timedelta(0)


def test_the_same_snapshots_twice_are_kept_once(engine):
    with transaction(engine) as tx:
        account, farm = known(tx)
        taken = [
            Check(account, farm, NOON, Snapshot(NOON + n * timedelta(microseconds=1), Decimal(n))) for n in range(3)
        ]
        record_checks(tx, taken + taken)
        record_checks(tx, taken)
        assert [row[2] for row in all_rows(tx, snapshots)] == [0, 1, 2]


def test_a_snapshot_never_changes(engine):
    with transaction(engine) as tx:
        account, farm = known(tx)
        for balance in (5, 6):
            record_checks(tx, [Check(account, farm, NOON, Snapshot(NOON, Decimal(balance)))])
        assert [row[2] for row in all_rows(tx, snapshots)] == [5]


def test_failed_checks_are_kept_each_and_leave_no_snapshot(engine):
    failure = Failure(FailureKind.CREDENTIAL_REJECTED, "refused", 401, "err-1")
    with transaction(engine) as tx:
        account, farm = known(tx)
        record_checks(tx, [Check(account, farm, NOON, failure), Check(account, None, NOON, DOWN)])
        record_checks(tx, [])
        kept = tx.execute(sa.select(checks).order_by(checks.c.id)).all()
        assert [(row.organization_id, row.kind, row.status, row.vendor_error_id) for row in kept] == [
            (farm, "credential_rejected", 401, "err-1"),
            (None, "unavailable", 503, None),
        ]
        assert all_rows(tx, snapshots) == []
        assert account_failures(tx, since=NOON) == [(account, DOWN.message)]
        assert account_failures(tx, since=NOON + timedelta(microseconds=1)) == []


def test_the_snapshot_before_an_instant_is_the_last_one_else_the_first_ever(engine):
    hours = [NOON + n * timedelta(hours=1) for n in range(3)]
    with transaction(engine) as tx:
        account, farm = known(tx)
        assert snapshot_before(tx, farm, NOON) is None
        record_checks(tx, [Check(account, farm, at, Snapshot(at, Decimal(n))) for n, at in enumerate(hours)])
        for asked, expected in [(-1, 0), (0, 0), (0.5, 0), (1, 1), (99, 2)]:
            assert snapshot_before(tx, farm, NOON + asked * timedelta(hours=1)).taken_at == hours[expected]


# --- the current row --------------------------------------------------------------------------------------------------


async def test_the_current_row_is_the_last_to_arrive_also_after_the_clock_was_stepped_back(story):
    await story.check("1500")
    before = story.now
    await story.check("900", minutes=-600)
    (row,) = story.rows(organizations)
    assert (row["credits"], row["taken_at"], row["previous_credits"]) == (900, story.now, 1500)
    assert row["previous_at"] == before
    assert (row["used"], row["topped_up"]) == (600, 0)
    assert story.open() == [("credits", "warning")]
    assert len(story.rows(snapshots)) == 2


async def test_falls_and_rises_add_up_exactly_and_failures_change_no_figure(story):
    for outcome in ["100.000001", "99.5", DOWN, "99.5", "250.25", "0", "0.000001"]:
        await story.check(outcome)
    (row,) = story.rows(organizations)
    assert row["used"] == Decimal("0.500001") + Decimal("250.25")
    assert row["topped_up"] == Decimal("150.75") + SMALLEST
    assert (row["top_up_credits"], row["top_up_at"]) == (SMALLEST, story.now)
    assert (row["credits"], row["failure"]) == (SMALLEST, None)


async def test_the_largest_swings_are_added_up_without_overflow(story):
    for outcome in [str(LARGEST), str(-LARGEST)] * 2:
        await story.check(outcome)
    (row,) = story.rows(organizations)
    assert (row["used"], row["topped_up"]) == (4 * LARGEST, 2 * LARGEST)


async def test_a_failure_keeps_the_last_balance_and_since_when_checks_fail(story):
    await story.check("1500")
    taken_at = story.now
    await story.check(DOWN)
    failing_since = story.now
    await story.check(DOWN)
    (row,) = story.rows(organizations)
    assert (row["credits"], row["taken_at"], row["checked_at"]) == (1500, taken_at, story.now)
    assert (row["failure"], row["failing_since"]) == ("unavailable", failing_since)
    await story.check("1400")
    (row,) = story.rows(organizations)
    assert (row["failure"], row["failure_message"], row["failing_since"]) == (None, None, None)


amounts = st.decimals(-LARGEST, LARGEST, places=6)
moments = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
rows = st.builds(
    Organization,
    id=st.just(0),
    name=st.just("farm"),
    vendor_id=st.just("org-1"),
    account=st.just("studio"),
    snapshot=st.none() | st.builds(Snapshot, moments, amounts),
    previous=st.none() | st.builds(Snapshot, moments, amounts),
    used=amounts,
    topped_up=amounts,
    top_up=st.none() | st.builds(Snapshot, moments, amounts),
    checked_at=st.none() | moments,
    failure=st.none() | st.builds(Failure, st.sampled_from(FailureKind), st.text("aé 🎨'%", max_size=9)),
    failing_since=st.none() | moments,
    confirmations=st.dictionaries(st.sampled_from(["credits.warning", "credits.critical"]), st.integers(1, 9)),
)


@examples(10)
@given(row=rows)
def test_any_current_row_comes_back_as_it_was_saved(engine, row):
    with transaction(engine) as tx:
        _, farm = known(tx)
        update_current_rows(tx, [replace(row, id=farm)])
        assert current_rows(tx, [farm]) == {farm: replace(row, id=farm)}


# --- the writer -------------------------------------------------------------------------------------------------------


async def test_work_that_fails_leaves_nothing_behind(database_url):
    opened = Store(database_url)

    def fail(tx):
        known(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await opened.write(fail)
    assert await opened.write(organization_rows) == []
    opened.close()


async def test_everything_is_written_by_one_thread_which_is_not_the_event_loops(database_url):
    opened = Store(database_url)
    threads = await asyncio.gather(*(opened.write(lambda _: threading.get_ident()) for _ in range(20)))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads
    opened.close()


async def test_what_is_under_way_is_written_before_the_database_is_closed(database_url):
    opened = Store(database_url)
    writing = asyncio.create_task(opened.write(known))
    await asyncio.sleep(0)
    opened.close()
    account, _ = await writing
    again = Store(database_url)
    assert [row.id for row in again.write_now(accounts.account_rows)] == [account]
    again.close()


async def test_errors_of_the_database_come_out_as_ours_without_statement_or_values(engine, database_url):
    opened = Store(database_url)
    with pytest.raises(DatabaseError) as caught:
        await opened.write(lambda tx: tx.execute(sa.text("SELECT 'secret-value' FROM nowhere")))
    assert "secret-value" not in str(caught.value)
    assert "SELECT" not in str(caught.value)
    assert caught.value.__cause__ is None
    opened.close()

"""Use by bucket, against the plain way: every change shared out over every bucket of a zone, in a loop."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from examples import examples
from filled import organization, remove
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor import query
from monitor.errors import UsageError
from monitor.model import Snapshot
from monitor.proration import DAY, HOUR, share
from monitor.query import By
from monitor.query.buckets import borders
from monitor.store.engines import transaction
from monitor.store.snapshots import insert_snapshots
from monitor.store.tables import balance_days, balance_hours, organizations, snapshots

PRICE = Decimal("0.01")
START = datetime(2026, 3, 20, tzinfo=UTC)  # before the clocks go forward, in most places that do
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]


def at(hours: float, balance: str | int | Decimal) -> Snapshot:
    return Snapshot(START + hours * HOUR, Decimal(balance))


def keep(engine: sa.Engine, *taken: Snapshot, id_: int = 1, name: str = "a", **more: object) -> None:
    """An organization that has these snapshots."""
    with transaction(engine) as tx:
        tx.execute(organizations.insert(), organization(id_, name, **more))
        insert_snapshots(tx, [(id_, snapshot) for snapshot in taken])


def ask(
    engine: sa.Engine, by: str, zone: str = "UTC", *, name: str | None = None, **more: datetime
) -> list[query.UsageRow]:
    now = more.pop("now", START + 1000 * HOUR)
    question = query.UsageQuestion(by=By(by), zone=ZoneInfo(zone), price=lambda _: PRICE, now=now, **more)
    with query.usage(engine, question, name) as answer:
        rows = list(answer.rows)
        assert len(answer.totals) <= 1
        for total in answer.totals:
            assert (total.unit, total.vendor) == ("credits", "stability")
            assert total.used == sum((row.used for row in rows if row.used is not None), Decimal(0))
            assert total.topped_up == sum((row.topped_up for row in rows if row.topped_up is not None), Decimal(0))
            assert total.cost == total.used * PRICE
    return rows


def figures(rows: list[query.UsageRow]) -> list[tuple[object, ...]]:
    return [(row.starts_at, row.ends_at, row.used, row.topped_up, row.snapshots) for row in rows]


def plainly(
    taken: list[Snapshot], by: By, zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[tuple[object, ...]]:
    """The same, one bucket after the other, from all snapshots."""
    ends = borders(by, zone, max(since, taken[0].taken_at), until)
    for starts_at, ends_at in pairwise(ends):
        count = sum(starts_at <= snapshot.taken_at < ends_at for snapshot in taken)
        if starts_at > taken[-1].taken_at:
            yield starts_at, ends_at, None, None, 0
            continue
        changes = [share(before, after, starts_at, ends_at) for before, after in pairwise(taken)]
        used, topped_up = -sum(min(change, 0) for change in changes), sum(max(change, 0) for change in changes)
        yield starts_at, ends_at, used, topped_up, count


# --- laws -------------------------------------------------------------------------------------------------------------

moves = st.lists(
    st.tuples(st.integers(1, 60 * 50 * 60_000_000) | st.integers(1, 20 * 60_000_000), st.integers(0, 10**9)),
    min_size=1,
    max_size=25,
)


def history(steps: list[tuple[int, int]]) -> list[Snapshot]:
    now, taken = START, []
    for forward, micros in steps:
        now += timedelta(microseconds=forward)
        taken.append(Snapshot(now, Decimal(micros).scaleb(-6)))
    return taken


def begin(engine: sa.Engine, taken: list[Snapshot]) -> None:
    with transaction(engine) as tx:
        for table in (snapshots, balance_days, balance_hours, organizations):  # of the example before
            tx.execute(table.delete())
    keep(engine, *taken)


LAW = examples(15)


@given(moves, st.sampled_from(ZONES), st.sampled_from(By), st.data())
@LAW
def test_use_is_what_the_plain_way_finds(engine, reader, steps, zone, by, data):
    taken = history(steps)
    begin(engine, data.draw(st.permutations(taken)))  # late ones, too
    span = int((taken[-1].taken_at - START) / HOUR) + 30
    since, until = sorted(START + data.draw(st.integers(0, span)) * HOUR for _ in range(2))
    assume(since < until)
    assume(by is not By.HOUR or until - since < 20 * DAY)
    now = taken[-1].taken_at + data.draw(st.integers(0, 40)) * HOUR
    rows = ask(reader, by, zone, since=since, until=until, now=now)
    until = min(until, now + timedelta(microseconds=1))
    assert figures(rows) == list(plainly(taken, by, ZoneInfo(zone), since, until))


@given(moves, st.sampled_from(["day", "week", "month"]), st.integers(0, 40), st.integers(0, 40))
@LAW
def test_removal_changes_nothing_by_utc_day_and_coarser(engine, reader, steps, by, raw, hours):
    taken = history(steps)
    begin(engine, taken)
    before = ask(reader, by)
    remove(engine, START + raw * DAY, hours_before=START + hours * DAY)
    assert ask(reader, by) == before


@given(moves, st.integers(0, 40), st.sampled_from(["UTC", "Europe/Berlin", "America/Caracas"]), st.sampled_from(By))
@LAW
def test_removal_of_snapshots_changes_nothing_where_offsets_are_whole_hours(engine, reader, steps, raw, zone, by):
    taken = history([(min(forward, 10**12), micros) for forward, micros in steps])
    begin(engine, taken)
    now = taken[-1].taken_at
    before = ask(reader, by, zone, now=now)
    remove(engine, START + raw * DAY)
    assert ask(reader, by, zone, now=now) == before


@given(moves, st.integers(0, 40), st.integers(0, 40), st.sampled_from(ZONES), st.sampled_from(By))
@LAW
def test_after_a_removal_the_answer_is_the_same_or_refused(engine, reader, steps, raw, hours, zone, by):
    taken = history([(min(forward, 10**12), micros) for forward, micros in steps])
    begin(engine, taken)
    now = taken[-1].taken_at
    before = ask(reader, by, zone, now=now)
    remove(engine, START + raw * DAY, hours_before=START + min(raw, hours) * DAY)
    since = refusal(reader, by, zone, now)
    if since is not None:
        later = ask(reader, by, zone, now=now, since=since)
        assert figures(later) == [row for row in figures(before) if row[0] >= since]


def refusal(reader: sa.Engine, by: By, zone: str, now: datetime) -> datetime | None:
    """From when on the question is answered, as its refusal says; None when nothing later is, or it never began."""
    try:
        ask(reader, by, zone, now=now)
    except UsageError as refused:
        words = str(refused).split()
        if "--since" not in words:
            return None
        since = datetime.fromisoformat(words[words.index("--since") + 1])
        return since.astimezone(UTC) if since.tzinfo else query.begin(since.date(), ZoneInfo(zone))
    return datetime.min.replace(tzinfo=UTC)


# --- cases ------------------------------------------------------------------------------------------------------------


def test_a_gap_has_its_share_and_what_comes_after_the_last_snapshot_nothing(engine, reader):
    keep(engine, at(12, 100), at(84, 40))
    rows = ask(reader, "day", now=START + 120 * HOUR)
    assert [(row.used, row.gap) for row in rows] == [
        (10, False),
        (20, True),
        (20, True),
        (10, False),
        (None, True),
        (None, True),
    ]
    assert (rows[-1].topped_up, rows[-1].cost, rows[-1].share) == (None, None, None)
    assert rows[1].cost == Decimal("0.2")
    assert rows[1].share == Decimal("0.333333")


def test_nothing_used_at_all_has_no_share(engine, reader):
    keep(engine, at(0, 5), at(30, 5))
    assert [(row.used, row.share) for row in ask(reader, "day", now=START + 30 * HOUR)] == [(0, None), (0, None)]


def test_a_single_snapshot_is_a_bucket_without_use(engine, reader):
    keep(engine, at(5, 5))
    (row,) = ask(reader, "month", now=START + 6 * HOUR)
    assert (row.used, row.topped_up, row.snapshots, row.gap) == (0, 0, 1, False)


def test_an_organization_without_a_snapshot_has_no_rows(engine, reader):
    keep(engine)
    assert ask(reader, "day") == []
    assert ask(reader, "day", name="a") == []


def test_local_days_have_23_and_25_hours(engine, reader):
    berlin = "Europe/Berlin"
    keep(engine, Snapshot(datetime(2026, 3, 28, tzinfo=UTC), Decimal(0)), Snapshot(START + 6000 * HOUR, Decimal(0)))
    spring = ask(
        reader, "day", berlin, since=datetime(2026, 3, 29, 12, tzinfo=UTC), until=datetime(2026, 3, 29, 13, tzinfo=UTC)
    )
    autumn = ask(
        reader,
        "day",
        berlin,
        since=datetime(2026, 10, 25, 12, tzinfo=UTC),
        until=datetime(2026, 10, 25, 13, tzinfo=UTC),
        now=START + 6000 * HOUR,
    )
    assert [row.ends_at - row.starts_at for row in spring + autumn] == [23 * HOUR, 25 * HOUR]


def test_hours_that_occur_twice_stay_apart(engine, reader):
    night = datetime(2026, 10, 25, 0, tzinfo=UTC)  # 02:00 twice, at 0:00 and at 1:00 UTC
    keep(
        engine, Snapshot(night, Decimal(9)), Snapshot(night + HOUR, Decimal(8)), Snapshot(night + 2 * HOUR, Decimal(5))
    )
    rows = ask(reader, "hour", "Europe/Berlin", now=night + 2 * HOUR)
    local = [row.starts_at.astimezone(ZoneInfo("Europe/Berlin")).isoformat() for row in rows]
    assert local == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]
    assert [row.used for row in rows] == [1, 3, 0]


def test_a_day_that_a_zone_leaves_out_is_none(engine, reader):
    day = datetime(2011, 12, 29, 12, tzinfo=UTC)
    keep(engine, Snapshot(day, Decimal(48)), Snapshot(day + 2 * DAY, Decimal(0)))
    rows = ask(reader, "day", "Pacific/Apia", now=day + 2 * DAY)
    local = [f"{row.starts_at.astimezone(ZoneInfo('Pacific/Apia')):%d}" for row in rows]
    assert local == ["29", "31", "01"]
    assert [row.used for row in rows] == [22, 24, 2]


def test_weeks_begin_on_monday_and_months_on_the_first(engine, reader):
    keep(engine, at(0, 9), at(24 * 20, 5))
    weeks, months = ask(reader, "week"), ask(reader, "month")
    assert {row.starts_at.weekday() for row in weeks} == {0}
    assert [f"{row.starts_at:%m-%d}" for row in months] == ["03-01", "04-01"]


def test_a_period_is_widened_to_whole_buckets(engine, reader):
    keep(engine, at(1, 100), at(71, 30))
    whole = ask(reader, "day", now=START + 71 * HOUR)
    assert ask(reader, "day", since=START + 25 * HOUR, until=START + 26 * HOUR)[0].starts_at == whole[1].starts_at
    assert ask(reader, "day", since=START + 24 * HOUR, until=START + 48 * HOUR)[0].used == whole[1].used


def test_totals_of_a_part_are_of_that_part(engine, reader):
    keep(engine, at(1, 100), at(71, 30))
    (row,) = ask(reader, "day", since=START + 24 * HOUR, until=START + 48 * HOUR)
    assert row.share == 1


def test_two_organizations_of_one_name_and_one_no_longer_watched_are_told_apart(engine, reader):
    keep(engine, at(0, 10), at(1, 8))
    keep(engine, at(0, 10), at(1, 4), id_=2, name="b", watched=False)
    keep(engine, at(0, 10), at(1, 9), id_=3, name="a", base_url="https://proxy.example")
    rows = ask(reader, "day", now=START + HOUR)
    assert [(row.organization, row.vendor_id, row.used) for row in rows] == [
        ("a", "org-1", 2),
        ("a", "org-3", 1),
        ("b", "org-2", 6),
    ]
    assert [row.vendor_id for row in ask(reader, "day", name="a", now=START)] == ["org-1", "org-3"]
    assert [row.share for row in rows] == [Decimal(n).scaleb(-6) for n in (222222, 111111, 666667)]


def test_an_unknown_organization_names_the_nearest(engine, reader):
    keep(engine, at(0, 10), name="render-farm")
    with pytest.raises(UsageError, match="did you mean render-farm"):
        ask(reader, "day", name="renderfarm")


@pytest.mark.parametrize(
    ("by", "zone", "hours", "message"),
    [
        ("hour", "UTC", 3, "known from 2026-03-23 00:00Z on; of what is older only use by UTC day is kept"),
        ("hour", "UTC", 3, "--since 2026-03-23 or --by day --tz UTC works"),
        ("day", "Europe/Berlin", 3, "--since 2026-03-24 or --tz UTC works"),
        ("day", "Asia/Kolkata", 0, "only use by UTC hour is kept: --since 2026-03-26 or --tz UTC works"),
        ("hour", "Asia/Kolkata", 0, "or --tz UTC works"),
    ],
)
def test_what_is_no_longer_kept_so_finely_is_refused_with_what_works(engine, reader, by, zone, hours, message):
    keep(engine, *(at(n * 7, 1000 - n) for n in range(40)))
    remove(engine, START + 5 * DAY, hours_before=START + hours * DAY)
    with pytest.raises(UsageError) as refused:
        ask(reader, by, zone)
    assert message in str(refused.value)


# --- what digests ask -------------------------------------------------------------------------------------------------


def test_used_within_is_right_when_its_snapshots_were_removed(engine, reader):
    keep(engine, *(at(n, 1000 - 3 * n) for n in range(100)))
    period = {"since": START + 10 * HOUR, "until": START + 99 * HOUR}
    before = query.used_within(reader, [1], **period)
    assert before[1].used == 3 * 89
    remove(engine, START + 3 * DAY)
    assert query.used_within(reader, [1], **period) == before
    remove(engine, START + 3 * DAY, hours_before=START + 2 * DAY)
    assert query.used_within(reader, [1], **period)[1].used == 3 * 99  # from midnight on


def test_used_within_leaves_out_what_has_nothing_in_the_period(engine, reader):
    keep(engine, *(at(n, 1000 - 3 * n) for n in range(100)))
    remove(engine, START + 3 * DAY)
    assert query.used_within(reader, [1], since=START + 200 * HOUR, until=START + 300 * HOUR) == {}

"""Buckets of time zones, against every zone there is."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from monitor.proration import HOUR
from monitor.query.buckets import By, begin, borders

EVER = datetime(1970, 1, 1, tzinfo=UTC)
instants = st.integers(0, 70 * 366 * 86_400).map(lambda seconds: EVER + timedelta(seconds=seconds))
zones = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
lengths = st.integers(1, 100 * 3600).map(lambda seconds: timedelta(seconds=seconds))


@given(st.sampled_from(By), zones, instants, lengths)
@examples(100)
def test_buckets_cover_a_period_and_no_more(by, zone, since, length):
    ends = borders(by, zone, since, since + length)
    assert ends == sorted(set(ends))
    assert ends[0] <= since < ends[1]
    assert ends[-2] < since + length <= ends[-1]


@given(zones, instants, lengths)
@examples(100)
def test_an_hour_is_one_hour_of_one_offset(zone, since, length):
    for starts_at, ends_at in pairwise(borders(By.HOUR, zone, since, since + length)):
        first, last = (at.astimezone(zone) for at in (starts_at, ends_at - timedelta(microseconds=1)))
        assert (first.date(), first.hour, first.utcoffset()) == (last.date(), last.hour, last.utcoffset())
        assert ends_at - starts_at <= HOUR


@given(zones, instants, lengths)
@examples(100)
def test_a_day_begins_with_the_first_instant_of_its_date(zone, since, length):
    for starts_at in borders(By.DAY, zone, since, since + length)[1:]:
        before, first = (at.astimezone(zone).date() for at in (starts_at - timedelta(microseconds=1), starts_at))
        # A zone whose clocks go back over midnight has a moment of the new day before the rest of the old one.
        assert before < first or before == starts_at.astimezone(zone).date()


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00"),
        ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00:00+03:00"),  # midnight is skipped
        ("America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"),  # midnight comes twice
        ("Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00"),  # there was no such day
        ("Asia/Kathmandu", "2026-01-01", "2026-01-01T00:00:00+05:45"),
    ],
)
def test_days_begin_where_their_zone_says(zone, day, expected):
    assert begin(date.fromisoformat(day), ZoneInfo(zone)).astimezone(ZoneInfo(zone)).isoformat() == expected


def test_an_hour_cut_by_half_an_hour_of_daylight_saving_is_two():
    zone = ZoneInfo("Australia/Lord_Howe")
    since = datetime(2026, 4, 4, 14, 10, tzinfo=UTC)
    local = [at.astimezone(zone).isoformat() for at in borders(By.HOUR, zone, since, since + HOUR)]
    assert local == ["2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"]


def test_no_time_has_no_bucket():
    assert borders(By.DAY, ZoneInfo("UTC"), EVER, EVER) == []

"""A runway in words and in short, whatever its size, in the reader's time zone."""

from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import pytest
from figures import changed
from hypothesis import given
from hypothesis import strategies as st
from render_messages import AT, FACTS

from monitor.message import format_runway, render
from monitor.message.runway import describe, moment
from monitor.model import Facts, Notification, Reason, Rule, Severity, Subject

ZULU, BERLIN, TOKYO = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
HOUR = timedelta(hours=1)


def forecast(likely: float | None, low: float | None = None, high: float | None = None) -> Facts:
    low, high = (likely if figure is None else figure for figure in (low, high))
    return changed(FACTS, runway_likely=likely, runway_low=low, runway_high=high)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((74.4, 57.6, 96.0), "empty in about 3.1 days, Thursday evening (Europe/Berlin); 2.4 to 4.0 days"),
        ((74.4, None, None), "empty in about 3.1 days, Thursday evening (Europe/Berlin)"),
        ((31.0, 20.0, 50.4), "empty in about 31 hours, Tuesday night (Europe/Berlin); 20 hours to 2.1 days"),
        ((3.25, 2.0, 5.0), "empty in about 3.2 hours, Monday evening (Europe/Berlin); 2.0 to 5.0 hours"),
        ((0.75, 0.4, 1.5), "empty in about 45 minutes, Monday evening (Europe/Berlin); 24 minutes to 1.5 hours"),
        ((300.0, 220.0, 2000.0), "empty in about 12 days, Sunday 6 December (Europe/Berlin); 9.2 to more than 60 days"),
        ((1440.0, 900.0, inf), "more than 60 days"),
        ((0.0, 0.0, 0.0), "empty by now"),
        ((inf, inf, inf), "nothing is used"),
        ((None, None, None), ""),
    ],
)
def test_a_runway_is_said_as_exactly_as_anybody_needs(figures, words):
    assert describe(forecast(*figures), timezone=BERLIN) == words


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (19 * HOUR, "unknown; 19 more hours of history are needed"),
        (timedelta(hours=18, minutes=1), "unknown; 19 more hours of history are needed"),
        (timedelta(minutes=5), "unknown; 1 more hour of history is needed"),
    ],
)
def test_an_unknown_runway_says_how_much_history_is_missing(missing, words):
    assert describe(changed(forecast(None), runway_missing=missing), timezone=BERLIN) == words


@pytest.mark.parametrize(
    ("hour", "part"),
    [
        (5, "Wednesday night"),
        (6, "Thursday morning"),
        (12, "Thursday afternoon"),
        (18, "Thursday evening"),
        (22, "Thursday night"),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(hour, part):
    at = datetime(2026, 11, 26, hour, tzinfo=UTC)
    assert moment(changed(forecast(24.0), at=at - 24 * HOUR, taken_at=at - 24 * HOUR), timezone=ZULU) == part


def test_the_part_of_day_is_the_reader_s():
    assert [moment(forecast(74.4), timezone=zone) for zone in (ZULU, TOKYO)] == ["Thursday evening", "Thursday night"]


def test_a_change_of_the_clocks_is_seen():
    before = datetime(2026, 10, 24, 16, 30, tzinfo=UTC)  # 18:30 in Berlin, on the day before winter time
    assert moment(changed(forecast(24.0), at=before, taken_at=before), timezone=BERLIN) == "Sunday afternoon"


def test_an_old_forecast_is_counted_on_to_the_message_s_time():
    facts = changed(forecast(40.0, 30.0, 47.0), taken_at=AT - 9 * HOUR)
    assert describe(facts, timezone=BERLIN) == "empty in about 31 hours, Tuesday night (Europe/Berlin); 21 to 38 hours"


def test_every_message_of_an_organization_has_the_runway():
    for rule in (Rule.CREDITS, Rule.SPEND, Rule.STALE, Rule.ACCESS):
        one = Notification("id", 1, Subject.ORGANIZATION, rule, Reason.OPENED, Severity.WARNING, forecast(74.4))
        told = render(one, timezone=BERLIN)
        assert "\nRunway: empty in about 3.1 days" in told.text
        assert "- **Runway**: empty in about 3.1 days" in told.markdown
        assert ">Runway</td>" in told.html


@pytest.mark.parametrize(
    ("figures", "short"),
    [
        ((74.4, 57.6, 96.0), "3.1 d (2.4\u20134.0)"),
        ((31.0, 20.0, 50.4), "31 h (20 h\u20132.1 d)"),
        ((480.0, 300.0, 5000.0), "20 d (12\u201360+)"),
        ((0.5, 0.5, 0.5), "30 min"),
        ((74.4, None, None), "3.1 d"),
        ((1440.0, 800.0, 5000.0), "> 60 d"),
        ((inf, inf, inf), "nothing used"),
        ((None, None, None), "unknown"),
    ],
)
def test_a_runway_in_a_table_is_short(figures, short):
    assert format_runway(*figures) == short


@given(st.lists(st.floats(0, allow_nan=False), min_size=3, max_size=3).map(sorted))
def test_no_runway_is_too_odd_to_be_said(figures):
    low, likely, high = figures
    facts = forecast(likely, low, high)
    for words in (describe(facts, timezone=BERLIN), format_runway(likely, low, high)):
        assert words
        assert not any(odd in words for odd in ("inf", "nan", "None", "e+"))

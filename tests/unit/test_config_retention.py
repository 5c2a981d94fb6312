"""How long balances are kept: ages as people write them, and against what still looks back."""

from datetime import timedelta
from pathlib import Path

import pytest
from given import Given, in_file


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


def test_by_default_balances_are_kept_for_400_days_hours_for_five_years_days_for_ever(given):
    kept = given.load("").retention
    assert (kept.raw, kept.hourly, kept.daily) == (timedelta(days=400), timedelta(days=1825), None)


@pytest.mark.parametrize("word", ["forever", "off"])
def test_what_is_kept_for_ever(given, word):
    text = f"[retention]\nraw = '{word}'\nhourly = '{word}'\ndaily = '{word}'"
    kept = given.load(text).retention
    assert (kept.raw, kept.hourly, kept.daily) == (None, None, None)
    assert given.sources(text)["retention.raw"][0] == "forever"


def test_years_are_of_365_days(given):
    text = "[retention]\nraw = '1y'\nhourly = '1y35d'\ndaily = '20y'"
    kept = given.load(text).retention
    assert [age and age.days for age in (kept.raw, kept.hourly, kept.daily)] == [365, 400, 7300]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raw = '23h'", ":2: retention.raw: must be at least 1d"),
        ("hourly = '399d'", ":2: retention.hourly: must be at least retention.raw, from which it is made"),
        ("daily = '4y'", ":2: retention.daily: must be at least retention.hourly, from which it is made"),
        ("raw = 'forever'", ": retention.hourly: must be at least retention.raw, from which it is made"),
        ("raw = '101y'", ':2: retention.raw: expected more than nothing and at most a hundred years, or "forever"'),
        ("raw = 400", ':2: retention.raw: has no unit; expected a length of time such as "90s" or "5m"'),
        (
            "raw = '2d'\n[rules]\nspend = '500/3d'",
            ":2: retention.raw: must be at least 3d, the window of a spend rule",
        ),
        ("raw = '2d'\n[rules]\nstale_after = '3d'", ":2: retention.raw: must be at least 3d, as stale_after is"),
        (
            "raw = '7d'\n[channels.ops]\nurl = 'json://x'\ndigest = 'weekly mon 08:00'",
            ":2: retention.raw: must be at least 8d, for a weekly digest tells what was used since the last one",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, text, told):
    assert told in in_file(tmp_path, f"[retention]\n{text}") or f":1{told}" in in_file(tmp_path, f"[retention]\n{text}")


def test_an_organizations_own_rules_count_too(tmp_path):
    text = "[retention]\nraw = '2d'\n[accounts.a]\n[organizations.o]\nid = 'x'\nrules.spend = '1/5d'"
    assert in_file(tmp_path, text) == [":2: retention.raw: must be at least 5d, the window of a spend rule"]

"""The stored figures of a notification: an older standby delivers what a newer leader wrote, and the reverse."""

import json
import math
import sqlite3
from dataclasses import asdict, field, make_dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from render_messages import SAMPLES
from upgraded import SCHEMA, known

from monitor.message import render
from monitor.model import DeliveryState, Facts, Notification, Reason, Rule, Runway, Severity, Snapshot, Subject, Unknown
from monitor.store.facts import dump_facts, flatten, load_facts

KINDS = {
    "text": str,
    "decimal": Decimal,
    "instant": datetime,
    "duration": timedelta,
    "number": float,
    "integer": int,
    "flag": bool,
    "severity": Severity,
}
OLD = known("schema")
# Fields and words that came after 0.1.0.  Its programs leave out such a field of what they say, and no delivery that
# they look for has such a state: they look for `pending` alone.
ADDED_FIELDS = {"returns", "calm", "quiet_for"}
ADDED_STATES = {"unknown", "folded"}


def old_reader() -> TypeAdapter[Any]:
    """What 0.1.0 reads the figures with."""
    optional = [name for name in OLD["facts"] if name not in OLD["required"]]
    fields: list[Any] = [(name, KINDS[OLD["facts"][name]]) for name in OLD["required"]]
    for name in optional:
        kind = KINDS[OLD["facts"][name]]
        fields.append((name, bool, field(default=False)) if kind is bool else (name, kind | None, field(default=None)))
    return TypeAdapter(make_dataclass("OldFacts", fields, frozen=True, slots=True, kw_only=True))


READER = old_reader()
instants = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis
amounts = st.decimals(Decimal(-(10**11)), Decimal(10**11), places=6)
durations = st.timedeltas(timedelta(0), timedelta(days=400))
hours = st.floats(0, 1e6) | st.just(math.inf)
balances = st.builds(Snapshot, instants, amounts)
texts = st.text(st.characters(exclude_categories=["Cs"]))
facts = st.builds(
    Facts,
    name=texts,
    account=texts,
    at=instants,
    vendor_id=st.none() | texts,
    title=st.none() | texts,
    snapshot=st.none() | balances,
    previous=st.none() | balances,
    day_ago=st.none() | balances,
    top_up=st.none() | balances,
    topped_up=st.none() | amounts,
    level=st.none() | amounts,
    clear=st.none() | amounts,
    runway=st.none() | st.builds(Runway, hours, hours, hours) | st.builds(Unknown, durations),
    spent=st.none() | amounts,
    window=st.none() | durations,
    opened_at=st.none() | instants,
    previous_severity=st.none() | st.sampled_from(Severity),
    cause=st.none() | texts,
    organizations=st.none() | st.integers(0, 10**6),
    stale_after=st.none() | durations,
    no_credits=st.booleans(),
    reconfigured=st.booleans(),
)


@pytest.fixture(scope="module", autouse=True)
def _beside_the_old_version(migrated_sqlite: Path) -> None:
    """Its programs need to understand nothing once the schema ends them."""
    with sqlite3.connect(migrated_sqlite) as connection:
        ((oldest,),) = connection.execute("SELECT oldest FROM compatibility")
    connection.close()
    if oldest > SCHEMA:
        pytest.skip("programs of 0.1.0 do not work with this schema any more")


def read_by_both(figures: Facts) -> None:
    text = dump_facts(figures)
    assert set(json.loads(text)) <= set(OLD["facts"]) | ADDED_FIELDS
    then, now = asdict(READER.validate_json(text)), asdict(flatten(figures))
    assert then == {name: now[name] for name in OLD["facts"]}


@given(facts)
def test_an_older_standby_reads_what_a_newer_leader_wrote(figures):
    read_by_both(figures)
    assert load_facts(dump_facts(figures)) == figures


@pytest.mark.parametrize("figures", [sample[4] for sample in SAMPLES])
def test_an_older_standby_reads_the_figures_of_every_kind_of_message(figures):
    read_by_both(figures)


@given(facts)
def test_a_newer_standby_reads_what_an_older_leader_wrote(figures):
    flat = asdict(flatten(figures))
    old = READER.validate_python({name: flat[name] for name in OLD["facts"]})
    read = load_facts(READER.dump_json(old, exclude_defaults=True).decode())
    # 0.1.0 stored an infinite number of hours as null.
    assert read == (replace(figures, runway=None) if is_endless(figures.runway) else figures)


def is_endless(runway: Runway | Unknown | None) -> bool:
    return isinstance(runway, Runway) and math.inf in (runway.low, runway.likely, runway.high)


def test_a_use_of_nothing_is_stored_as_such_and_said_in_its_own_words():
    figures = Facts(
        name="a", account="b", at=datetime(2026, 1, 1, tzinfo=UTC), runway=Runway(math.inf, math.inf, math.inf)
    )
    resolved = Notification("n", 1, Subject.ORGANIZATION, Rule.RUNWAY, Reason.RESOLVED, Severity.WARNING, figures)
    stored = replace(resolved, facts=load_facts(dump_facts(figures)))
    said = render(stored, timezone=ZoneInfo("UTC"))
    assert said == render(resolved, timezone=ZoneInfo("UTC"))
    assert "nothing is used" in said.text


def test_every_word_beside_the_figures_is_one_that_an_older_standby_knows():
    words = {
        "rule": Rule,
        "reason": Reason,
        "subject": Subject,
        "severity": [severity.label for severity in Severity],
        "state": DeliveryState,
    }
    new = {name: {str(word) for word in values} - set(OLD["words"][name]) for name, values in words.items()}
    assert new.pop("state") <= ADDED_STATES
    assert {name: words for name, words in new.items() if words} == {}

"""Whatever a stranger sends or a person types: an answer, or an error of our tree; never anything else."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from monitor import durations
from monitor.backtest import read_snapshots
from monitor.cli.options import Duration, When, in_zone
from monitor.config import fields
from monitor.errors import FetchError, UsageError
from monitor.model import FailureKind
from monitor.providers.answers import read_credits, read_date, read_error, read_organizations
from monitor.providers.http import Answer

SECRET = "sk-canarycanarycanarycanary"
quick = examples(50)

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals().map(str),
    st.from_regex(r"-?[0-9]{1,5}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,6})?", fullmatch=True),
)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=30) | st.just(SECRET)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
promised = st.fixed_dictionaries(
    {},
    optional={
        "credits": values,
        "organizations": values
        | st.lists(st.fixed_dictionaries({}, optional={"id": leaves, "name": leaves, "is_default": leaves})),
        "id": leaves,
        "name": leaves,
        "message": values,
        "errors": values,
    },
)


def _body(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


bodies = st.one_of(
    st.binary(max_size=300),
    promised.map(_body),
    values.map(_body),
    numbers.map(lambda number: f'{{"credits": {number}}}'.encode()),
    st.tuples(promised.map(_body), st.integers(0, 300)).map(lambda cut: cut[0][: cut[1]]),
)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type"]),
    st.text(max_size=40)
    | st.sampled_from(["Tue, 24 Nov 2026 12:00:00 GMT", "-1", "99999999999", "Mon, 99 Foo 0000 99:99:99 +9999"]),
)


# --- the vendor's answers ---------------------------------------------------------------------------------------------


@quick
@given(bodies, headers)
@example(b'{"credits": 1e999999999}', {})
@example(b'{"credits": -0}', {})
@example(b'{"credits": 999999999999.9999999}', {})
@example(b"[" * 100_000, {})
@example(b'{"credits": ' + b"9" * 50_000 + b"}", {})
def test_any_answer_is_a_balance_or_an_error_of_ours(body: bytes, head: dict[str, str]) -> None:
    with suppress(FetchError):
        balance = read_credits(Answer(200, head, body))
        assert isinstance(balance, Decimal)
        assert balance.is_finite()
        assert abs(balance) < 10**12
        assert balance == balance.quantize(Decimal("0.000001"))


@quick
@given(bodies, headers)
def test_any_list_is_organizations_or_an_error_of_ours(body: bytes, head: dict[str, str]) -> None:
    with suppress(FetchError):
        listing = read_organizations(Answer(200, head, body), secret=SECRET)
        assert all(line.isprintable() and SECRET not in line for line in listing.unusable)
        for organization in listing.organizations:
            assert organization.id.isascii()
            assert organization.id.isprintable()
            assert organization.name is None or organization.name.isprintable()
            assert SECRET not in f"{organization.id}{organization.name}"


@quick
@given(st.integers(100, 999), bodies, headers)
def test_any_refusal_is_one_line_of_ours_without_the_key(status: int, body: bytes, head: dict[str, str]) -> None:
    error = read_error(Answer(status, head, body), secret=SECRET)
    assert error.kind in FailureKind
    assert str(error).isprintable()
    assert len(str(error)) < 400
    assert SECRET not in f"{error}{error.vendor_error_id}"


@given(st.text())
@example("Tue, 24 Nov 2026 12:00:00 -0000")
@example("Sat, 31 Dec 9999 23:59:59 -9999")
def test_any_date_is_an_instant_or_none(text: str) -> None:
    date = read_date(text)
    assert date is None or date.utcoffset() is not None


# --- what people type -------------------------------------------------------------------------------------------------


typed = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[0-9]{1,7}[smhdw]", fullmatch=True),
    st.datetimes().map(str),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{0,15}(Z|[+-][0-9:]{2,9})?)?", fullmatch=True),
)


@quick
@given(typed)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example("٣d")
def test_any_instant_is_taken_or_refused(text: str) -> None:
    with suppress(click.BadParameter):
        at = in_zone(When().convert(text, None, None), ZoneInfo("Europe/Berlin"))
        assert at is not None
        assert at.tzinfo is UTC


@quick
@given(typed)
@example("٣d")
@example("999999w")
def test_any_length_of_time_is_taken_or_refused(text: str) -> None:
    with suppress(click.BadParameter):
        assert Duration().convert(text, None, None) > timedelta(0)


READERS = (
    *(durations.parse, fields.duration_or_off, fields.text, fields.names, fields.checks, fields.generation),
    *(fields.severity, fields.zone, fields.credits_level, fields.hours, fields.levels, fields.rate_limit),
    *(fields.base_url, fields.proxy, fields.listen, fields.hosts, fields.price, fields.age, fields.database_url),
    *(fields.level, fields.spend, fields.reminders, fields.gaps, fields.quiet_hours, fields.digest, fields.yes_or_no),
)
MADE = (
    "22:00-07:00 {}",
    "daily 08:00 {}",
    "weekly {} 08:00",
    "{}/10s",
    "500/{}",
    "http://{}",
    "https://[{}]/",
    "postgresql://{}",
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@quick
@given(
    values | typed | st.tuples(st.sampled_from(MADE), st.text(max_size=12)).map(lambda made: made[0].format(made[1]))
)
@example("٣d")
@example("1" * 5000 + "d")
@example("9" * 5000)
@example(Decimal("sNaN"))
@example(float("nan"))
@example("http://127.0.0.1:99999999999")
@example("http://a\u2100b/")
def test_any_value_of_a_setting_is_taken_or_refused_as_a_mistake(read: object, value: object) -> None:
    assert callable(read)
    with suppress(ValueError):
        read(value)


@given(st.text())
@example("http://[::1%lo]/")
def test_a_base_url_that_is_taken_is_plain_or_not(text: str) -> None:
    with suppress(ValueError):
        assert fields.is_open_http(fields.base_url(text)) in {True, False}


# --- files ------------------------------------------------------------------------------------------------------------


cells = st.one_of(
    st.text(max_size=20),
    st.decimals().map(str),
    st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
    st.sampled_from(["", "1e400", "-0", "NaN", "0001-01-01T00:00:00+23:59", "2026-11-24T12:00:00Z", '"', "\0", "=1+1"]),
)
rows = st.lists(cells, max_size=4).map(",".join)
files = st.one_of(
    st.binary(max_size=200),
    st.lists(rows, max_size=6).map(
        lambda lines: "\n".join(["taken_at,credits", *lines]).encode("utf-8", "surrogatepass")
    ),
)


@quick
@given(files)
@example(b"taken_at,credits\n" + b'"' + b"x" * 200_000)
@example(b"taken_at,credits\n2026-11-24T12:00:00Z,\xd9\xa3\n")
def test_any_csv_file_is_snapshots_or_a_mistake(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "balances.csv"
    path.write_bytes(content)
    snapshots = []
    with suppress(UsageError):
        snapshots = read_snapshots(path)
    for snapshot in snapshots:
        assert snapshot.taken_at.tzinfo is UTC
        assert snapshot.taken_at <= datetime.max.replace(tzinfo=UTC)
        assert abs(snapshot.credits) < 10**12

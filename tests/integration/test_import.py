"""History from elsewhere: every mistake is found before anything is written, and what goes in adds up exactly."""

import csv
import io
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from broken import broken
from command import DEAD, FILE, Answer, Shell
from filled import HOUR, NOON, fill, organization
from given import HOME
from hypothesis import given
from hypothesis import strategies as st
from video import days, expected, remove_all

from monitor.config import load
from monitor.errors import DatabaseError
from monitor.importer import load as importer
from monitor.importer.csv import Row, read_rows
from monitor.importer.load import Problems
from monitor.model import Rules, Snapshot
from monitor.poll.forecast_cache import ForecastCache
from monitor.store.engines import open_reader, open_writer, transaction
from monitor.store.organizations import current_rows, load_usage, organization_rows, save_usage
from monitor.store.pruning import Cutoffs
from monitor.store.tables import balance_days, organizations, snapshots
from monitor.store.writer import Store

HEAD = "organization,taken_at,credits\n"
VIDEO = 2


@pytest.fixture
def filled(shell, engine, database_url) -> Shell:
    """A database with a small history, and a file that names it; no key, no channel."""
    fill(engine)
    shell.write(FILE, url=database_url, vendor=DEAD)
    return shell


def imports(shell: Shell, text: str | bytes, *more: str) -> Answer:
    path = shell.home / "h.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return shell("db", "import", str(path), *more)


def image(engine: sa.Engine) -> list[Any]:
    with transaction(engine) as tx:
        return [tx.execute(sa.select(table)).all() for table in (snapshots, balance_days, organizations)]


def test_balances_find_their_places_and_are_skipped_the_second_time(filled, engine):
    text = HEAD + "video,2026-11-20T10:00:00Z,50\nvideo,2026-11-20T09:00:00+01:00,90.5\norg-1,2026-11-23T11:30:00,9\n"
    first, second = imports(filled, text), imports(filled, text)
    assert (first.code, first.out.split(": ", 1)[1]) == (
        0,
        "3 balances of 2 organizations imported, 0 there already\n",
    )
    assert first.err == second.err == "taken as UTC: 1 instant without an offset\n"
    assert second.out.endswith(": 0 balances of 0 organizations imported, 3 there already\n")
    rows = json.loads(filled("history", "video", "--format", "json").out)
    assert [(row["taken_at"], row["credits"]) for row in rows] == [
        ("2026-11-20T08:00:00Z", 90.5),
        ("2026-11-20T10:00:00Z", 50),
    ]
    with transaction(engine) as tx:
        assert days(tx) == expected(tx)


def test_no_current_row_and_no_incident_changes(filled, engine):
    before = filled("status", "--format", "json").out
    assert imports(filled, HEAD + "render-farm,2026-11-23T13:00:00Z,1\nvideo,2026-11-23T13:00:00Z,1\n").code == 0
    after = filled("status", "--format", "json").out
    keys = ("organization", "credits", "taken_at", "state", "open")
    assert [[row[key] for key in keys] for row in json.loads(after)] == [
        [row[key] for key in keys] for row in json.loads(before)
    ]


def test_what_history_exports_another_database_takes(filled, engine, database_url, tmp_path):
    exported = filled("history", "--format", "csv").out
    other = f"sqlite:///{tmp_path}/other.db"
    filled.write(FILE + "[accounts.lab]\n", url=other, vendor="https://api.stability.ai")
    assert imports(filled, exported).code == 0
    again = filled("history", "--format", "csv").out
    same = [
        [{k: row[k] for k in ("id", "taken_at", "credits")} for row in csv.DictReader(io.StringIO(text))]
        for text in (exported, again)
    ]
    assert sorted(same[0], key=str) == sorted(same[1], key=str)
    engine_of_other = open_writer(other)
    with transaction(engine_of_other) as tx:
        rows = {row.vendor_id: (row.name, row.account, row.watched) for row in organization_rows(tx)}
    engine_of_other.dispose()
    # "old" is not in the file, and of an account that does not watch all
    assert rows == {"org-1": ("render-farm", "studio", True), "org-3": ("old", "studio", False)}


def test_one_name_for_all(filled):
    done = imports(filled, "taken_at,credits,id\n2026-11-20T10:00:00Z,50,whatever\n", "--organization", "video")
    assert (done.code, "1 balance of 1 organization" in done.out) == (0, True)


def test_standard_input(filled, monkeypatch):
    text = io.TextIOWrapper(
        io.BytesIO(("\ufeff" + HEAD + "video,2026-11-20T10:00:00Z,50\r\n").encode()), encoding="ascii"
    )
    monkeypatch.setattr(sys, "stdin", text)
    done = filled("db", "import", "-")
    assert (done.code, done.out) == (0, "standard input: 1 balance of 1 organization imported, 0 there already\n")


def test_a_mistake_in_standard_input_is_told_with_its_line(filled, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((HEAD + "video,soon,50\n").encode())))
    done = filled("db", "import", "-")
    assert (done.code, done.err.startswith("standard input:2: taken_at: ")) == (64, True), done


SOON = "2999-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: there is no column taken_at in the first line"),
        ("taken_at,credits\n", "1: there is no column organization in the first line; it has taken_at, credits"),
        (
            HEAD + "vidoe,2026-11-20T10:00:00Z,5",
            "2: organization: vidoe is neither in the database nor configured; did you mean video?",
        ),
        (HEAD + ",2026-11-20T10:00:00Z,5", "2: organization: is missing"),
        (HEAD + "video,2026-11-20T10:00:00Z,", "2: credits: is missing"),
        (
            HEAD + "video,2026-11-20T10:00:00Z,1,234.75",
            "2: has 4 cells and the first line has 3; write a decimal point and nothing between thousands",
        ),
        (HEAD + 'video,2026-11-20T10:00:00Z,"1,23"', "2: credits: '1,23' is not a number such as 1234.5; write a "),
        (HEAD + "video,2026-11-20T10:00:00Z", "2: has 2 cells and the first line has 3"),
        (HEAD + "video;2026-11-20T10:00:00Z;5", "2: between cells there are semicolons; write commas"),
        (
            "organization;taken_at;credits\nvideo;2026-11-20T10:00:00Z;5",
            "1: there is no column taken_at in the first line; it has organization;taken_at;credits; between cells ",
        ),
        (
            HEAD + 'video,"2026-11-20T10:00:00Z,5\nvideo,2026-11-20T11:00:00Z,6\nvideo,2026-11-20T12:00:00Z",7',
            '2: a quote (") is opened and not closed in this line; close it, and write a balance on one line',
        ),
        (HEAD + "video,2026-11-20T10:00:00Z,5\n" + HEAD, "3: is the first line again; remove it"),
        (HEAD + "video,2026-11-20T10:00:00Z,1e12", "2: credits: '1e12' is too much to be a balance"),
        (
            HEAD + "video,2026-11-20T10:00:00Z,999999999999.9999999",
            "2: credits: '999999999999.9999999' is too much to be a balance",
        ),
        (HEAD + f"video,{SOON},5", "2: taken_at: lies in the future"),
        (HEAD + "video,0001-01-01T00:00:00Z,5", "2: taken_at: lies before the year 2000"),
        (HEAD + "video,1970-01-01T00:00:00Z,5", "2: taken_at: lies before the year 2000"),
        ("taken_at,credits,organization,credits\n", "1: there are two columns credits in the first line"),
        (HEAD + "render-farm,2026-11-23T12:00:00.123456Z,5", "2: credits: of this instant 148.200001 is recorded"),
        (
            HEAD + "video,2026-11-20T10:00:00Z,5\n\nvideo,2026-11-20T11:00:00+01:00,6",
            "4: credits: line 2 has another balance of that instant",
        ),
        (
            "taken_at,credits,organization,id,account\n2026-11-20,5,video,org-77,nobody",
            "2: organization: video is neither",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_nothing_is_written(filled, engine, text, message):
    before = image(engine)
    done = imports(filled, text + "\n" if text else "")
    assert done.code == 64
    assert done.err.startswith(f"{filled.home / 'h.csv'}:{message}")
    assert done.err.endswith("\nnothing was imported\n")
    assert image(engine) == before


def test_all_mistakes_are_told_up_to_twenty(filled, engine):
    before = image(engine)
    rows = ["video,2026-11-20T10:00:00Z,5", *(f"video,then,{n}" for n in range(5000)), "video,2026-11-20T10:00:00Z,6"]
    done = imports(filled, HEAD + "\n".join(rows))
    lines = done.err.splitlines()
    assert [int(line.split(":")[1]) for line in lines[:-2]] == list(range(3, 23))
    assert lines[-2:] == ["and 4,981 more", "nothing was imported"]
    assert image(engine) == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"taken_at,credits\n\xff"])
def test_what_is_no_text(filled, content):
    line = content.count(b"\n") + 1
    done = imports(filled, content, "--organization", "video")
    assert (
        done.err == f"{filled.home / 'h.csv'}:{line}: is not UTF-8 text; save the file as CSV in UTF-8\n"
        "nothing was imported\n"
    )


def test_names_that_two_organizations_share_need_more_columns(filled, engine):
    with transaction(engine) as tx:
        tx.execute(organizations.insert(), organization(9, "video", base_url="https://other.example", account="lab"))
    row = "2026-11-20T10:00:00Z,5,video"
    assert (
        "video is the name of 2; add the columns id and account"
        in imports(filled, f"taken_at,credits,organization\n{row}").err
    )
    assert imports(filled, f"taken_at,credits,organization,id,account\n{row},org-9,lab").code == 0


def test_an_organization_that_is_configured_without_its_id_has_to_be_found_first(filled):
    filled.write(
        FILE + "[organizations.mine]\naccount = 'studio'\n",
        url=load(filled.home / "config.toml", HOME).database.url,
        vendor=DEAD,
    )
    assert (
        "the vendor's id of mine is not known; set organizations.mine.id"
        in imports(filled, HEAD + "mine,2026-11-20,5").err
    )


def test_what_is_older_than_retention_has_left_is_refused_saying_why(filled, engine):
    with transaction(engine) as tx:
        remove_all(tx, Cutoffs(NOON - 12 * HOUR, None, None))
    before = image(engine)
    text = HEAD + "render-farm,2026-11-22T10:00:00Z,5\nrender-farm,2026-11-23T11:30:00Z,200\n"
    done = imports(filled, text)
    assert done.code == 64
    assert ":2: taken_at: render-farm is kept since 2026-11-23T01:00:00Z, and what was used" in done.err
    assert image(engine) == before
    assert imports(filled, HEAD + "render-farm,2026-11-23T11:30:00Z,200\n").code == 0


def test_a_random_history_in_random_parts_adds_up(filled, engine, monkeypatch):
    monkeypatch.setattr("monitor.importer.load.CHUNK", 7)
    chance = random.Random(4)
    points = {NOON - timedelta(minutes=chance.randint(0, 90_000)): chance.randint(0, 10**9) for _ in range(120)}
    listed = [f"video,{at.isoformat()},{Decimal(amount).scaleb(-6):f}\n" for at, amount in points.items()]
    for start, end in ((0, 50), (30, 90), (60, 120), (0, 120)):
        part = listed[start:end]
        chance.shuffle(part)
        assert imports(filled, HEAD + "".join(part)).code == 0
        with transaction(engine) as tx:
            assert days(tx) == expected(tx)
    with transaction(engine) as tx:
        newest = tx.execute(sa.select(organizations.c.newest_at).where(organizations.c.id == VIDEO)).scalar_one()
    assert newest == max(points)


def test_broken_off_at_any_statement_nothing_of_it_is_there(filled, engine, database_url, monkeypatch):
    monkeypatch.setattr(importer, "CHUNK", 2)
    settings = load(filled.home / "config.toml", HOME)
    reader = open_reader(database_url)
    text = HEAD + "".join(f"video,2026-11-{n:02}T10:00:00Z,{n}\n" for n in range(1, 6)) + "render-farm,2026-11-01,5\n"
    prepared = importer.prepare(text.splitlines(), "x", settings, reader, organization=None, now=NOON)
    opened, before = Store(database_url), image(engine)
    for at in range(1, 200):
        with broken(opened.engine, at) as here:
            try:
                importer.insert(opened, settings, prepared, lambda _: None)
            except DatabaseError:
                assert image(engine) == before
        if here.seen < at:
            break
    assert at > 20
    assert image(engine) != before
    opened.close()
    reader.dispose()


def test_the_next_check_forecasts_with_the_history(filled, engine):
    with transaction(engine) as tx:
        for id_ in (1, 3):
            save_usage(tx, id_, "{}", NOON)
    rows = [f"video,{(NOON - n * HOUR).isoformat()},{5000 + 10 * n}\n" for n in range(24 * 14)]
    more = ["old,2026-11-21T10:00:00Z,5\n", "render-farm,2026-10-01T10:00:00Z,5\n"]
    assert imports(filled, HEAD + "".join(rows + more)).code == 0
    with transaction(engine) as tx:
        video = current_rows(tx, [VIDEO])[VIDEO]
        estimates = ForecastCache().after(tx, video, Snapshot(NOON + HOUR, Decimal(4990)), Rules())
        assert estimates.estimator is None  # no rule asks
        rules = load(filled.home / "config.toml", HOME | {"CREDIT_MONITOR_RULES__RUNWAY__WARNING": "7d"}).rules
        estimates = ForecastCache().after(tx, video, Snapshot(NOON + HOUR, Decimal(4990)), rules)
        assert estimates.estimator.runway().likely == pytest.approx(499, rel=0.2)
        assert load_usage(tx, 3) == (None, None)  # estimated anew, with what came
        assert load_usage(tx, 1) == ("{}", NOON)  # what came is too old to count


@given(st.text(alphabet=st.sampled_from('taken_at,credits\n\r"2026-11:T+.eZ\x00é')), st.booleans())
def test_any_text_gives_rows_or_mistakes(text, naive):
    head = "taken_at,credits\n"
    for row in read_rows(io.StringIO(head + text, newline=""), naive_is_utc=naive):
        assert row.line >= 2


balances = st.lists(
    st.tuples(
        st.sampled_from(["video", "a, b", 'the "farm"', "-5", "Ü"]),
        st.integers(10**9, 10**9 * 9 // 5).map(lambda at: datetime.fromtimestamp(at, UTC)),
        st.decimals(-(10**11), 10**11, places=6),
    ),
    max_size=5,
)


def written(rows: Any, quoting: Any, end: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)
    writer.writerow(HEAD.strip().split(","))
    writer.writerows((name, at.isoformat(), f"{credits_:f}") for name, at, credits_ in rows)
    return text.getvalue()


def found_in(text: str) -> list[Any] | None:
    """The balances of a CSV file; None when anything in it is refused."""
    rows = list(read_rows(io.StringIO(text, newline="")))
    if not all(isinstance(row, Row) for row in rows):
        return None
    return [(row.names[0], row.taken_at, row.credits) for row in rows]


styles = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(balances, styles, ends)
def test_what_is_read_is_what_was_written(rows, quoting, end):
    assert found_in(written(rows, quoting, end)) == rows


@given(balances, styles, ends, st.randoms(), st.sampled_from(["", *'",;\n\r\t |']))
def test_a_sign_too_few_or_too_many_between_cells_changes_no_balance(rows, quoting, end, chance, sign):
    """It is refused, here or for an organization that nobody knows; or it means the same."""
    text = written(rows, quoting, end)
    places = [at for at, character in enumerate(text) if sign or character in '",\n\r']
    at = chance.choice(places)
    found = found_in(text[:at] + sign + text[at + (not sign) :])
    if found is not None and {name for name, _, _ in found} <= {name for name, _, _ in rows}:
        assert found == rows


def test_a_field_without_end_is_one_mistake_and_the_rest_is_read():
    text = "taken_at,credits\n2026-11-20,1\n" + "9" * 200_000 + ",1\n2026-11-21,2\n"
    rows = list(read_rows(io.StringIO(text), naive_is_utc=True))
    assert [type(row).__name__ for row in rows] == ["Row", "Problem", "Row"]


def test_problems_stay_few_in_memory():
    many = Problems()
    for line in range(100_000, 0, -1):
        many.add(line, "x")
    assert len(many.first) <= 2001
    with pytest.raises(Exception, match=r"^f:1: x\nf:2: x\n(.*\n){18}and 99,980 more\nnothing was imported$"):
        many.raise_if_any("f")

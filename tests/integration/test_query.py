import tracemalloc
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from filled import HOUR, NOON, fill, organization, snapshot

from monitor import query
from monitor.errors import DatabaseError, SchemaOutdated, UsageError
from monitor.model import FailureKind, Rule, Severity, Subject
from monitor.store import tables
from monitor.store.engines import open_reader, open_writer, transaction


@pytest.fixture
def filled(engine, reader):
    """A reader of a database with the small history."""
    fill(engine)
    return reader


def test_status_gives_the_current_row_and_what_is_open(filled):
    render_farm, video = query.status(filled)
    assert (render_farm.name, render_farm.credits, render_farm.taken_at) == ("render-farm", Decimal("148.200001"), NOON)
    assert (render_farm.change, render_farm.state) == (Decimal("-101.799999"), "critical")
    assert [(incident.rule, incident.severity) for incident in render_farm.incidents] == [
        (Rule.CREDITS, Severity.CRITICAL),
        (Rule.STALE, Severity.WARNING),
    ]
    assert (video.credits, video.taken_at, video.change, video.state) == (None, None, None, "unknown")
    assert (video.failure, video.failure_message) == (FailureKind.UNAVAILABLE, "HTTP 503")
    assert video.failing_since == NOON - HOUR


def test_status_of_a_removed_organization_is_told_on_request(filled):
    assert [row.name for row in query.status(filled, watched_only=False)] == ["old", "render-farm", "video"]


def test_a_snapshot_followed_by_a_failed_check_is_unknown_and_keeps_its_figure(engine, filled):
    change = sa.update(tables.organizations).where(tables.organizations.c.id == 2)
    with transaction(engine) as connection:
        connection.execute(change.values(credits=Decimal(5), taken_at=NOON))
    (video,) = [row for row in query.status(filled) if row.name == "video"]
    assert (video.state, video.credits) == ("unknown", Decimal(5))
    with transaction(engine) as connection:
        connection.execute(change.values(failure=None))
    (video,) = [row for row in query.status(filled) if row.name == "video"]
    assert (video.state, video.change) == ("ok", None)


def test_an_account_s_own_incidents_are_apart(filled):
    (row,) = query.account_incidents(filled)
    assert (row.account, row.incident.rule, row.incident.opened_at) == ("lab", Rule.CREDENTIAL, NOON)


def test_a_channel_in_trouble_is_told_with_its_queue(filled):
    (mail,) = query.channels(filled, since=NOON)
    assert mail == query.ChannelQueue("mail", 1, 1, 1, NOON, "refused")


def test_what_was_given_up_long_ago_is_no_news(filled):
    (mail,) = query.channels(filled, since=NOON + 2 * HOUR)
    assert (mail.pending, mail.given_up, mail.last_error) == (1, 0, "no answer")


def test_organizations_are_all_that_were_ever_watched(filled):
    rows = [(row.name, row.watched) for row in query.organizations(filled)]
    assert rows == [("old", False), ("render-farm", True), ("video", True)]


@pytest.mark.parametrize("name", ["render-farm", "org-1"])
def test_an_organization_is_found_by_name_and_by_the_vendor_s_id(filled, name):
    assert [row.id for row in query.find_organizations(filled, name)] == [1]


def test_a_name_goes_before_another_one_s_vendor_id(engine, filled):
    with transaction(engine) as connection:
        connection.execute(sa.insert(tables.organizations), organization(9, "org-1"))
    assert [row.id for row in query.find_organizations(filled, "org-1")] == [9]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("renderfarm", r"did you mean render-farm\?"),
        ("zzz", "it knows old, org-1, org-2, org-3, render-farm, video"),
    ],
)
def test_an_unknown_organization_names_the_nearest(filled, name, hint):
    for ask in (query.find_organizations, query.history):
        with pytest.raises(UsageError, match=f"^{name}: .*{hint}"):
            ask(filled, name)


def test_an_empty_database_knows_no_organization(reader):
    assert query.status(reader) == query.incidents(reader) == list(query.history(reader)) == []
    with pytest.raises(UsageError, match="it knows none yet"):
        query.find_organizations(reader, "acme")


def test_history_has_the_newest_last_and_each_change(filled):
    rows = list(query.history(filled, "render-farm"))
    assert [row.taken_at for row in rows] == [NOON + h * HOUR for h in (-37, -13, -11, -1, 0)]
    assert [row.change and str(row.change) for row in rows] == [
        None,
        "-99.500000",
        "-100.250000",
        "149.750000",
        "-101.799999",
    ]
    assert (rows[0].organization, rows[0].vendor_id, rows[0].account) == ("render-farm", "org-1", "studio")


def test_history_of_a_stretch_knows_the_change_into_it(filled):
    rows = list(query.history(filled, "render-farm", since=NOON - 13 * HOUR, until=NOON))
    assert [row.taken_at for row in rows] == [NOON + h * HOUR for h in (-13, -11, -1)]
    assert rows[0].change == Decimal("-99.5")


def test_history_with_a_limit_keeps_the_newest_of_each(filled):
    rows = list(query.history(filled, limit=2))
    assert [(row.organization, row.taken_at) for row in rows] == [
        ("old", NOON - 48 * HOUR),
        ("render-farm", NOON - HOUR),
        ("render-farm", NOON),
    ]
    assert rows[1].change == Decimal("149.75")


def test_history_in_buckets_has_the_last_balance_and_the_extremes(filled):
    buckets = list(query.history_buckets(filled, "render-farm", every=timedelta(days=1)))
    assert [(row.starts_at.isoformat(), row.credits, row.lowest, row.highest, row.snapshots) for row in buckets] == [
        ("2026-11-21T00:00:00+00:00", Decimal(300), Decimal(300), Decimal(300), 1),
        ("2026-11-22T00:00:00+00:00", Decimal("200.5"), Decimal("200.5"), Decimal("200.5"), 1),
        ("2026-11-23T00:00:00+00:00", Decimal("148.200001"), Decimal("100.25"), Decimal(250), 3),
    ]


def test_buckets_of_two_organizations_do_not_mix(filled):
    buckets = list(query.history_buckets(filled, every=timedelta(days=365)))
    assert [(bucket.organization, bucket.snapshots) for bucket in buckets] == [("old", 1), ("render-farm", 5)]


def test_a_long_history_passes_in_constant_memory(engine, reader):
    with transaction(engine) as connection:
        connection.execute(sa.insert(tables.organizations), organization(1, "a"))
        rows = [snapshot(1, minute / 60, "1") for minute in range(20_000)]
        connection.execute(sa.insert(tables.snapshots), rows)
    del rows
    assert sum(1 for _ in query.history(reader, limit=10)) == 10
    tracemalloc.start()
    count = sum(1 for _ in query.history(reader))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2_000_000


def test_a_history_left_half_read_gives_its_connection_back(filled):
    for _ in range(10):
        rows = query.history(filled)
        next(rows)
        rows.close()


def test_incidents_are_told_with_their_end_and_their_deliveries(filled):
    first, credits_, stale, credential = query.incidents(filled)
    assert (first.severity, first.worst_severity, first.resolved_reason) == (
        Severity.WARNING,
        Severity.CRITICAL,
        "resolved",
    )
    assert (first.resolved_at, first.resolved_credits) == (NOON - HOUR, Decimal(250))
    assert (credits_.organization, credits_.account, credits_.opened_credits) == (
        "render-farm",
        "studio",
        Decimal("148.200001"),
    )
    assert (credits_.delivered, credits_.pending, credits_.given_up) == (1, 1, 0)
    assert (stale.delivered, stale.pending, stale.given_up) == (0, 0, 0)
    assert (credential.subject, credential.organization, credential.account) == (Subject.ACCOUNT, None, "lab")
    assert (credential.rule, credential.given_up) == (Rule.CREDENTIAL, 1)


def test_incidents_can_be_narrowed(filled):
    assert [row.id for row in query.incidents(filled, open_only=True)] == [2, 3, 4]
    assert [row.id for row in query.incidents(filled, organization="org-1")] == [1, 2, 3]
    assert query.incidents(filled, organization="video", open_only=True) == []
    with pytest.raises(UsageError):
        query.incidents(filled, organization="vidio")


def test_a_database_without_schema_names_the_command(empty_database_url):
    open_writer(empty_database_url).connect().close()
    reader = open_reader(empty_database_url)
    with pytest.raises(SchemaOutdated, match="credit-monitor db upgrade"):
        query.status(reader)
    reader.dispose()


def test_a_question_to_a_server_that_is_gone_is_our_error():
    reader = open_reader("postgresql://me:secret@127.0.0.1:1/credits")
    with pytest.raises(DatabaseError, match="cannot be reached"):
        query.status(reader)

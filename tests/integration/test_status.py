"""`status` and `history` as people and programs read them, on both databases."""

import csv
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from story import DOWN, THREE, Story, configured

from monitor import query
from monitor.cli import _exit_code
from monitor.doctor import database
from monitor.doctor.findings import State
from monitor.forecast import Runway, Unknown
from monitor.model import Check, Failure, FailureKind, Snapshot, Subject, TargetOutcome
from monitor.notify import silences
from monitor.poll import ForecastCache, settle
from monitor.store import engines, leader_lock, organizations
from monitor.store.tables import deliveries

HOUR = timedelta(hours=1)
SVG = "{http://www.w3.org/2000/svg}"
QUIET = '\nquiet_hours = "22:00-07:00 Europe/Berlin"'


@pytest.fixture
def command(desk, tmp_path, monkeypatch, capsys):
    """Runs the command as a person would; gives what it printed."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["credit-monitor", *arguments, "--config", str(tmp_path / "config.toml")])
        assert _exit_code() == 0
        return capsys.readouterr().out

    return run


def use(desk: Story, hours: int, **a_day: float) -> None:
    """Hourly snapshots of even use, up to now: from 1,000 credits down."""
    desk.now = datetime.now(UTC)
    batch = [
        Check(
            desk.account_of[name],
            desk.ids[name],
            at := desk.now - (hours - hour - 1) * HOUR,
            Snapshot(at, Decimal(1000) - Decimal(round(pace / 24 * hour, 6))),
        )
        for hour in range(hours)
        for name, pace in a_day.items()
    ]
    desk.store.write_now(lambda tx: settle(tx, batch, desk.settings, desk.forecasts))


def rows(text: str) -> dict[str, dict[str, object]]:
    return {row["organization"]: row for row in json.loads(text)}


# --- runway -----------------------------------------------------------------------------------------------------------


def test_status_tells_how_long_it_lasts(desk, command):
    use(desk, 100, a=120, b=0)
    desk.settle(c=500)
    found = rows(command("status", "--format", "json"))
    a, b, c = (found[name] for name in "abc")
    assert a["runway_low_hours"] < a["runway_hours"] < a["runway_high_hours"]
    assert a["runway_hours"] == pytest.approx((1000 - 99 * 5) / 5, rel=0.2)
    assert (b["runway_hours"], b["runway_low_hours"], b["runway_high_hours"]) == ("none", "none", "none")
    assert (c["runway_hours"], c["runway_low_hours"], c["runway_high_hours"]) == (None, None, None)
    table = command("status").splitlines()
    assert table[0].split() == ["ORGANIZATION", "CREDITS", "CHANGE", "RUNWAY", "TAKEN", "AT", "STATE", "OPEN"]
    assert " d (" in table[1]
    assert " none " in table[2]
    assert " unknown (24 h more) " in table[3]


def test_an_organization_never_fetched_has_no_runway(desk, command):
    (row,) = [row for row in json.loads(command("status", "--format", "json")) if row["organization"] == "a"]
    assert (row["credits"], row["runway_hours"]) == (None, None)
    assert "unknown" in command("status").splitlines()[1]


def test_the_runway_of_status_is_the_one_that_is_judged(desk):
    use(desk, 60, a=120)
    id_ = desk.ids["a"]
    organization = desk.store.write_now(lambda tx: organizations.current_rows(tx, [id_]))[id_]
    estimates = desk.store.write_now(lambda tx: ForecastCache().at(tx, organization, desk.settings.rules))
    reader = engines.open_reader(desk.settings.database.url)
    assert query.runways(reader, desk.ids.values()) == {id_: estimates.estimator.runway()}
    reader.dispose()


def test_history_tells_the_runway_as_it_was_to_be_foreseen_then(desk, command):
    use(desk, 72, a=120)
    plain = json.loads(command("history", "a", "--format", "json"))
    assert "runway_hours" not in plain[0]
    found = json.loads(command("history", "a", "--runway", "--format", "json"))
    assert [row["taken_at"] for row in found] == [row["taken_at"] for row in plain]
    assert [row["runway_hours"] is None for row in found] == [True] * 24 + [False] * 48
    late = json.loads(command("history", "a", "--runway", "--since", "20h", "--format", "json"))
    assert late == found[-len(late) :]
    assert 15 < len(late) < 25
    days = list(csv.DictReader(command("history", "--runway", "--every", "1d", "--format", "csv").splitlines()))
    assert float(days[-1]["runway_hours"]) == found[-1]["runway_hours"]


def test_use_within_a_period_needs_two_snapshots(desk):
    desk.settle(a=100)
    first = desk.now
    desk.settle(a=90, b=5)
    desk.settle(a=190)
    reader = engines.open_reader(desk.settings.database.url)
    found = query.used_within(reader, desk.ids.values(), since=first, until=desk.now)
    reader.dispose()
    assert found == {desk.ids["a"]: query.Used(Decimal(10), Decimal(100))}


def test_a_forecast_is_known_or_says_what_is_missing(desk):
    use(desk, 30, a=120)
    desk.settle(b=5)
    reader = engines.open_reader(desk.settings.database.url)
    found = query.runways(reader, desk.ids.values())
    reader.dispose()
    assert isinstance(found[desk.ids["a"]], Runway)
    assert found[desk.ids["b"]] == Unknown(timedelta(hours=24))
    assert desk.ids["c"] not in found


# --- kept quiet -------------------------------------------------------------------------------------------------------


def test_status_tells_what_is_silenced_and_paused(desk, command, tmp_path):
    now = desk.now = datetime.now(UTC)
    ends = now + 2 * HOUR
    request = silences.SilenceRequest("a", None, ends, "anna", "deploy\n\x1b[31m")
    desk.store.write_now(lambda tx: silences.begin(tx, request, at=now))
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace("[organizations.b]", "[organizations.b]\npaused = true"))
    found = rows(command("status", "--format", "json"))
    assert [(found[name]["silenced"], found[name]["paused"]) for name in "abc"] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert datetime.fromisoformat(found["a"]["silenced_until"]) == ends
    below = command("status").splitlines()[4:]
    assert [line for line in below if not line.startswith("NOBODY LEADS")] == [
        f"silence 1: a, up to warning, until {ends:%Y-%m-%d %H:%M} UTC, by anna: deploy??[31m",
        "paused in the configuration: b",
    ]


def test_status_tells_on_postgresql_who_leads_and_who_stands_by(desk, command):
    if desk.store.engine.dialect.name == "sqlite":
        assert "LEADS" not in command("status")
        return
    assert "LEADS" not in command("status")  # nobody who runs `check` from cron has to hear of daemons
    url = desk.store.engine.url.render_as_string(hide_password=False)
    leader, standby = leader_lock.open_leader_lock(url), leader_lock.open_leader_lock(url)
    leader.acquire()
    standby.acquire()
    leads, stands_by = command("status").splitlines()[-2:]
    assert re.fullmatch(rf"leader: \S+ \(process {os.getpid()}\) since 2.* UTC", leads)
    assert re.fullmatch(rf"standing by: \S+ \(process {os.getpid()}\)", stands_by)
    standby.release()
    leader.release()


def test_a_table_names_the_open_rules(desk, command):
    desk.settle(a=900, b=5000)
    first, second = command("status").splitlines()[1:3]
    assert first.split()[-2:] == ["warning", "credits"]
    assert second.split()[-2:] == ["ok", "-"]


def test_an_acknowledgement_has_no_end_in_sight(desk, command):
    desk.settle(a=900)
    request = silences.SilenceRequest("a", None, None, "anna", "seen")
    desk.store.write_now(lambda tx: silences.begin(tx, request, at=desk.now))
    row = rows(command("status", "--format", "json"))["a"]
    assert (row["silenced"], row["silenced_until"]) == (True, None)


# --- trouble ----------------------------------------------------------------------------------------------------------


def test_a_refusal_for_good_is_told_from_a_passing_failure(desk, command):
    desk.now = datetime.now(UTC)
    desk.settle(a=100)
    ((ops,),), ((pager,),) = desk.claim("ops"), desk.claim("pager")
    desk.answer(ops.id, "HTTP 404", retryable=False)
    desk.answer(pager.id, "HTTP 503")
    lines = command("status").splitlines()
    assert "channel ops: refused for good: HTTP 404 (1 waiting, tried on every hour at least)" in lines
    assert "channel pager: 1 waiting, last error: HTTP 503" in lines


def test_a_recipient_that_does_not_get_what_others_get_is_named(desk, command):
    desk.now = datetime.now(UTC)
    desk.settle(a=900)
    ((ops,),) = desk.claim()
    refused = "refused by the mail server (SMTP 550)"
    outcomes = (TargetOutcome("1", "anna@…", None), TargetOutcome("2", "gone@…", refused, retryable=False))
    desk.answer(ops.id, f"gone@…: {refused}", targets=outcomes, seen=frozenset("12"))
    lines = [line for line in command("status").splitlines() if line.startswith("channel")]
    assert lines == [f"channel ops: gone@… is refused for good, others have it: {refused}"]
    (finding,) = database._recipients(desk.store.engine)
    assert (finding.what, finding.state) == ("channel ops", State.WARNING)
    assert finding.found == f"gone@… does not get what others of the channel get: {refused}"


def test_a_channel_that_is_down_is_told_with_who_stands_in(desk, command):
    desk.now = datetime.now(UTC).replace(microsecond=0)
    toml = THREE.replace("[channels.ops]", '[channels.ops]\nfallback = "pager"')
    desk.settings = configured(desk.folder, toml, desk.url)
    desk.settle(a=900)
    ((ops,),) = desk.claim()
    desk.answer(ops.id, "HTTP 403", retryable=False)
    desk.settle(a=100)
    lines = command("status").splitlines()
    since = desk.now - timedelta(minutes=1)
    assert f"channel ops: DOWN since {since:%Y-%m-%d %H:%M} UTC: HTTP 403; pager stands in" in lines
    assert "channel ops: 1 older told with what waits" in lines
    row = rows(command("status", "--format", "json"))["a"]
    (down,) = row["channels_down"]
    assert (down["channel"], down["reason"], down["stand_in"]) == ("ops", "HTTP 403", "pager")
    assert datetime.fromisoformat(down["since"]) == since


def test_what_was_folded_into_what_shows_in_incidents(desk, command):
    desk.now = datetime.now(UTC)
    desk.settle(a=900)
    desk.settle(a=100)
    (row,) = json.loads(command("incidents", "--format", "json"))
    first, second = (notification["id"] for notification in desk.notifications())
    assert row["folded"] == [{"channel": "ops", "notification": first, "folded_into": second}]
    assert row["unknown"] == 0
    assert command("incidents").splitlines()[0].split()[-3:] == ["FOLDED", "GIVEN", "UP"]


def test_what_was_given_up_shows_in_status_and_incidents(desk, command):
    desk.now = datetime.now(UTC) - 30 * HOUR
    desk.settle(a=900)
    ((ops,),) = desk.claim()
    for _ in range(25):
        desk.now += HOUR
        desk.answer(ops.id, "connection error")
    assert "channel ops: 1 given up in the last 7 days: connection error" in command("status").splitlines()
    (row,) = json.loads(command("incidents", "--format", "json"))
    assert (row["organization"], row["given_up"], row["pending"]) == ("a", 1, 0)


def test_what_quiet_hours_hold_is_told_with_their_end(desk, command):
    desk.settings = configured(desk.folder, THREE.replace("[channels.ops]", "[channels.ops]" + QUIET), desk.url)
    desk.now = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)
    desk.settle(a=900)
    assert "channel ops: 1 held until quiet hours end at 2026-11-03 06:00 UTC" in command("status").splitlines()


def test_a_rejected_key_and_an_outage_are_told_apart(desk, command):
    desk.settle(a=5000, b=5000, c=5000)
    desk.settle(a=DOWN, b=DOWN)
    desk.settle(31, a=DOWN, b=DOWN)
    at = f"{desk.now:%Y-%m-%d %H:%M} UTC"
    desk.settle(c=Failure(FailureKind.CREDENTIAL_REJECTED, "x"))
    lines = command("status").splitlines()
    assert f"WARNING: account studio: no organization's balance can be had since {at}" in lines
    assert any(line.startswith("CRITICAL: account other: the key is rejected since ") for line in lines)


def test_an_outage_of_everything_is_one_line(desk, command):
    desk.settle(a=5000, b=5000, c=5000)
    desk.settle(a=DOWN, b=DOWN, c=DOWN)
    desk.settle(31, a=DOWN, b=DOWN, c=DOWN)
    lines = [line for line in command("status").splitlines() if line.startswith("WARNING")]
    assert len(lines) == 1
    assert lines[0].startswith("WARNING: every account: no organization's balance can be had since ")
    assert {row.subject for row in _incidents(desk)} == {Subject.MONITOR}


def _incidents(desk):
    reader = engines.open_reader(desk.settings.database.url)
    try:
        return query.incidents(reader)
    finally:
        reader.dispose()


# --- silence is visible -----------------------------------------------------------------------------------------------


def test_a_daemon_that_records_nothing_is_said_first(desk, command):
    desk.now = datetime.now(UTC) - HOUR
    desk.settle(a=5000)
    assert "NOTHING HAS BEEN RECORDED" not in command("status")  # `check` from cron, perhaps
    lock = leader_lock.open_leader_lock(desk.url, is_daemon=True)
    assert lock.acquire()
    try:
        assert re.match(r"NOTHING HAS BEEN RECORDED since .*, though a daemon runs", command("status"))
        desk.now = datetime.now(UTC)
        desk.settle(0, a=5000)
        assert "NOTHING HAS BEEN RECORDED" not in command("status")
    finally:
        lock.release()


def test_what_waits_and_was_never_tried_is_not_hidden(desk, command):
    desk.now = datetime.now(UTC)
    desk.settle(0, a=900)
    assert "waiting" not in command("status")
    desk.write(lambda tx: tx.execute(deliveries.update().values(next_attempt_at=desk.now - HOUR)))
    assert "channel ops: 1 waiting since " in command("status")


# --- as a picture -----------------------------------------------------------------------------------------------------


def test_history_draws_what_it_would_print(command, desk, tmp_path, capsys, monkeypatch):
    use(desk, 72, a=240)
    file = tmp_path / "a.svg"
    for _ in range(2):  # a report that is made again replaces the last one
        assert command("history", "a", "--svg", str(file)) == ""
    drawn = ET.fromstring(file.read_text())
    ticks = {text.text: text.get("y") for text in drawn.iter(f"{SVG}text") if text.get("class") == "chart-tick"}
    bottom, top = (float(ticks[tick] or 0) - 4 for tick in ("0", "1,000"))
    (line,) = [path.get("d") or "" for path in drawn.iter(f"{SVG}path") if path.get("class") == "chart-line"]
    begin, *steps = re.findall(r"(?:M[\d.]+ |V)([\d.]+)", line)
    heights = [(bottom - float(each)) / (bottom - top) * 1000 for each in (begin, *steps)]
    credits_ = [row["credits"] for row in json.loads(command("history", "a", "--format", "json"))]
    assert len(heights) == len(credits_) == 72
    assert all(abs(height - figure) < 1 for height, figure in zip(heights, credits_, strict=True))
    described = drawn.findtext(f"{SVG}desc") or ""
    assert "from 1,000 credits to 290 credits, lowest 290 credits" in described
    assert command("history", "a", "--svg", "-").startswith("<svg")
    monkeypatch.setattr(
        sys, "argv", ["credit-monitor", "history", "--svg", "-", "--config", str(tmp_path / "config.toml")]
    )
    assert _exit_code() == 64
    assert "whose name it needs" in capsys.readouterr().err

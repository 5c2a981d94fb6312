"""A person's "not now": what it keeps quiet, what it does not, how it ends, on both databases."""

import json
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from story import REJECTED, START, THREE, Story

from monitor.cli import _exit_code
from monitor.errors import UsageError
from monitor.model import Rule, Severity
from monitor.notify import silences
from monitor.store.silences import active_silences

HOURS = timedelta(hours=1)


class Silencer(Story):
    """Three organizations, and a person at the command line."""

    def keep_quiet(self, name: str, *, hours: float | None = None, rule: Rule | None = None) -> list[silences.Silenced]:
        until = None if hours is None else self.now + hours * HOURS
        request = silences.SilenceRequest(name, rule, until, "anna", "maintenance")
        return self.store.write_now(lambda tx: silences.begin(tx, request, at=self.now))

    def lift(self, key: int) -> None:
        self.store.write_now(lambda tx: silences.lift(tx, key, at=self.now))

    def standing(self) -> list[int]:
        return [one.id for one in self.store.write_now(lambda tx: active_silences(tx, at=self.now))]


@pytest.fixture
async def desk(database_url, tmp_path):
    story = Silencer(tmp_path, database_url, START)
    yield story.begin(THREE)
    await story.end()


# --- what it keeps quiet ----------------------------------------------------------------------------------------------


def test_with_nothing_open_it_silences_warnings_alone(desk):
    (begun,) = desk.keep_quiet("a", hours=2)
    assert (begun.silence.up_to, begun.incidents) == (Severity.WARNING, ())
    desk.settle(a=900)
    assert desk.deliver() == []
    desk.settle(a=100)
    assert desk.deliver() == desk.deliver("pager") == [["a credits escalated"]]


def test_it_reaches_up_to_what_is_open_and_covered(desk):
    desk.settle(a=100)
    desk.deliver()
    (balance,) = desk.keep_quiet("a", hours=30, rule=Rule.CREDITS)
    (stale,) = desk.keep_quiet("a", hours=30, rule=Rule.STALE)
    assert (balance.silence.up_to, stale.silence.up_to) == (Severity.CRITICAL, Severity.WARNING)
    desk.settle(25 * 60, a=90)
    assert desk.deliver() == []


def test_what_was_told_before_and_stands_is_said_once_when_it_ends_by_itself(desk):
    desk.settle(a=900)
    desk.deliver()
    desk.keep_quiet("a", hours=2)
    assert desk.settle(119, a=890) == []
    assert desk.settle(1, a=880) == [("a", "credits", "reminder", "warning")]
    assert desk.settle(60, a=870) == []
    assert desk.deliver() == [["a credits reminder"]]


def test_lifting_leaves_what_stands_to_the_next_check(desk):
    desk.settle(a=900)
    desk.deliver()
    (begun,) = desk.keep_quiet("a", hours=2)
    desk.lift(begun.silence.id)
    assert desk.deliver() == []
    assert desk.settle(a=880) == [("a", "credits", "reminder", "warning")]


def test_what_is_resolved_meanwhile_is_told_to_whom_it_was_told_and_to_nobody_else(desk):
    desk.settle(a=900)
    desk.deliver()
    desk.keep_quiet("a", hours=2)
    desk.keep_quiet("b", hours=2)
    desk.settle(b=900)
    desk.settle(a=5000, b=5000)
    assert desk.deliver() == [["a credits resolved"]]
    assert desk.deliver("pager") == []
    desk.settle(180, a=5000, b=5000)
    assert desk.deliver() == []


def test_a_silence_of_one_rule_leaves_the_others_alone(desk):
    desk.keep_quiet("a", hours=2, rule=Rule.STALE)
    desk.settle(a=900)
    assert desk.deliver() == [["a credits opened"]]


# --- acknowledgements -------------------------------------------------------------------------------------------------


def test_an_acknowledgement_ends_when_it_gets_worse(desk):
    desk.settle(a=900)
    desk.deliver()
    desk.keep_quiet("a")
    desk.settle(25 * 60, a=890)
    assert desk.deliver() == []
    desk.settle(a=100)
    assert desk.deliver() == [["a credits escalated"]]
    assert desk.standing() == []


def test_an_acknowledgement_ends_when_it_is_over(desk):
    desk.settle(a=900)
    desk.deliver()
    desk.keep_quiet("a")
    desk.settle(a=5000)
    assert desk.deliver() == [["a credits resolved"]]
    assert desk.standing() == []
    desk.settle(a=900)
    assert desk.deliver() == [["a credits opened"]]


def test_there_has_to_be_something_to_acknowledge(desk):
    with pytest.raises(UsageError, match="a: nothing is open to acknowledge; use --for"):
        desk.keep_quiet("a")
    desk.settle(a=900)
    with pytest.raises(UsageError, match="stale of a: nothing is open"):
        desk.keep_quiet("a", rule=Rule.STALE)
    assert desk.standing() == []


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_a_rejected_key_is_silenced_only_by_name(desk):
    desk.keep_quiet("studio", hours=2)
    desk.settle(a=REJECTED)
    assert desk.deliver() == [["studio credential opened"]]
    with pytest.raises(UsageError, match="studio: nothing is open to acknowledge"):
        desk.keep_quiet("studio")
    (begun,) = desk.keep_quiet("studio", rule=Rule.CREDENTIAL)
    assert begun.silence.up_to is Severity.CRITICAL
    desk.settle(25 * 60, a=REJECTED)
    assert desk.deliver() == []
    desk.settle(a=5000)
    assert desk.deliver() == [["studio credential resolved"]]
    assert desk.standing() == []


def test_a_key_about_to_be_replaced_is_silenced_beforehand_by_name(desk):
    (begun,) = desk.keep_quiet("studio", hours=2, rule=Rule.CREDENTIAL)
    assert (begun.silence.up_to, begun.incidents) == (Severity.CRITICAL, ())
    desk.settle(a=REJECTED)
    assert desk.deliver() == []
    assert desk.settle(121, a=REJECTED) == [("studio", "credential", "reminder", "critical")]
    assert desk.deliver() == [["studio credential reminder"]]


# --- what a name means ------------------------------------------------------------------------------------------------


def test_an_organization_is_also_found_by_the_vendor_s_id(desk):
    assert [one.name for one in desk.keep_quiet("org-a", hours=1)] == ["a"]


def test_an_unknown_name_is_refused_with_the_nearest(desk):
    with pytest.raises(UsageError, match=r"studioo: no such organization or account is watched; did you mean studio\?"):
        desk.keep_quiet("studioo", hours=1)


@pytest.mark.parametrize(("name", "rule"), [("a", Rule.CREDENTIAL), ("a", Rule.OUTAGE), ("studio", Rule.CREDITS)])
def test_a_rule_has_to_concern_what_is_named(desk, name, rule):
    with pytest.raises(UsageError, match=f"--rule {rule.value} concerns an .*, and {name} is none"):
        desk.keep_quiet(name, hours=1, rule=rule)


def test_a_silence_is_lifted_once(desk):
    (begun,) = desk.keep_quiet("a", hours=1)
    desk.lift(begun.silence.id)
    with pytest.raises(UsageError, match="no silence of this id stands"):
        desk.lift(begun.silence.id)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def command(desk, tmp_path, monkeypatch, capsys):
    """Runs the command as a person would; gives its exit code and what it printed."""
    desk.now = datetime.now(UTC)

    def run(*arguments: str) -> tuple[int, str, str]:
        words = ["credit-monitor", *arguments, "--config", str(tmp_path / "config.toml")]
        monkeypatch.setattr(sys, "argv", words)
        code = _exit_code()
        return code, *capsys.readouterr()

    return run


def test_a_silence_is_begun_listed_and_lifted(desk, command):
    desk.settle(a=900)
    code, out, _ = command("silence", "a", "--for", "2h", "--reason", "deploy", "--author", "ben")
    assert code == 0
    assert out.startswith("silence 1: a, every rule but credential, up to warning, until 20")
    assert "(open: credits warning)\nA critical one will still be told.\n" in out
    (row,) = json.loads(command("silences", "--format", "json")[1])
    assert {key: row[key] for key in ("id", "organization", "account", "rule", "up_to", "author", "reason")} == {
        "id": 1,
        "organization": "a",
        "account": "studio",
        "rule": None,
        "up_to": "warning",
        "author": "ben",
        "reason": "deploy",
    }
    ends, began = (datetime.fromisoformat(row[key]) for key in ("until", "created_at"))
    assert ends - began == 2 * HOURS
    assert command("silences", "--lift", "1")[0] == 0
    assert command("silences")[1] == "No silence.\n"
    assert command("silences", "--all", "--format", "csv")[1].splitlines()[1].startswith("1,a,a,studio,,warning,20")


def test_when_a_silence_ends_is_told_in_the_configured_zone(command, monkeypatch):
    monkeypatch.setenv("CREDIT_MONITOR_TIMEZONE", "Asia/Tokyo")
    _, out, _ = command("silence", "a", "--for", "3h")
    (row,) = json.loads(command("silences", "--format", "json")[1])
    local = datetime.fromisoformat(row["until"]).astimezone(ZoneInfo("Asia/Tokyo"))
    assert f"until {local:%Y-%m-%d %H:%M} JST (open: nothing)" in out


@pytest.mark.parametrize("key", ["deploy", "-1", "9" * 19])
def test_lifting_wants_a_number(command, key):
    code, _, err = command("silences", f"--lift={key}")
    assert code == 64
    assert f"expected the ID that `silences` shows, not '{key}'" in err


def test_the_author_is_whoever_is_behind_sudo(desk, command, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "carla")
    desk.settle(a=900)
    assert command("silence", "a", "--until-resolved", "--reason", "I look at it")[0] == 0
    assert "carla" in command("silences")[1]
    assert "until resolved or worse, by carla: I look at it" in command("status")[1]


def test_the_command_that_a_message_tells_needs_no_reason(command):
    code, out, _ = command("silence", "a", "--for", "4h")
    assert (code, "up to warning" in out) == (0, True)
    assert [row["reason"] for row in json.loads(command("silences", "--format", "json")[1])] == ["no reason given"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("a", "--reason", "x"),
        ("a", "--for", "2h", "--until-resolved", "--reason", "x"),
        ("a", "--for", "2h", "--reason", " "),
        ("a", "--until-resolved", "--reason", "x"),
        ("nobody", "--for", "2h", "--reason", "x"),
    ],
)
def test_a_mistake_ends_with_64_and_silences_nothing(desk, command, wrong):
    code, out, err = command("silence", *wrong)
    assert (code, out) == (64, "")
    assert err
    assert desk.standing() == []

"""Whom a delivery is still for, attempt after attempt: pure."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.model import Attempt, TargetOutcome, Targets, WaitingTarget
from monitor.store import targets

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REFUSED = "refused by the mail server (SMTP 550)"


def outcome(key: str, error: str | None = None, *, retryable: bool = True, unknown: bool = False) -> TargetOutcome:
    return TargetOutcome(key, f"{key}@…", error, retryable=retryable, unknown=unknown)


def attempt(*outcomes: TargetOutcome, seen: str | None = "abc", parts: tuple[str, ...] = ()) -> Attempt:
    failed = [one.error for one in outcomes if one.error]
    return Attempt(1, failed[0] if failed else None, targets=outcomes, parts=parts, seen=seen and frozenset(seen))


def advance(before: Targets | None, made: Attempt, *, minutes: int = 0) -> Targets | None:
    at = NOON + minutes * MINUTE
    return targets.advance(before, made, salt="salt", at=at, pause=lambda target: (1 + 9 * target.unknowns) * MINUTE)


def waiting(whom: Targets | None) -> list[str]:
    assert whom is not None
    return [target.key for target in whom.waiting]


PART = Targets("salt", ("a",), (WaitingTarget("b", "b@…", REFUSED, due_at=NOON),))


@pytest.mark.parametrize(
    "made",
    [
        attempt(),
        attempt(outcome("a"), outcome("b")),
        attempt(outcome("a", REFUSED), outcome("b", REFUSED)),
        Attempt(1, "connection refused"),
        Attempt(1, "no answer within 60 s", unknown=True),
    ],
)
def test_what_all_got_or_none_has_one_outcome(made):
    assert advance(None, made) is None


def test_those_who_failed_wait_and_the_others_are_done():
    whom = advance(None, attempt(outcome("a"), outcome("b", REFUSED, retryable=False), outcome("c", "no answer")))
    assert whom == Targets(
        "salt",
        ("a",),
        (
            WaitingTarget("b", "b@…", REFUSED, refused=True, due_at=NOON + MINUTE),
            WaitingTarget("c", "c@…", "no answer", due_at=NOON + MINUTE),
        ),
    )
    assert targets.error(whom) == f"b@…: {REFUSED}; c@…: no answer"
    assert targets.next_at(whom) == NOON + MINUTE
    assert targets.load(targets.dump(whom)) == whom


def test_the_last_one_ends_it():
    whom = advance(PART, attempt(outcome("b")))
    assert whom == Targets("salt", ("a", "b"), ())
    assert targets.error(whom) is None


def test_who_left_the_channel_is_dropped_and_who_is_new_is_not_asked():
    assert waiting(advance(PART, attempt(seen="ad"))) == []
    assert waiting(advance(PART, attempt(seen="ab"))) == ["b"]  # there, but not due


def test_what_a_recipient_may_have_is_sent_three_times():
    whom = advance(None, attempt(outcome("a"), outcome("b", "no answer", unknown=True)))
    counts = []
    while whom is not None and whom.waiting:
        counts.append((whom.waiting[0].unknowns, whom.waiting[0].due_at))
        whom = advance(whom, attempt(outcome("b", "no answer", unknown=True)), minutes=100 * len(counts))
    assert counts == [(1, NOON + 10 * MINUTE), (2, NOON + 119 * MINUTE)]
    assert whom == Targets("salt", ("a", "b"), ())


def test_an_attempt_that_was_broken_off_leaves_those_who_were_not_asked():
    whom = advance(None, attempt(outcome("a"), outcome("b", "broken off", unknown=True), seen=None))
    assert waiting(whom) == ["b", targets.REST]
    assert waiting(advance(whom, attempt(outcome("c"), seen="abc"))) == ["b"]
    assert waiting(advance(PART, attempt(seen=None))) == ["b"]


def test_what_is_done_for_a_recipient_that_waits_is_not_done_again():
    whom = advance(None, attempt(outcome("a"), outcome("b", REFUSED), parts=("text of b",)))
    assert whom is not None
    assert whom.taken == ("text of b", "a")


@pytest.mark.parametrize(
    ("now", "paused_at", "keys"),
    [
        (NOON, NOON, "b"),
        (NOON + 5 * MINUTE, NOON, "bc"),
        (NOON - MINUTE, NOON - 2 * MINUTE, "bc"),  # none is, so somebody ended the pause of them all
        (NOON, NOON + MINUTE, "bc"),  # the clock was stepped back
    ],
)
def test_a_recipient_is_asked_when_its_own_pause_is_over(now, paused_at, keys):
    later = WaitingTarget("c", "c@…", REFUSED, due_at=NOON + 5 * MINUTE)
    whom = Targets("salt", ("a",), (*PART.waiting, later))
    assert targets.due(whom, now, paused_at) == frozenset(keys)

"""The outbox: what is folded, the order in which it goes out, pauses that grow, giving up late, and who was told."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from story import NOON, due

from monitor.model import Attempt, DeliveryState, Facts, Notification, Reason, Rule, Severity, Subject
from monitor.store import deliveries as queue
from monitor.store import outbox
from monitor.store.engines import transaction
from monitor.store.tables import attempts, deliveries, incidents

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SOON = 5 * SECOND  # what is new goes out within it
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
GIVEN_UP, PENDING, DELIVERED = DeliveryState.GIVEN_UP, DeliveryState.PENDING, DeliveryState.DELIVERED


def incident(tx, subject_id=1):
    values = {"subject": "organization", "subject_id": subject_id, "rule": "credits", "severity": "warning"}
    values |= {"worst_severity": "warning", "opened_at": NOON, "topped_up_before": Decimal(0)}
    return tx.execute(incidents.insert().values(values).returning(incidents.c.id)).scalar_one()


def say(tx, incident_id, *channels, reason=Reason.OPENED, severity=WARNING, at=NOON, held=outbox.NONE_HELD):
    """Puts one notification into the outbox; gives its id."""
    number = tx.execute(sa.text("SELECT count(*) FROM notifications")).scalar_one()
    facts = Facts(name="farm", account="studio", at=at)
    one = Notification(f"n{number}", incident_id, Subject.ORGANIZATION, Rule.CREDITS, reason, severity, facts)
    outbox.enqueue(tx, one, channels, at=at, held=held)
    return one.id


def delivery_ids(tx, channel):
    return list(tx.execute(sa.select(deliveries.c.id).where(deliveries.c.channel == channel).order_by("id")).scalars())


def due_ids(tx, channel, now=NOON + SOON, **limit):
    return [one.id for one in due(tx, channel, now, **limit)]


def mark(tx, delivery_id, error=None, *, at=NOON + SOON, **said):
    return queue.record_attempt(tx, Attempt(delivery_id, error, **said), at=at).state


def states(tx, channel="ops"):
    """State and successor of each delivery of a channel, oldest first."""
    rows = tx.execute(sa.select(deliveries).where(deliveries.c.channel == channel).order_by("id"))
    return [(row.state, row.folded_into) for row in rows]


def backdate(tx, **values):
    """As an older daemon would have left it."""
    tx.execute(deliveries.update().values(values))


def end(tx, delivery_id, state):
    """Brings a delivery to a state as its channel would."""
    if state is DELIVERED:
        mark(tx, delivery_id)
    for _ in range(24 if state is GIVEN_UP else 0):
        mark(tx, delivery_id, "dead", at=NOON + 25 * HOUR)


# --- order ------------------------------------------------------------------------------------------------------------


def test_of_each_incident_and_channel_only_the_newest_is_pending(engine):
    with transaction(engine) as tx:
        one, other = incident(tx, 1), incident(tx, 2)
        for of in (one, one, other):
            say(tx, of, "ops", "boss")
        _, second, elsewhere = delivery_ids(tx, "ops")
        assert due_ids(tx, "ops") == [second, elsewhere]
        assert states(tx)[0] == ("folded", "n1")
        assert due_ids(tx, "boss") == delivery_ids(tx, "boss")[1:]


def test_what_is_newer_does_not_wait_for_the_pause_of_what_failed(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops")
        mark(tx, delivery_ids(tx, "ops")[0], "no answer", at=NOON)
        say(tx, one, "ops", reason=Reason.ESCALATED, severity=CRITICAL, at=NOON + SECOND)
        (delivery,) = due(tx, "ops", NOON + 2 * SECOND)
        assert delivery.said.id == "n1"
        assert [older.id for older in delivery.folded] == ["n0"]


def test_one_hop_leads_from_what_was_folded_to_what_tells_it(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        for _ in range(4):
            say(tx, one, "ops")
        assert states(tx) == [("folded", "n3")] * 3 + [("pending", None)]
        (delivery,) = due(tx, "ops", NOON + SOON)
        assert [older.id for older in delivery.folded] == ["n0", "n1", "n2"]


def test_a_group_loses_what_was_folded_and_keeps_the_others(engine):
    with transaction(engine) as tx:
        one, other = incident(tx, 1), incident(tx, 2)
        say(tx, one, "ops")
        say(tx, other, "ops")
        for key in due_ids(tx, "ops"):
            mark(tx, key, "no answer")
        say(tx, one, "ops", reason=Reason.RESOLVED, at=NOON + SOON)
        groups = queue.claim_due(tx, "ops", NOON + MINUTE, limit=20)
        assert [[delivery.said.id for delivery in group] for group in groups] == [["n2"], ["n1"]]


def test_what_was_folded_while_it_was_under_way_and_arrived_is_delivered(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops")
        (key,) = due_ids(tx, "ops")
        say(tx, one, "ops", reason=Reason.RESOLVED)
        assert mark(tx, key) is DELIVERED
        assert states(tx) == [("delivered", None), ("pending", None)]
        (delivery,) = due(tx, "ops", NOON + SOON)
        assert delivery.folded == ()


def test_what_was_told_with_it_is_not_told_again_with_what_it_was_folded_into(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        for _ in range(2):
            say(tx, one, "ops")
        (delivery,) = due(tx, "ops", NOON + SOON)
        say(tx, one, "ops", reason=Reason.RESOLVED)
        told = [older.id for older in delivery.folded]
        queue.record_attempt(tx, Attempt(delivery.id, None), at=NOON + SOON, told_with=told)
        assert states(tx) == [("folded", "n1"), ("delivered", None), ("pending", None)]
        (last,) = due(tx, "ops", NOON + SOON)
        assert last.folded == ()


def test_what_was_folded_while_it_was_under_way_and_failed_stays_folded(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops")
        (key,) = due_ids(tx, "ops")
        say(tx, one, "ops", reason=Reason.RESOLVED)
        assert mark(tx, key, "no answer") is DeliveryState.FOLDED
        assert states(tx)[0] == ("folded", "n1")


def test_it_is_given_up_when_the_oldest_that_it_tells_would_have_been(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops")
        for hours in (10, 20):
            say(tx, one, "ops", at=NOON + hours * HOUR)
        rows = tx.execute(sa.select(deliveries.c.give_up_at).order_by("id")).scalars().all()
        assert rows[-1] == NOON + 24 * HOUR


def test_what_quiet_hours_would_hold_goes_at_once_when_something_critical_is_folded_into_it(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops", severity=CRITICAL)
        say(tx, one, "ops", reason=Reason.EASED, held={"ops": NOON + 8 * HOUR})
        assert len(due_ids(tx, "ops")) == 1


def test_what_quiet_hours_hold_is_taken_back_unless_it_tells_what_was_on_its_way_before(engine):
    with transaction(engine) as tx:
        one, other = incident(tx, 1), incident(tx, 2)
        say(tx, one, "ops")
        for of in (one, other):
            say(tx, of, "ops", reason=Reason.REMINDER, held={"ops": NOON + 8 * HOUR})
            outbox.withdraw_held(tx, of, at=NOON)
        assert [state for state, _ in states(tx)] == ["folded", "pending", "withdrawn"]
        assert outbox.told_severities(tx, one) == {"ops": WARNING}
        assert outbox.told_severities(tx, other) == {}


def test_what_an_older_daemon_left_pending_is_folded_into_the_newest(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        for _ in range(3):
            say(tx, one, "ops", "boss")
        backdate(tx, state="pending", folded_into=None, paused_at=None)
        assert due_ids(tx, "ops") == delivery_ids(tx, "ops")[2:]
        outbox.fold_pending(tx, at=NOON)
        assert states(tx, "boss") == [("folded", "n2")] * 2 + [("pending", None)]


def test_critical_goes_before_warning_also_in_a_backlog_and_an_end_last(engine):
    with transaction(engine) as tx:
        say(tx, ended := incident(tx, 1), "ops", severity=CRITICAL)
        end(tx, delivery_ids(tx, "ops")[0], DELIVERED)
        say(tx, ended, "ops", reason=Reason.RESOLVED, severity=CRITICAL)
        for number in range(2, 30):
            say(tx, incident(tx, number), "ops")
        say(tx, incident(tx, 30), "ops", severity=CRITICAL)
        (first, *_), *_ = queue.claim_due(tx, "ops", NOON + SOON, limit=5)
        assert first.said.severity is CRITICAL
        assert first.said.reason is Reason.OPENED
        assert queue.claim_due(tx, "ops", NOON + SOON, limit=50)[-1][-1].said.reason is Reason.RESOLVED


def test_what_was_never_tried_goes_before_what_failed_so_that_one_bad_message_holds_up_no_other(engine):
    with transaction(engine) as tx:
        for number in range(5):
            say(tx, incident(tx, number), "ops")
        ids = delivery_ids(tx, "ops")
        mark(tx, ids[0], "too long for this service")
        assert due_ids(tx, "ops", NOON + MINUTE, limit=4) == ids[1:]


def test_no_more_than_the_limit_is_handed_out(engine):
    with transaction(engine) as tx:
        for number in range(5):
            say(tx, incident(tx, number), "ops")
        assert len(due_ids(tx, "ops", limit=3)) == 3


def test_a_channel_waits_when_it_has_something_due_and_only_then(engine):
    with transaction(engine) as tx:
        assert queue.due_channels(tx, NOON) == {}
        say(tx, incident(tx), "ops", "boss", severity=CRITICAL)
        assert queue.due_channels(tx, NOON + SOON) == {"ops": 3, "boss": 3}
        mark(tx, delivery_ids(tx, "ops")[0])
        mark(tx, delivery_ids(tx, "boss")[0], "no answer")
        assert queue.due_channels(tx, NOON + SOON) == {}
        assert queue.due_channels(tx, NOON + MINUTE) == {"boss": 0}


def test_what_is_new_is_gathered_for_a_second_and_less_when_nothing_more_will_come(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        assert queue.due_channels(tx, NOON + SECOND / 2) == {}
        assert set(queue.due_channels(tx, NOON + SECOND)) == {"ops"}
        assert set(queue.due_channels(tx, NOON, ahead=SECOND)) == {"ops"}
        assert len(due_ids(tx, "ops", NOON + SECOND)) == 1


def test_what_quiet_hours_hold_comes_no_moment_early_and_no_clock_that_is_stepped_back_lets_it_go(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops", held={"ops": NOON + 8 * HOUR})
        assert queue.due_channels(tx, NOON + 8 * HOUR - SECOND / 2, ahead=SECOND) == {}
        assert queue.due_channels(tx, NOON - 24 * HOUR) == {}
        backdate(tx, paused_at=None)
        assert queue.due_channels(tx, NOON) == {}
        assert set(queue.due_channels(tx, NOON + 8 * HOUR)) == {"ops"}


def test_something_said_to_nobody_is_kept_and_waits_for_nobody(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx))
        assert queue.due_channels(tx, NOON + HOUR) == {}
        assert tx.execute(sa.text("SELECT count(*) FROM notifications")).scalar_one() == 1


def test_what_was_claimed_is_overtaken_by_what_is_worse_or_folds_some_of_it(engine):
    with transaction(engine) as tx:
        say(tx, one := incident(tx, 1), "ops")
        claimed = due(tx, "ops", NOON + SOON)
        say(tx, incident(tx, 2), "ops")
        assert not queue.is_overtaken(tx, "ops", claimed, NOON + SOON)
        say(tx, incident(tx, 3), "ops", severity=CRITICAL)
        assert queue.is_overtaken(tx, "ops", claimed, NOON + SOON)
        mark(tx, delivery_ids(tx, "ops")[2])
        assert not queue.is_overtaken(tx, "ops", claimed, NOON + SOON)
        say(tx, one, "ops", reason=Reason.RESOLVED)
        assert queue.is_overtaken(tx, "ops", claimed, NOON + SOON)


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_pauses_grow_from_five_seconds_to_five_minutes(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        at, pauses = NOON + SOON, []
        for _ in range(9):
            mark(tx, one, "no answer", at=at)
            next_at = tx.execute(sa.select(deliveries.c.next_attempt_at)).scalar_one()
            pauses.append((next_at - at).total_seconds())
            assert due_ids(tx, "ops", next_at - timedelta(microseconds=1)) == []
            assert due_ids(tx, "ops", next_at) == [one]
            at = next_at
        assert pauses[0] == 5
        assert pauses[-2:] == [300, 300]
        assert all(1 < later / earlier <= 2 or earlier == later == 300 for earlier, later in pairwise(pauses))


@pytest.mark.parametrize("older_daemon", [False, True])
@pytest.mark.parametrize("failures", [0, 1, 12])
def test_a_clock_stepped_back_delays_nothing_for_longer_than_the_longest_pause(engine, failures, older_daemon):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        for _ in range(failures):
            mark(tx, one, "no answer")
        if older_daemon:
            backdate(tx, paused_at=None)
        for back in (MINUTE, 10 * MINUTE, HOUR, 400 * 24 * HOUR):
            now = NOON + SOON - back
            assert [one] in (due_ids(tx, "ops", now), due_ids(tx, "ops", now + 5 * MINUTE))


@pytest.mark.parametrize(
    ("hours", "retryable", "pause"),
    [(0.9, True, 5 * MINUTE), (0.9, False, 5 * MINUTE), (1.0, False, HOUR), (20, False, HOUR), (20, True, 5 * MINUTE)],
)
def test_a_refusal_for_good_is_tried_as_usual_for_an_hour_and_then_hourly(engine, hours, retryable, pause):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        backdate(tx, attempts=12)
        at = NOON + hours * HOUR
        assert mark(tx, one, "HTTP 403", at=at, retryable=retryable) is PENDING
        assert due_ids(tx, "ops", at + pause - SECOND) == []
        assert due_ids(tx, "ops", at + pause) == [one]
        assert due_ids(tx, "ops", at - SECOND) == [one]  # the clock was stepped back


def test_what_is_never_answered_is_sent_three_times_and_counts_as_told(engine):
    with transaction(engine) as tx:
        say(tx, of := incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        at = NOON + SOON
        for pause in (5 * MINUTE, HOUR):
            assert mark(tx, one, "no answer", at=at, unknown=True) is PENDING
            assert due_ids(tx, "ops", at + pause - SECOND) == []
            assert due_ids(tx, "ops", at + pause) == [one]
            at += pause
        assert mark(tx, one, "no answer", at=at, unknown=True) is DeliveryState.UNKNOWN
        assert due_ids(tx, "ops", at + 48 * HOUR) == []
        assert outbox.told_severities(tx, of) == {"ops": WARNING}


def test_what_was_sent_once_without_an_answer_counts_as_told_also_when_it_is_given_up(engine):
    with transaction(engine) as tx:
        say(tx, one := incident(tx), "ops")
        (key,) = delivery_ids(tx, "ops")
        mark(tx, key, "no answer", unknown=True)
        end(tx, key, GIVEN_UP)
        assert [state for state, _ in states(tx)] == ["unknown"]
        say(tx, other := incident(tx, 2), "boss")
        mark(tx, delivery_ids(tx, "boss")[0], "no answer", unknown=True)
        say(tx, other, "boss", reason=Reason.REMINDER)
        end(tx, delivery_ids(tx, "boss")[1], GIVEN_UP)
        assert (outbox.told_severities(tx, one), outbox.told_severities(tx, other)) == (
            {"ops": WARNING},
            {"boss": WARNING},
        )


@pytest.mark.parametrize(
    ("hours", "attempts_before", "state"),
    [
        (23.9, 500, PENDING),
        (24.1, 22, PENDING),
        (24.1, 23, GIVEN_UP),
        (1000, 0, PENDING),
    ],
)
def test_nothing_is_given_up_before_a_day_and_two_dozen_attempts(engine, hours, attempts_before, state):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        tx.execute(deliveries.update().values(attempts=attempts_before))
        assert mark(tx, one, "dead", at=NOON + hours * HOUR) is state


def test_a_last_attempt_that_succeeds_late_is_delivered(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        for _ in range(23):
            mark(tx, one, "dead", at=NOON + 25 * HOUR)
        assert mark(tx, one, at=NOON + 25 * HOUR) is DELIVERED
        assert due_ids(tx, "ops", NOON + 26 * HOUR) == []


def test_the_outcome_of_each_attempt_is_kept(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (one,) = delivery_ids(tx, "ops")
        for second, error in enumerate(["no answer", "refused", None]):
            mark(tx, one, error, at=NOON + second * SECOND)
        kept = tx.execute(sa.select(attempts.c.ended_at, attempts.c.error).order_by(attempts.c.id)).all()
        assert [tuple(row) for row in kept] == [
            (NOON, "no answer"),
            (NOON + SECOND, "refused"),
            (NOON + 2 * SECOND, None),
        ]
        row = tx.execute(sa.select(deliveries)).one()
        assert (row.state, row.attempts, row.last_error, row.ended_at) == ("delivered", 3, None, NOON + 2 * SECOND)


def test_all_that_waits_is_due_at_once_and_joined_but_for_what_quiet_hours_hold(engine):
    with transaction(engine) as tx:
        for number in range(3):
            say(tx, incident(tx, number), "ops")
            mark(tx, due_ids(tx, "ops")[-1], "HTTP 403", retryable=False)
        say(tx, incident(tx, 4), "ops", held={"ops": NOON + 8 * HOUR})
        queue.expedite(tx, "ops", at=NOON + SOON, joined=True)
        (group,) = queue.claim_due(tx, "ops", NOON + SOON, limit=20)
        assert [delivery.said.id for delivery in group] == ["n0", "n1", "n2"]


# --- who was told -----------------------------------------------------------------------------------------------------


def test_told_is_who_heard_of_something_bad_with_the_worst_of_it(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops")
        say(tx, one, "ops", "boss", reason=Reason.ESCALATED, severity=CRITICAL)
        say(tx, one, "ops", "boss", "late", reason=Reason.EASED)
        say(tx, incident(tx, 2), "elsewhere")
        assert outbox.told_severities(tx, one) == {"ops": CRITICAL, "boss": CRITICAL, "late": WARNING}


@pytest.mark.parametrize(("state", "counts"), [(PENDING, True), (DELIVERED, True), (GIVEN_UP, False)])
def test_pending_counts_as_told_and_given_up_does_not_and_what_is_folded_is_told_as_its_successor(
    engine, state, counts
):
    with transaction(engine) as tx:
        say(tx, one := incident(tx, 1), "ops")
        end(tx, delivery_ids(tx, "ops")[0], state)
        assert ("ops" in outbox.told_severities(tx, one)) is counts
        say(tx, other := incident(tx, 2), "boss")
        say(tx, other, "boss", reason=Reason.RESOLVED)
        end(tx, delivery_ids(tx, "boss")[1], state)
        assert ("boss" in outbox.told_severities(tx, other)) is counts


def test_addressed_is_who_did_not_miss_the_newest(engine):
    with transaction(engine) as tx:
        say(tx, one := incident(tx), "ops", "boss")
        end(tx, delivery_ids(tx, "ops")[0], DELIVERED)
        assert outbox.addressed_channels(tx, one) == {"ops", "boss"}
        say(tx, one, "ops", "boss", reason=Reason.ESCALATED, severity=CRITICAL)
        end(tx, delivery_ids(tx, "ops")[1], GIVEN_UP)
        assert outbox.addressed_channels(tx, one) == {"boss"}


def test_a_channel_that_missed_the_opening_but_heard_the_escalation_was_told(engine):
    with transaction(engine) as tx:
        say(tx, one := incident(tx), "ops")
        end(tx, delivery_ids(tx, "ops")[0], GIVEN_UP)
        say(tx, one, "ops", reason=Reason.ESCALATED, severity=CRITICAL)
        assert outbox.told_severities(tx, one) == {"ops": CRITICAL}


def test_a_channel_no_longer_configured_is_abandoned_and_others_are_left_alone(engine):
    with transaction(engine) as tx:
        one = incident(tx)
        say(tx, one, "ops", "gone")
        say(tx, incident(tx, 2), "gone")
        mark(tx, delivery_ids(tx, "gone")[0])
        outbox.give_up_unconfigured(tx, ["ops", "new"], at=NOON + HOUR)
        rows = tx.execute(sa.select(deliveries.c.channel, deliveries.c.state).order_by(deliveries.c.id)).all()
        assert [tuple(row) for row in rows] == [("ops", "pending"), ("gone", "delivered"), ("gone", "given_up")]
        outbox.give_up_unconfigured(tx, [], at=NOON + HOUR)
        assert queue.due_channels(tx, NOON + HOUR) == {}


# --- the law ----------------------------------------------------------------------------------------------------------


def test_the_limit_cuts_no_message_in_two(engine):
    with transaction(engine) as tx:
        for number in range(5):
            say(tx, incident(tx, number), "ops")
        first = due_ids(tx, "ops", limit=3)
        for one in first:
            mark(tx, one, "no answer", at=NOON + SOON)
        groups = queue.claim_due(tx, "ops", NOON + MINUTE, limit=3)
        assert [len(group) for group in groups] == [2, 3]
        assert [one.id for one in groups[1]] == first


@examples(10)
@given(
    said=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 3)), min_size=1, max_size=8),
    answers=st.lists(st.booleans(), max_size=20),
    steps=st.lists(st.integers(-3600, 3600), min_size=1, max_size=20),
)
def test_whatever_fails_and_however_the_clock_steps_each_incident_is_heard_in_order_and_once(
    engine, said, answers, steps
):
    """So many rounds of sending lie between two notifications; the last of each incident always arrives."""
    with transaction(engine) as tx, tx.begin_nested() as undo:
        of = [incident(tx, 10 + number) for number in range(3)]
        heard, now, fails = [], NOON + SOON, iter(answers)
        by_incident = {}

        def send_due():
            for one in due(tx, "ops", now, limit=2):
                if next(fails, False):
                    mark(tx, one.id, "no answer", at=now)
                else:
                    mark(tx, one.id, at=now)
                    heard.append([*(older.id for older in one.folded), one.said.id])

        for number, (which, rounds) in enumerate(said):
            by_incident.setdefault(which, []).append(say(tx, of[which], "ops", at=now))
            for turn in range(rounds):
                now += timedelta(seconds=steps[(number + turn) % len(steps)])
                send_due()
        for _ in range(60):
            now += 6 * MINUTE
            send_due()
        told = [key for message in heard for key in message]
        for wanted in by_incident.values():
            assert sorted(key for key in told if key in wanted) == sorted(wanted)
            newest = [message[-1] for message in heard if message[-1] in wanted]
            assert newest == sorted(newest, key=wanted.index)
            assert newest[-1] == wanted[-1]
        undo.rollback()

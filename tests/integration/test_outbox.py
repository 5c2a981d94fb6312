"""The outbox: strict order, pauses that grow, giving up late, and who was told."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from story import NOON, due

from monitor.model import Attempt, DeliveryState, Facts, Notification, Reason, Rule, Severity, Subject
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


def say(tx, incident_id, *channels, reason=Reason.OPENED, severity=WARNING, at=NOON):
    """Puts one notification into the outbox; gives its id."""
    number = tx.execute(sa.text("SELECT count(*) FROM notifications")).scalar_one()
    facts = Facts(name="farm", account="studio", at=at)
    notification = Notification(f"n{number}", incident_id, Subject.ORGANIZATION, Rule.CREDITS, reason, severity, facts)
    outbox.enqueue(tx, notification, channels, at=at)
    return notification.id


def delivery_ids(tx, channel):
    return list(tx.execute(sa.select(deliveries.c.id).where(deliveries.c.channel == channel).order_by("id")).scalars())


def due_ids(tx, channel, now=NOON + SOON, **limit):
    return [delivery.id for delivery in due(tx, channel, now, **limit)]


def mark(tx, delivery_id, error=None, *, at=NOON + SOON, retryable=True):
    return outbox.record_attempt(tx, Attempt(delivery_id, error, retryable=retryable), at=at)


def end(tx, delivery_id, state):
    """Brings a delivery to a state as its channel would."""
    if state is DELIVERED:
        mark(tx, delivery_id)
    for _ in range(24 if state is GIVEN_UP else 0):
        mark(tx, delivery_id, "dead", at=NOON + 25 * HOUR)


# --- order ------------------------------------------------------------------------------------------------------------


def test_of_each_incident_and_channel_only_the_oldest_that_is_pending_is_due(engine):
    with transaction(engine) as tx:
        first, second = incident(tx, 1), incident(tx, 2)
        for of in (first, first, second):
            say(tx, of, "ops", "boss")
        first, second, elsewhere = delivery_ids(tx, "ops")
        assert due_ids(tx, "ops") == [first, elsewhere]
        mark(tx, first)
        assert set(due_ids(tx, "ops")) == {second, elsewhere}
        assert due_ids(tx, "boss") == delivery_ids(tx, "boss")[::2]


def test_what_comes_after_a_failed_one_waits_for_it_also_during_its_pause(engine):
    with transaction(engine) as tx:
        incident_id = incident(tx)
        say(tx, incident_id, "ops")
        say(tx, incident_id, "ops", reason=Reason.RESOLVED, at=NOON + SECOND)
        first, second = delivery_ids(tx, "ops")
        mark(tx, first, "no answer")
        assert due_ids(tx, "ops", NOON + SOON + SECOND) == []
        assert due_ids(tx, "ops", NOON + MINUTE) == [first]
        mark(tx, first, at=NOON + MINUTE)
        assert due_ids(tx, "ops", NOON + MINUTE) == [second]


def test_what_is_given_up_lets_the_next_one_through(engine):
    with transaction(engine) as tx:
        incident_id = incident(tx)
        say(tx, incident_id, "ops")
        say(tx, incident_id, "ops", reason=Reason.RESOLVED)
        first, second = delivery_ids(tx, "ops")
        end(tx, first, GIVEN_UP)
        assert due_ids(tx, "ops", NOON + 26 * HOUR) == [second]


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
        assert outbox.due_channels(tx, NOON) == set()
        say(tx, incident(tx), "ops", "boss")
        assert outbox.due_channels(tx, NOON + SOON) == {"ops", "boss"}
        mark(tx, delivery_ids(tx, "ops")[0])
        mark(tx, delivery_ids(tx, "boss")[0], "no answer")
        assert outbox.due_channels(tx, NOON + SOON) == set()
        assert outbox.due_channels(tx, NOON + MINUTE) == {"boss"}


def test_something_said_to_nobody_is_kept_and_waits_for_nobody(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx))
        assert outbox.due_channels(tx, NOON + HOUR) == set()
        assert tx.execute(sa.text("SELECT count(*) FROM notifications")).scalar_one() == 1


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_pauses_grow_from_five_seconds_to_five_minutes(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (delivery_id,) = delivery_ids(tx, "ops")
        at, pauses = NOON + SOON, []
        for _ in range(9):
            mark(tx, delivery_id, "no answer", at=at)
            next_at = tx.execute(sa.select(deliveries.c.next_attempt_at)).scalar_one()
            pauses.append((next_at - at).total_seconds())
            assert due_ids(tx, "ops", next_at - timedelta(microseconds=1)) == []
            assert due_ids(tx, "ops", next_at) == [delivery_id]
            at = next_at
        assert pauses[0] == 5
        assert pauses[-2:] == [300, 300]
        assert all(1 < later / earlier <= 2 or earlier == later == 300 for earlier, later in pairwise(pauses))


@pytest.mark.parametrize("failures", [0, 1, 12])
def test_a_clock_stepped_back_delays_nothing_for_longer_than_the_longest_pause(engine, failures):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (delivery_id,) = delivery_ids(tx, "ops")
        for _ in range(failures):
            mark(tx, delivery_id, "no answer")
        for back in (MINUTE, 10 * MINUTE, HOUR, 400 * 24 * HOUR):
            now = NOON + SOON - back
            assert [delivery_id] in (due_ids(tx, "ops", now), due_ids(tx, "ops", now + 5 * MINUTE))


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
        (delivery_id,) = delivery_ids(tx, "ops")
        tx.execute(deliveries.update().values(attempts=attempts_before))
        assert mark(tx, delivery_id, "dead", at=NOON + hours * HOUR) is state


def test_a_last_attempt_that_succeeds_late_is_delivered(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (delivery_id,) = delivery_ids(tx, "ops")
        for _ in range(23):
            mark(tx, delivery_id, "dead", at=NOON + 25 * HOUR)
        assert mark(tx, delivery_id, at=NOON + 25 * HOUR) is DELIVERED
        assert due_ids(tx, "ops", NOON + 26 * HOUR) == []


def test_the_outcome_of_each_attempt_is_kept(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (delivery_id,) = delivery_ids(tx, "ops")
        for second, error in enumerate(["no answer", "refused", None]):
            mark(tx, delivery_id, error, at=NOON + second * SECOND)
        kept = tx.execute(sa.select(attempts.c.ended_at, attempts.c.error).order_by(attempts.c.id)).all()
        assert [tuple(row) for row in kept] == [
            (NOON, "no answer"),
            (NOON + SECOND, "refused"),
            (NOON + 2 * SECOND, None),
        ]
        row = tx.execute(sa.select(deliveries)).one()
        assert (row.state, row.attempts, row.last_error, row.ended_at) == ("delivered", 3, None, NOON + 2 * SECOND)


def test_what_is_refused_for_good_is_still_tried_again_because_somebody_may_mend_it(engine):
    with transaction(engine) as tx:
        say(tx, incident(tx), "ops")
        (delivery_id,) = delivery_ids(tx, "ops")
        assert mark(tx, delivery_id, "404: no such hook", retryable=False) is PENDING
        assert due_ids(tx, "ops", NOON + SOON + 5 * MINUTE) == [delivery_id]


# --- who was told -----------------------------------------------------------------------------------------------------


def test_told_is_who_heard_of_something_bad_with_the_worst_of_it(engine):
    with transaction(engine) as tx:
        incident_id = incident(tx)
        say(tx, incident_id, "ops")
        say(tx, incident_id, "ops", "boss", reason=Reason.ESCALATED, severity=CRITICAL)
        say(tx, incident_id, "ops", "boss", "late", reason=Reason.EASED)
        say(tx, incident(tx, 2), "elsewhere")
        assert outbox.told_severities(tx, incident_id) == {"ops": CRITICAL, "boss": CRITICAL}


@pytest.mark.parametrize(("state", "counts"), [(PENDING, True), (DELIVERED, True), (GIVEN_UP, False)])
def test_pending_counts_as_told_and_given_up_does_not(engine, state, counts):
    with transaction(engine) as tx:
        say(tx, incident_id := incident(tx), "ops")
        end(tx, delivery_ids(tx, "ops")[0], state)
        assert ("ops" in outbox.told_severities(tx, incident_id)) is counts


def test_a_channel_that_missed_the_opening_but_heard_the_escalation_was_told(engine):
    with transaction(engine) as tx:
        say(tx, incident_id := incident(tx), "ops")
        end(tx, delivery_ids(tx, "ops")[0], GIVEN_UP)
        say(tx, incident_id, "ops", reason=Reason.ESCALATED, severity=CRITICAL)
        assert outbox.told_severities(tx, incident_id) == {"ops": CRITICAL}


def test_a_channel_no_longer_configured_is_abandoned_and_others_are_left_alone(engine):
    with transaction(engine) as tx:
        incident_id = incident(tx)
        say(tx, incident_id, "ops", "gone")
        say(tx, incident(tx, 2), "gone")
        mark(tx, delivery_ids(tx, "gone")[0])
        outbox.give_up_unconfigured(tx, ["ops", "new"], at=NOON + HOUR)
        rows = tx.execute(sa.select(deliveries.c.channel, deliveries.c.state).order_by(deliveries.c.id)).all()
        assert [tuple(row) for row in rows] == [("ops", "pending"), ("gone", "delivered"), ("gone", "given_up")]
        outbox.give_up_unconfigured(tx, [], at=NOON + HOUR)
        assert outbox.due_channels(tx, NOON + HOUR) == set()


# --- the law ----------------------------------------------------------------------------------------------------------


def test_the_limit_cuts_no_message_in_two(engine):
    with transaction(engine) as tx:
        for number in range(5):
            say(tx, incident(tx, number), "ops")
        first = due_ids(tx, "ops", limit=3)
        for delivery_id in first:
            mark(tx, delivery_id, "no answer", at=NOON + SOON)
        groups = outbox.claim_due(tx, "ops", NOON + MINUTE, limit=3)
        assert [len(group) for group in groups] == [2, 3]
        assert [delivery.id for delivery in groups[1]] == first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    enqueued=st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=8),
    answers=st.lists(st.booleans(), max_size=20),
    steps=st.lists(st.integers(-3600, 3600), min_size=1, max_size=20),
)
def test_whatever_fails_and_however_the_clock_steps_each_incident_is_heard_in_order_and_once(
    engine, enqueued, answers, steps
):
    with transaction(engine) as tx, tx.begin_nested() as undo:
        of = [incident(tx, 10 + number) for number in range(3)]
        expected = [(of[number], say(tx, of[number], "ops")) for number in enqueued]
        heard = []
        now = NOON + SOON
        for number in range(200):
            now += timedelta(seconds=steps[number % len(steps)]) if number < 40 else 6 * MINUTE
            for delivery in due(tx, "ops", now, limit=2):
                fails = number < len(answers) and answers[number]
                mark(tx, delivery.id, "no answer" if fails else None, at=now)
                if not fails:
                    heard.append(delivery.id)
            if len(heard) == len(expected):
                break
        ids = delivery_ids(tx, "ops")
        assert sorted(heard) == ids
        by_incident = {id_: [i for i, (of_, _) in zip(ids, expected, strict=True) if of_ == id_] for id_ in of}
        for wanted in by_incident.values():
            assert [i for i in heard if i in wanted] == wanted
        undo.rollback()

"""What goes wrong with checks is said once in the log, and once that it is over: not once for each check."""

import logging

import pytest

from monitor.errors import ProviderUnavailable, RateLimited
from monitor.poll.failure_log import FailureLog

REFUSED = ProviderUnavailable("the connection to the vendor was refused")


@pytest.fixture
def failure_log(caplog) -> FailureLog:
    caplog.set_level(logging.INFO, "monitor")
    return FailureLog("studio")


def poll(failure_log: FailureLog, *failed: str, error=REFUSED) -> None:
    for name in failed:
        failure_log.add(name, error)
    failure_log.end_poll()


def test_a_cause_is_said_at_once_and_whom_else_it_concerns_at_the_end_of_the_poll(failure_log, caplog):
    failure_log.add("farm", REFUSED)
    assert caplog.messages == ["farm: the connection to the vendor was refused"]
    poll(failure_log, *(f"other-{n:04}" for n in range(9999)))
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("account studio: also other-0000, other-0001, ")
    assert caplog.messages[1].endswith(" and 9994 more: the connection to the vendor was refused")


def test_a_cause_that_lasts_for_a_day_is_said_once_and_its_end_once(failure_log, caplog):
    for _ in range(288):
        poll(failure_log, "farm")
    for _ in range(3):
        poll(failure_log)
    assert caplog.messages == [
        "farm: the connection to the vendor was refused",
        "account studio: no longer: the connection to the vendor was refused",
    ]


def test_whom_a_cause_reaches_later_is_said_too(failure_log, caplog):
    poll(failure_log, "farm")
    poll(failure_log, "farm", "video")
    poll(failure_log, "farm", "video")
    assert caplog.messages[1:] == ["account studio: also video: the connection to the vendor was refused"]


def test_another_cause_is_another_line(failure_log, caplog):
    poll(failure_log, "farm")
    poll(failure_log, "farm", error=ProviderUnavailable("the vendor has a fault (HTTP 500): err: request 8f3a failed"))
    poll(failure_log, "farm", error=ProviderUnavailable("the vendor has a fault (HTTP 500): err: request 77c1 failed"))
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "the connection to the vendor was refused",
        "the vendor has a fault (HTTP 500): err: request 8f3a failed",
        "no longer: the connection to the vendor was refused",
    ]


def test_a_countdown_is_one_cause(failure_log, caplog):
    for left in (60, 43, 7):
        poll(failure_log, "farm", error=RateLimited(f"waiting for another {left} s", retry_after=left))
    assert caplog.messages == ["farm: waiting for another 60 s"]

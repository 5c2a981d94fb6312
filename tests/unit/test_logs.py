"""What the journal gets of a log line: fields of its own, a priority, no time; and who gets which form."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wait import LONG

from monitor.cli import logs
from monitor.cli.logs import JournalHandler


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "journal"))
        one.settimeout(LONG)
        yield one


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    logger = logging.Logger("monitor.test")  # noqa: LOG001 -- one that nobody else knows
    logger.addHandler(JournalHandler(tmp_path / "journal"))
    yield logger
    logger.handlers[0].close()


def fields(datagram: bytes) -> dict[str, str]:
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        found[name.decode()] = value.decode()
    return found


def test_a_line_carries_its_priority_its_place_and_what_it_is_about(listening, log):
    log.warning("%s: %s", "farm", "timed out", extra={"organization": "farm", "account": "studio", "channel": None})
    found = fields(listening.recv(10_000))
    assert found.pop("CODE_FILE") == __file__
    assert found.pop("CODE_LINE").isdecimal()
    assert found == {
        "MESSAGE": "farm: timed out",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "credit-monitor",
        "LOGGER": "monitor.test",
        "CODE_FUNC": "test_a_line_carries_its_priority_its_place_and_what_it_is_about",
        "ORGANIZATION": "farm",
        "ACCOUNT": "studio",
    }


def test_a_name_cannot_forge_a_field(listening, log):
    log.error("x", extra={"organization": "farm\nPRIORITY=0\nMESSAGE=all is well"})
    found = fields(listening.recv(10_000))
    assert (found["PRIORITY"], found["MESSAGE"]) == ("3", "x")
    assert found["ORGANIZATION"] == "farm\nPRIORITY=0\nMESSAGE=all is well"


def test_a_traceback_is_part_of_the_message(listening, log):
    try:
        int("oops")
    except ValueError:
        log.exception("it failed")
    message = fields(listening.recv(100_000))["MESSAGE"]
    assert message.startswith("it failed\n  Traceback")
    assert "ValueError: invalid literal" in message


def test_what_the_journal_does_not_take_goes_to_standard_error(log, capsys):
    log.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
    log.warning("nobody listens")
    assert capsys.readouterr().err == "<4>nobody listens\n"


@pytest.mark.parametrize("stream", [None, "1:2", "nonsense"])
def test_the_journal_is_written_to_only_when_it_reads_standard_error(stream, monkeypatch):
    handler = logs._handler({} if stream is None else {"JOURNAL_STREAM": stream})
    assert not isinstance(handler, JournalHandler)
    assert isinstance(handler.formatter, logs.JournalFormatter) is (stream is not None)


def test_the_journal_is_recognised_by_the_stream_that_systemd_opened(listening, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "JOURNAL", tmp_path / "journal")
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        handler = logs._handler({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        handler.close()
    assert isinstance(handler, JournalHandler)

"""A child, forked by the template for one channel: reads one question a line, writes one answer a line.

It never outlives the daemon, which could not learn what became of a message: the kernel kills it with the template, and
the template with the daemon.  It says that it is ready, and so gets its first question, only once that holds.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, TextIO

from monitor.channels import service
from monitor.channels.confine import die_with_parent, discard, limit_memory
from monitor.channels.outcomes import Outcome, Report, Wanted

NOTHING: Final[dict[str, Any]] = {"cautions": [], "insecure": None}  # is known of a URL that is not taken
ROOM: Final = 48 * 1024 * 1024  # bytes; a message takes less than 10 MiB


def main(connection: int, *, template: int) -> None:
    """Answer what is asked through the socket `connection` until it ends; `template` is the parent's process id."""
    die_with_parent()
    if os.getppid() != template:  # it had died before
        return
    os.setsid()
    for descriptor in (0, 1, 2):  # 0 was the template's socket to the daemon
        discard(descriptor)
    limit_memory(ROOM)
    daemon = socket.socket(fileno=connection)  # left open: its end is seen when this process has its exit code
    questions, answers = daemon.makefile("r", encoding="ascii"), daemon.makefile("w", encoding="ascii")
    with suppress(ConnectionError):  # the daemon has given up
        _write(answers, {"ready": True})
        for line in questions:
            _write(answers, _answer(json.loads(line), lambda progress: _write(answers, {"progress": True} | progress)))


def _answer(question: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return what is wrong with the URL or became of the message (`error` is None: nothing), or that it is too late.

    What becomes of each target is reported before.
    """
    message, until = question.get("message"), question.get("until")
    # The parent may have been stopped after it asked; by now another daemon may send this.
    if until is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= until:
        return {"late": True}
    try:
        if message is None:
            error = service.problem(url := question["url"])
            known = {"cautions": service.cautions(url), "insecure": service.insecure(url)} if error is None else NOTHING
            return {"error": error} | known
        wanted = Wanted.of(question)
        return {"late": False} | service.send(
            question["url"], message, seconds=question["seconds"], wanted=wanted, report=report
        )
    except Exception as exception:  # noqa: BLE001 -- a plugin may raise anything, and its text may hold the URL
        outcome = Outcome(f"the sending process failed ({type(exception).__name__})")
        return {"late": False, **asdict(outcome), "targets": [], "seen": [], "parts": [], "complete": False}


def _write(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()

"""The child process: reads one question a line on its standard input, writes one answer a line on its standard output.

Refuses to outlive its parent: the kernel kills it with the parent's thread, and it says that it is ready, and so gets
its first question, only after having asked for that; a parent that had died before closed the questions with it.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, Final, TextIO

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Answer until the questions end."""
    _die_with_parent()
    os.umask(0o077)
    answers = _own_stdout()
    # Only now: Apprise takes a while, and must not be able to write among the answers.
    from monitor.channels import service  # noqa: PLC0415

    service.load()
    _say(answers, {"ready": True})
    _discard(sys.stderr)
    for line in sys.stdin:
        _say(answers, _answer(service, json.loads(line)))


def _answer(service: Any, question: dict[str, Any]) -> dict[str, Any]:
    """What is wrong with the URL or became of the message (`error` is None: nothing), or that it is too late for it."""
    message, until = question.get("message"), question.get("until")
    # The parent may have been stopped after it asked; by now another daemon may send this.
    if until is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= until:
        return {"late": True}
    try:
        if message is None:
            return {"error": service.problem(question["url"])}
        error, retryable = service.send(question["url"], message, seconds=question["seconds"])
    except Exception as exception:  # noqa: BLE001 -- a plugin may raise anything, and its text may hold the URL
        error, retryable = f"the sending process failed ({type(exception).__name__})", True
    return {"late": False, "error": error, "retryable": retryable, "unknown": error == service.UNANSWERED}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Nothing is asked before we are ready, so what can be read now is the end: it has died already.
    if select.select([sys.stdin], [], [], 0)[0]:
        sys.exit()


def _own_stdout() -> TextIO:
    """Keep standard output for answers; what plugins print goes nowhere."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    _discard(sys.stdout)
    return answers


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()

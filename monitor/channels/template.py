"""The template process: it has Apprise loaded, and forks a child for each channel that something is sent to.

It holds no secret, no database connection and no lock, and runs one thread.  What a child is asked goes through a
socket of the child's own, which is passed on unread.  It dies with the thread of the daemon that started it.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Final

from monitor.channels.confine import die_with_parent, discard

CONTROL: Final = 0  # the descriptor of the socket to the daemon
MAX_REQUEST: Final = 256  # bytes


def main() -> None:
    """Load Apprise, say so, and serve until the daemon closes the socket."""
    # A service manager tells all processes of a service to end; what is being sent is the daemon's to end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    # Nothing is asked before we are ready, so what can be read now is the end: the daemon has died already.
    if select.select([CONTROL], [], [], 0)[0]:
        return
    os.umask(0o077)
    discard(sys.stdout.fileno())
    # Only now: it takes a while, and may print.
    from monitor.channels import child, service  # noqa: PLC0415

    service.load()
    service.warm_up()
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, what it shares with its siblings
    with socket.socket(fileno=CONTROL) as control, suppress(ConnectionError):  # the daemon has gone
        _send(control, {"ready": True})
        discard(sys.stderr.fileno())
        _serve(control, child)


def _serve(control: socket.socket, child: Any) -> None:
    """Fork and end children as the daemon asks: `{"fork": 7}` with a descriptor, `{"end": 7}`.

    The latter is answered, `{"ended": 7, "reason": "signal 9"}`, and so is why there was no child.
    """
    children: dict[int, int | str] = {}  # by the daemon's numbers: process ids, or why there is none
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST, 1, socket.MSG_CMSG_CLOEXEC)
        if not request:
            return
        asked = json.loads(request)
        if "fork" in asked:
            children[asked["fork"]] = _fork(child, *descriptors)
            os.close(*descriptors)
        else:
            _send(control, {"ended": asked["end"], "reason": _end(children.pop(asked["end"]))})


def _fork(child: Any, connection: int) -> int | str:
    """Return the process id of a new child, or why there is none."""
    template = os.getpid()
    try:
        process_id = os.fork()
    except OSError as error:
        return str(error.strerror)
    if process_id:
        return process_id
    status = 1
    try:  # in the child, which never returns into the loop of the template, whatever is raised
        child.main(connection, template=template)
        status = 0
    finally:
        os._exit(status)


def _end(child: int | str) -> str:
    """Kill a child; return what it died of, which may have been something else before."""
    if isinstance(child, str):
        return child
    os.kill(child, signal.SIGKILL)  # not reaped yet, so the id is still its own
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"signal {-code}" if code < 0 else f"status {code}"


def _send(control: socket.socket, answer: dict[str, Any]) -> None:
    control.send(json.dumps(answer).encode())


if __name__ == "__main__":
    main()

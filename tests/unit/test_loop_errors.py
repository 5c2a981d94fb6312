"""What goes wrong in the event loop itself: a line for what is scarce, everything for a mistake of ours."""

import asyncio
import errno
import os

from monitor.daemon.process import LoopErrors

ACCEPT = "socket.accept() out of system resource"


async def test_a_want_of_descriptors_is_one_line_however_often_asyncio_meets_it(caplog):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for _ in range(128):
        want = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        loop.call_exception_handler({"message": ACCEPT, "exception": want, "socket": object()})
    assert caplog.messages == [f"in the event loop: {ACCEPT}: too many open files"]
    assert caplog.records[0].exc_info is None


async def test_everything_else_is_logged_with_its_traceback(caplog):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    loop.call_soon(lambda: 1 // 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "in the event loop: Exception in callback" in caplog.messages[0]
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


async def test_what_has_no_error_is_a_line(caplog):
    loop = asyncio.get_running_loop()
    LoopErrors()(loop, {"message": "Task was destroyed but it is pending!"})
    assert caplog.messages == ["in the event loop: Task was destroyed but it is pending!"]
    assert not caplog.records[0].exc_info

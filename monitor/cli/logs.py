"""Where log lines go: to the journal with fields of their own, or to standard error in the way of whoever reads it.

Refuses to wait for a journal that does not listen.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from monitor.text import escape

PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
JOURNAL: Final = Path("/run/systemd/journal/socket")
LONGEST_WAIT: Final = 0.2  # seconds for a journal that is busy; then a line is lost rather than a poll
# What a log call may say beside its words, in `extra`; `journalctl ORGANIZATION=render-farm` finds it.
FIELDS: Final = ("organization", "account", "channel", "rule", "severity", "reason", "incident", "notification")


class LineFormatter(logging.Formatter):
    """A log record on one line, whatever its parts hold; the lines of a traceback are indented, and start no record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the library's name
        record.message = escape(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "\n".join(f"  {escape(line)}" for line in super().formatException(ei).split("\n"))


class JournalFormatter(LineFormatter):
    """A priority in front, and no time: the journal has its own."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{PRIORITIES.get(record.levelno, 6)}>{line}" for line in lines)


class JournalHandler(logging.StreamHandler[Any]):
    """Sends each record to the journal's own socket; to standard error what that does not take."""

    def __init__(self, address: Path = JOURNAL) -> None:
        super().__init__()
        self.setFormatter(JournalFormatter("%(message)s"))
        self._address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(LONGEST_WAIT)

    def emit(self, record: logging.LogRecord) -> None:
        datagram = b"".join(_encoded(name, value) for name, value in self._fields(record))
        try:
            self._socket.sendto(datagram, self._address)
        except TimeoutError:
            return
        except OSError:
            super().emit(record)

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        yield "MESSAGE", LineFormatter("%(message)s").format(record)
        yield "PRIORITY", PRIORITIES.get(record.levelno, 6)
        yield "SYSLOG_IDENTIFIER", "credit-monitor"
        yield "LOGGER", record.name
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", record.lineno
        yield "CODE_FUNC", record.funcName
        yield from ((name.upper(), vars(record)[name]) for name in FIELDS if vars(record).get(name) is not None)


def _encoded(name: str, value: object) -> bytes:
    """One field as the journal takes it; a value of several lines goes with its length in front."""
    content = str(value).encode(errors="replace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode(), content)
    return b"%s\n%s%s\n" % (name.encode(), len(content).to_bytes(8, "little"), content)


def _journal_reads(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the stream that systemd opened to its journal, and nobody redirected it."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def log_to_stderr(level: int) -> None:
    """Say what happens, to the journal or on standard error."""
    logging.basicConfig(level=level, handlers=[_handler(os.environ)])


def _handler(environ: Mapping[str, str]) -> logging.Handler:
    if _journal_reads(environ) and JOURNAL.is_socket():
        return JournalHandler()
    handler = logging.StreamHandler()
    if environ.get("JOURNAL_STREAM"):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        formatter = LineFormatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    return handler

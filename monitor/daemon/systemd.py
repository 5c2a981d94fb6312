"""The protocol of sd_notify: ready, reloading, stopping, status and watchdog; says nothing without `$NOTIFY_SOCKET`.

A sign of life is the time of a file, too, for a container's health check (`progress`).
Of a reload the protocol has no failure, so the outcome is left in `$RUNTIME_DIRECTORY`, where there is one.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from monitor.daemon.progress import ProgressFile

EXTEND_EVERY: Final = 10.0  # seconds between requests for more time to start
EXTEND_BY: Final = timedelta(seconds=60)
LONGEST_START: Final = 3600.0  # seconds for which more time is asked for

log = logging.getLogger(__name__)


class ServiceManager:
    """Sends to `$NOTIFY_SOCKET`; safe to use from any thread."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._failing = False
        self._reload_file = _reload_file(environ)
        self._progress = ProgressFile(environ)
        self._is_reloading = False
        self.watchdog_timeout = _watchdog_timeout(environ)  # between two calls of `alive`; None: there is no watchdog

    def ready(self, *, refused: str | None = None) -> None:
        """Tell that the process has started, or has finished a reload, and why that was `refused`."""
        self._tell("READY=1")
        if self._is_reloading:
            self._is_reloading = False
            self._answer(refused)

    def reloading(self) -> None:
        """Tell that the configuration is being read again; `ready` ends it."""
        self._is_reloading = True
        # Newer managers (Type=notify-reload) distinguish this reload from an earlier one by the instant.
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that the process is about to end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Tell that the process works; due within every `watchdog_timeout`."""
        self._progress.touch()
        self._tell("WATCHDOG=1")

    def ended(self) -> None:
        """Take the last sign of life back."""
        self._progress.remove()

    def status(self, sentence: str) -> None:
        """Set what `systemctl status` shows; sent only when it has changed."""
        if sentence != self._status:
            self._status = sentence
            self._tell("STATUS=" + " ".join(sentence.split()))

    @contextmanager
    def more_time(self, doing: str) -> Iterator[None]:
        """Ask for more time to start, at intervals, while the block runs."""
        done = threading.Event()

        def ask() -> None:
            until = time.monotonic() + LONGEST_START
            while not done.wait(EXTEND_EVERY) and time.monotonic() < until:
                self._progress.touch()
                self.status(doing)
                self._tell(f"EXTEND_TIMEOUT_USEC={EXTEND_BY // timedelta(microseconds=1)}")

        threading.Thread(target=ask, name="more time", daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _answer(self, refused: str | None) -> None:
        """Leave the outcome of a reload where `ExecReload` waits for it: an empty file, or why it was refused."""
        if self._reload_file is None:
            return
        part = self._reload_file.with_suffix(".part")
        try:
            part.write_text(f"{refused}\n" if refused else "", encoding="utf-8", errors="replace")
            part.replace(self._reload_file)
        except OSError as error:
            log.warning("the outcome of the reload cannot be left for systemctl: %s", error.strerror or error)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(1)  # a manager that does not listen must not hold up the work
                connection.connect("\0" + self._address[1:] if self._address.startswith("@") else self._address)
                connection.sendall(state.encode(errors="replace"))
        except OSError as error:
            if not self._failing:
                log.warning("the service manager cannot be told how this process is: %s", error.strerror or error)
            self._failing = True
        else:
            self._failing = False


def _reload_file(environ: Mapping[str, str]) -> Path | None:
    """Return where the outcome of a reload is left; None without a runtime directory."""
    folder = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(folder) / "reload" if folder else None


def _watchdog_timeout(environ: Mapping[str, str]) -> timedelta | None:
    """Return the watchdog's time-out for this process; None without one, and in a child process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return timedelta(microseconds=int(microseconds))

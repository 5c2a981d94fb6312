"""The daemon's last sign of life: the time of a file, which `credit-monitor healthy` looks at.

The file is in `$RUNTIME_DIRECTORY`, else in the state directory, else in /tmp: the first of them that can be written.
A lock or a socket would say nothing: a process that is stopped keeps both.  Imports nothing that takes time.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "progress"
OLDEST: Final = 60.0  # seconds; the daemon gives a sign of life every five
TEMPORARY: Final = Path("/tmp")  # noqa: S108 -- our own file there is opened as one, and belongs to us


def places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the file may be, the first choice first."""
    directories = (environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], _state_directory(environ))
    yield from (Path(directory) / NAME for directory in directories if directory)
    yield TEMPORARY / f"credit-monitor-{os.geteuid()}.{NAME}"


def _state_directory(environ: Mapping[str, str]) -> str | None:
    """Return it as the configuration has it, which takes too long to import for a health check."""
    if directory := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return directory
    if (base := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return f"{base}/credit-monitor"
    return f"{home}/.local/state/credit-monitor" if (home := environ.get("HOME")) else None


class ProgressFile:
    """Gives signs of life, and takes the last one back at the end; one that cannot be given is not complained of."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._places = tuple(places(environ))
        self._path: Path | None = None

    def touch(self) -> None:
        """Give a sign of life."""
        for path in self._places:
            if _touch(path):
                if self._path not in {None, path}:
                    self.remove()
                self._path = path
                return

    def remove(self) -> None:
        """Take it back: the daemon ends."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def _touch(path: Path) -> bool:
    """Set the file's time to now; return whether that could be done. What is no file of ours is left alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.utime(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def last_progress(environ: Mapping[str, str]) -> tuple[Path, float] | None:
    """Return the newest such file and its age in seconds; None where there is none.

    A clock that was set back makes the age negative, until the next sign of life.
    """
    found = [(path, status.st_mtime) for path in places(environ) if (status := _status(path))]
    if not found:
        return None
    path, changed = max(found, key=lambda each: each[1])
    return path, time.time() - changed


def _status(path: Path) -> os.stat_result | None:
    """Return the status of the file; None where there is none, and for what somebody else has put into /tmp."""
    try:
        status = path.lstat()
    except OSError:
        return None
    is_foreign = path.parent == TEMPORARY and status.st_uid != os.geteuid()
    return status if stat.S_ISREG(status.st_mode) and not is_foreign else None

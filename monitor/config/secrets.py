"""Secrets: where each comes from, and who else could read it; none is read before somebody needs it."""

import errno
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from monitor.errors import ConfigError, Mistake
from monitor.store.file_access import remedy
from monitor.text.redaction import remember

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
LARGEST_SECRET: Final = 64 * 1024  # bytes
MOUNTED: Final = ("/run/credentials/", "/run/secrets/")  # systemd and Docker say who may read these

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret comes from: a value at hand, a file that is read only when somebody needs it, or nowhere."""

    key: str  # of the setting, for messages
    place: str | None  # where it was given, or should have been
    line: int | None
    variable: str  # that would give it, too
    value: str | None = field(default=None, repr=False)
    path: Path | None = None
    elsewhere: str | None = None  # how a person gets at it, where the service alone has it
    proven: bool = False  # read before: what is odd about it was logged

    @property
    def is_given(self) -> bool:
        """Whether there is anything to read."""
        return self.value is not None or self.path is not None

    def read(self) -> str:
        """Return the secret, which is redacted from now on; raise `ConfigError` when it cannot be had."""
        secret = self._value()
        remember(secret)
        return secret

    def _value(self) -> str:
        if self.value is not None:
            return self.value
        if self.path is None:
            setting = self.key.rpartition(".")[2]
            hint = f"set {setting}_file, or give it as the environment variable or credential {self.variable}"
            raise self.wrong(f"is missing; {self.elsewhere or hint}")
        content = self._from_file(self.path).strip()
        if not content:
            raise self.wrong(f"{self.path}: is empty")
        if is_quoted(content):
            raise self.wrong(f"{self.path}: is in quotes; write the secret without them")
        if not content.isprintable():
            raise self.wrong(f"{self.path}: is not one line of text")
        return content

    def wrong(self, problem: str) -> ConfigError:
        """Return the error of a mistake about this setting, with its place."""
        return ConfigError([Mistake(self.key, problem, self.place, self.line)])

    def _from_file(self, path: Path) -> str:
        try:
            with open_regular(path) as source:
                problem = exposure(path, os.fstat(source.fileno()).st_mode)
                if problem and not (self.place or "").startswith(f"${CREDENTIALS}"):
                    log.warning("%s: %s %s", self.key, path, problem)
                return source.read(LARGEST_SECRET).decode("utf-8-sig")
        except OSError as error:
            raise self.wrong(f"{path}: {unreadable(error, path)}") from None
        except UnicodeDecodeError:
            raise self.wrong(f"{path}: is not one line of text") from None


def is_quoted(text: str) -> bool:
    """Return whether a value is in quotes, as files of variables have it that a shell does not read."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; raise `OSError` for what is none: a pipe without a writer would never answer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "it is no regular file (a pipe or a device)")


def exposure(path: Path, mode: int, *, writable_only: bool = False) -> str | None:
    """Return what everybody here may do with a file of this mode, and how to end it; None when nothing."""
    if str(path).startswith(MOUNTED):
        return None
    if mode & stat.S_IWOTH:
        return f"can be changed by everybody here; chmod {'o-w' if writable_only else '600'} {path}"
    if mode & stat.S_IROTH and not writable_only:
        return f"can be read by everybody here; chmod 600 {path}"
    return None


def unreadable(error: OSError, path: Path) -> str:
    """Return why a file cannot be read, and who may."""
    why = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
    who = remedy(path) if isinstance(error, PermissionError) else None
    return f"{why}; {who}" if who else why

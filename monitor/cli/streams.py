"""The standard streams: open on something before any file is, and what a command does when nobody takes its output."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, TextIO

import click

EXIT_CODE: Final = 74  # of a command that is nothing but its output


class OutputLost(Exception):
    """Standard output does not take what is written: it is closed or full, or its reader has left.

    No `OSError`: click takes one of those for its own, and exits 1, which means "warning" here.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.errno = error.errno


class _Output(io.FileIO):
    """Standard output, whose errors are distinguished from those of every other file."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLost(error) from None


class _Remarks(io.FileIO):
    """Standard error: what it does not take is lost, and nothing else."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_standard_streams() -> None:
    """Open descriptors 0 to 2 where they are closed, or the next file would get one and our output; for `main`."""
    for descriptor, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):  # writing to 1 fails as before
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # the lowest that is free
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _text(sys.stdout, _Output(1, "w", closefd=False))
    sys.stderr = _text(sys.stderr, _Remarks(2, "w", closefd=False), line_buffering=True)


def _text(before: TextIO | None, raw: io.FileIO, *, line_buffering: bool = False) -> io.TextIOWrapper:
    """Return a stream that writes text as Python's own does; what its encoding lacks is written as an escape."""
    encoding = (before and before.encoding) or "utf-8"
    errors = (before and before.errors) or "strict"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace" if errors == "strict" else errors,
        line_buffering=line_buffering or raw.isatty(),
    )


def lost(error: OutputLost) -> int:
    """Say why the output is lost, and return the exit code; a reader that has enough is no mistake."""
    _mute()
    if error.errno == errno.EPIPE:
        return 0
    why = "is closed" if error.errno == errno.EBADF else str(error).lower()
    click.echo(f"standard output: {why}; what was to be printed is lost", err=True)
    return EXIT_CODE


def _mute() -> None:
    """Let what is still buffered go nowhere."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


@contextmanager
def verdict(code: int) -> Iterator[None]:
    """Exit with this code, whatever becomes of the output inside: what is found or done does not depend on it."""
    try:
        yield
        sys.stdout.flush()
    except OutputLost as error:
        lost(error)
    _exit(code)


def _exit(code: int) -> NoReturn:
    raise click.exceptions.Exit(code)

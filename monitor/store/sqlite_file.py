"""Detect that a SQLite file was removed or replaced since it was opened: what is written to it would be lost."""

import os
from pathlib import Path

import sqlalchemy as sa

from monitor.errors import DatabaseError

FileId = tuple[int, int]  # device and inode


def file_id(file: Path | int) -> FileId | None:
    """Return what distinguishes a file (or that of a descriptor) from others of its name; None when there is none."""
    try:
        status = os.stat(file)  # noqa: PTH116 -- a descriptor has no path
    except OSError:
        return None
    return status.st_dev, status.st_ino


class OpenedFile:
    """The file of an engine as it was opened; for PostgreSQL every check passes."""

    def __init__(self, url: sa.URL) -> None:
        is_file = url.get_backend_name() == "sqlite" and url.database
        self._path = Path(str(url.database)) if is_file else None
        self._opened = file_id(self._path) if self._path else None
        self._log: FileId | None = None  # SQLite's write-ahead log, beside the file

    @property
    def is_replaced(self) -> bool:
        """Whether another file has its name now."""
        current = file_id(self._path) if self._path else None
        return current is not None and current != self._opened

    def require_same(self) -> None:
        """Raise `DatabaseError` when the file was removed or replaced."""
        if self._path is None:
            return
        if (current := file_id(self._path)) == self._opened:
            self._log = file_id(_with_suffix(self._path, "-wal"))
            return
        what = "removed while it was in use: put it back, or restart to begin a new one"
        raise DatabaseError(f"SQLite file {self._path}: {'replaced while it was in use' if current else what}")

    def accept(self) -> None:
        """Accept the present file; a log left of the other one is removed, or it would be played into this one."""
        if self._path is None:
            return
        if self._log is not None and file_id(_with_suffix(self._path, "-wal")) == self._log:
            for suffix in ("-wal", "-shm"):
                _with_suffix(self._path, suffix).unlink(missing_ok=True)
        self._opened, self._log = file_id(self._path), None


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

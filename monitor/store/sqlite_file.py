"""Sees when a SQLite file is no longer the one that was opened: what is written to that one would be lost.

Refuses to open anything, and to remove anything but what was left of the file that is gone.
"""

from pathlib import Path

import sqlalchemy as sa

from monitor.errors import DatabaseError

Identity = tuple[int, int]


def identity(path: Path) -> Identity | None:
    """What tells a file from another one of the same name; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class OpenedFile:
    """The file behind an engine; for any other database there is nothing to see."""

    def __init__(self, url: sa.URL) -> None:
        is_file = url.get_backend_name() == "sqlite" and url.database
        self._path = Path(str(url.database)) if is_file else None
        self._opened = identity(self._path) if self._path else None
        self._log: Identity | None = None  # SQLite's write-ahead log, beside the file

    @property
    def is_replaced(self) -> bool:
        """Whether another file is in its place."""
        there = identity(self._path) if self._path else None
        return there is not None and there != self._opened

    def require_same(self) -> None:
        """`DatabaseError` when what was opened is not what is there."""
        if self._path is None:
            return
        if (there := identity(self._path)) == self._opened:
            self._log = identity(_beside(self._path, "-wal"))
            return
        what = "removed while it was in use: put it back, or restart to begin a new one"
        raise DatabaseError(f"SQLite file {self._path}: {'replaced while it was in use' if there else what}")

    def accept(self) -> None:
        """What is there now is the file; a log that belongs to the other one would be played into it."""
        if self._path is None:
            return
        if self._log is not None and identity(_beside(self._path, "-wal")) == self._log:
            for side in ("-wal", "-shm"):
                _beside(self._path, side).unlink(missing_ok=True)
        self._opened, self._log = identity(self._path), None


def _beside(path: Path, side: str) -> Path:
    return path.with_name(path.name + side)

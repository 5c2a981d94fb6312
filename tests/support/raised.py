"""Exceptions of every hierarchy that a database layer can raise, at any step of a transaction."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

CLASSES: dict[str, Callable[[], Exception]] = {
    "sqlite3.OperationalError": lambda: sqlite3.OperationalError("disk I/O error"),
    "sqlite3.IntegrityError": lambda: sqlite3.IntegrityError("constraint failed"),
    "psycopg.OperationalError": lambda: psycopg.OperationalError("the connection is lost"),
    "psycopg.DataError": lambda: psycopg.DataError("can't parse timestamptz"),
    "psycopg.UndefinedTable": lambda: psycopg.errors.UndefinedTable("relation does not exist"),
    "psycopg.InsufficientPrivilege": lambda: psycopg.errors.InsufficientPrivilege("permission denied for table x"),
    "sqlalchemy.InvalidRequestError": lambda: sa.exc.InvalidRequestError("inactive transaction"),
    "sqlalchemy.TimeoutError": lambda: sa.exc.TimeoutError("QueuePool limit"),
    "UnicodeEncodeError": lambda: UnicodeEncodeError("latin-1", "Kyōto", 2, 3, "ordinal not in range"),
    "ValueError": lambda: ValueError("not a value"),
    "OverflowError": lambda: OverflowError("int too large"),
    "KeyError": lambda: KeyError("no such column"),
    "AttributeError": lambda: AttributeError("'bytes' object has no attribute 'split'"),
    "OSError": lambda: OSError(5, "Input/output error"),
    "MemoryError": MemoryError,
}


class Raising:
    """Raises at the n-th step of an engine's transactions, `times` times: at its begin, a statement or the commit."""

    def __init__(self, make: Callable[[], Exception], at: int, *, times: int = 1) -> None:
        self.make, self.at, self.left, self.seen = make, at, times, 0

    def __call__(self, *_: object) -> None:
        self.seen += 1
        if self.left and self.seen >= self.at:
            self.left -= 1
            raise self.make()


@contextmanager
def raising(engine: sa.Engine, make: Callable[[], Exception], at: int, *, times: int = 1) -> Iterator[Raising]:
    """Let a step of an engine raise; yield what counts them."""
    here = Raising(make, at, times=times)

    def before_cursor_execute(*_: object) -> None:
        here()

    def commit(_connection: object) -> None:
        here()

    sa.event.listen(engine, "before_cursor_execute", before_cursor_execute)
    sa.event.listen(engine, "commit", commit)
    try:
        yield here
    finally:
        sa.event.remove(engine, "before_cursor_execute", before_cursor_execute)
        sa.event.remove(engine, "commit", commit)

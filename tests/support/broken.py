"""Databases that fail: at their n-th statement, or at one that is wrong; and what is said of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import transaction

SECRET = "hunter2-tiger"  # a password, in every URL that `problem` is asked about


@dataclass
class Break:
    """Breaks the n-th statement and all that follow, as a disk or a connection that fails would."""

    at: int
    seen: int = 0

    def __call__(self, *_: object) -> None:
        self.seen += 1
        if self.seen >= self.at:
            raise sqlite3.OperationalError("disk I/O error")


@contextmanager
def broken(engine: sa.Engine, at: int) -> Iterator[Break]:
    """Let statement number `at` of an engine fail; yield how many were seen."""
    here = Break(at)
    sa.event.listen(engine, "before_cursor_execute", here)
    try:
        yield here
    finally:
        sa.event.remove(engine, "before_cursor_execute", here)


def problem(engine: sa.Engine, statement: str = "SELECT 1") -> str:
    """What `transaction` says when `statement` fails; one line, with nothing attached that could show more."""
    with pytest.raises(DatabaseError) as caught, transaction(engine) as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    return str(caught.value)

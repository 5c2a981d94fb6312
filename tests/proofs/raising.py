"""In the daemon's process: exceptions of every class out of its database layer, for as long as a file says so."""

import itertools
import os
import random
import re
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from tests.support.raised import CLASSES

PLACE: Final = "FAULTS_RAISE"  # the variable that names the file; while it is there, steps raise
ONE_IN: Final = 12  # steps
SWEEP: Final = "one of each class at each step of a poll"  # what the file says for that; else at random
OF_A_POLL: Final = re.compile(r"INSERT INTO (snapshots|checks)|UPDATE accounts SET polled_at")
STEP: Final = "step of a poll"  # in the info of a connection


def arm() -> None:
    """Let every engine of this process raise at its connects, statements and commits, where the environment says so."""
    if PLACE not in os.environ:
        return
    file, classes, chance = Path(os.environ[PLACE]), itertools.cycle(CLASSES.values()), random.Random(1)
    count = itertools.count(1)

    def step(*_: object) -> None:
        if not file.exists() or file.read_text() or chance.randrange(ONE_IN):
            return
        file.with_suffix(".count").write_text(str(next(count)))
        make = next(classes)
        raise make()

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)
    sa.event.listen(sa.Pool, "connect", step)
    Sweep(file).arm()


class Sweep:
    """Raises in every other transaction of a poll: each class at the first step, the second … and the commit."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._classes = iter(CLASSES.values())
        self._make = next(self._classes)
        self._at = 1  # the step that raises next
        self._raised = 0
        self._is_turn = itertools.cycle((True, False))

    def arm(self) -> None:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._execute)
        sa.event.listen(sa.Engine, "commit", self._commit)
        sa.event.listen(sa.Engine, "rollback", lambda connection: connection.info.pop(STEP, None))

    def _execute(self, connection: sa.Connection, _cursor: object, statement: str, *_: Any) -> None:
        if STEP not in connection.info and not (self._is_on() and OF_A_POLL.match(statement) and next(self._is_turn)):
            return
        self._step(connection)

    def _commit(self, connection: sa.Connection) -> None:
        if STEP not in connection.info:
            return
        try:
            self._step(connection)
        finally:
            connection.info.pop(STEP, None)
        self._next_class()  # it came to the end without

    def _step(self, connection: sa.Connection) -> None:
        connection.info[STEP] = connection.info.get(STEP, 0) + 1
        if connection.info[STEP] == self._at:
            self._at += 1
            self._raised += 1
            self._file.with_suffix(".count").write_text(str(self._raised))
            raise self._make()

    def _next_class(self) -> None:
        self._at = 1
        try:
            self._make = next(self._classes)
        except StopIteration:
            self._file.with_suffix(".done").touch()

    def _is_on(self) -> bool:
        return self._file.exists() and self._file.read_text() == SWEEP and not self._file.with_suffix(".done").exists()

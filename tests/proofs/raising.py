"""In the daemon's process: exceptions of every class out of its database layer, for as long as a file says so."""

import itertools
import os
import random
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from tests.support.raised import CLASSES

PLACE: Final = "FAULTS_RAISE"  # the variable that names the file; while it is there, steps raise
ONE_IN: Final = 12  # steps


def arm() -> None:
    """Let every engine of this process raise at its connects, statements and commits, where the environment says so."""
    if PLACE not in os.environ:
        return
    file, classes, chance = Path(os.environ[PLACE]), itertools.cycle(CLASSES.values()), random.Random(1)
    count = itertools.count(1)

    def step(*_: object) -> None:
        if not file.exists() or chance.randrange(ONE_IN):
            return
        file.with_suffix(".count").write_text(str(next(count)))
        make = next(classes)
        raise make()

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)
    sa.event.listen(sa.Pool, "connect", step)

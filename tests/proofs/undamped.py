"""The daemon that tells every verdict: proofs count messages, and of balances that go up and down few would be told.

What is told of an incident that flaps has tests of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from monitor.judge import flapping


def undamp() -> None:
    """Let no incident flap: none comes back, and there is room for any number of messages."""
    flapping.SHORTEST = flapping.LONGEST = timedelta(0)
    flapping.IN_FIRST_HOUR = 1_000_000


@contextmanager
def undamped() -> Iterator[None]:
    """The same for as long as this lasts, in a process that tests other things afterwards."""
    before = flapping.SHORTEST, flapping.LONGEST, flapping.IN_FIRST_HOUR
    undamp()
    try:
        yield
    finally:
        flapping.SHORTEST, flapping.LONGEST, flapping.IN_FIRST_HOUR = before


if __name__ == "__main__":
    undamp()
    from monitor.cli import main

    main()

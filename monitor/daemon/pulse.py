"""Which part of a leader hangs: the poll schedule, the writer thread, the delivery loop.

A turn counts whether it succeeded or not, so that a database that is away is no wedge.  Refuses to mend anything.
"""

from dataclasses import dataclass
from typing import Final

from monitor.store.engines import LONGEST_STEP

SCHEDULE_LIMIT: Final = 180.0  # seconds; it looks at its jobs once a minute
DELIVERY_LIMIT: Final = 60.0  # seconds; it looks into the outbox every five, through the writer
WRITER_LIMIT: Final = LONGEST_STEP + 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Pulse:
    """When each part turned last, by `time.monotonic`."""

    schedule: float
    delivery: float
    writer: float | None  # None: it has nothing to do

    def hanging(self, now: float) -> str | None:
        """The part that has not turned for longer than it may; None while all do."""
        if self.writer is not None:
            # Deliveries and polls wait for it: what they lack is its to give.
            return "the writer" if now - self.writer > WRITER_LIMIT else None
        if now - self.delivery > DELIVERY_LIMIT:
            return "the delivery loop"
        return "the poll schedule" if now - self.schedule > SCHEDULE_LIMIT else None

"""Whether the daemon lives, and whether it is of use: sentences about what is wrong, none when all is well.

Refuses to name an account, a path or an error's text: everybody may read these.  Pure: time is given.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from monitor.config import Poll
from monitor.config.units import written

LONGEST_TURN: Final = 90.0  # seconds; a question to a database in trouble may take 60


def stuck_loops(turned: Mapping[str, float], *, since: float, now: float) -> list[str]:
    """The loops that have not turned for too long; one that never turned counts from `since` on.

    A turn of the delivery loop goes through the writer's thread and back, whether the database answers well or not.
    """
    ages = {name: now - max(turned.get(name, 0.0), since) for name in {"deliver", *turned}}
    return [f"{name}: no turn for {age:.0f} s" for name, age in sorted(ages.items()) if age > LONGEST_TURN]


def late_polls(polled: Mapping[str, datetime | None], poll: Poll, *, now: datetime) -> list[str]:
    """The accounts without a completed poll for longer than three intervals and a deadline, counted."""
    limit = 3 * poll.every + poll.deadline
    late = [at for at in polled.values() if at is None or now - at > limit]
    if not late:
        return []
    return [f"polls: {len(late)} of {len(polled)} account(s) without a completed poll within {written(limit)}"]

"""Whether the daemon is of use: sentences about what is wrong, none when all is well.

Refuses to name an account, a path or an error's text: everybody may read these.  Pure: time is given.
"""

from collections.abc import Mapping
from datetime import datetime

from monitor.config import Poll
from monitor.config.units import written


def late_polls(polled: Mapping[str, datetime | None], poll: Poll, *, now: datetime) -> list[str]:
    """The accounts without a completed poll for longer than three intervals and a deadline, counted."""
    limit = 3 * poll.every + poll.deadline
    late = [at for at in polled.values() if at is None or now - at > limit]
    if not late:
        return []
    return [f"polls: {len(late)} of {len(polled)} account(s) without a completed poll within {written(limit)}"]

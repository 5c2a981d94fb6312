"""How long an organization's credits will last, from its balance snapshots alone.

Refuses to read a clock, to keep a snapshot, and to guess: until a day of use is known the answer is `Unknown`.
"""

from monitor.forecast.rhythm import Runway
from monitor.forecast.usage import Unknown, Usage

__all__ = ["Runway", "Unknown", "Usage"]

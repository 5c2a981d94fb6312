"""How long an organization's credits will last, from its balance snapshots alone.

Refuses to read a clock, to keep a snapshot, and to guess: until a day of use is known the answer is `Unknown`.
"""

from monitor.forecast.estimator import Estimator
from monitor.model import Runway, Unknown

__all__ = ["Estimator", "Runway", "Unknown"]

"""The forecast: how long an organization's credits will last, from its balance snapshots alone.

Until a day of use is known the answer is `Unknown`.
"""

from monitor.forecast.estimator import Estimator
from monitor.model import Runway, Unknown

__all__ = ["Estimator", "Runway", "Unknown"]

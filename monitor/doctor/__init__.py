"""Examine everything a monitor needs, all at once: the state of each thing, and what to do about it.

Changes nothing, sends only when asked, shows no secret; no look prevents or delays another.
"""

from monitor.doctor.examination import examine
from monitor.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]

"""Looks over everything a monitor needs, all at once, and says of each how it is and what to do about it.

Refuses to change anything, to send unless asked, to let one look prevent or hold up another, and to show a secret.
"""

from monitor.doctor.examination import examine
from monitor.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]

"""Runs rules over recorded history, and says what the daemon would have said.

Refuses to write, to tell anybody and to read a clock: time is that of the rows.  It decides nothing itself: judging,
forecasting and the keeping of incidents are the daemon's own code.
"""

from monitor.listed import read_snapshots
from monitor.replay.course import Course, Said
from monitor.replay.history import courses, replay, replay_snapshots

__all__ = ["Course", "Said", "courses", "read_snapshots", "replay", "replay_snapshots"]

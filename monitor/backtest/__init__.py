"""Runs rules over recorded history, and says what the daemon would have said.

Refuses to write, to tell anybody and to read a clock: time is that of the rows.  It decides nothing itself: judging,
forecasting and the keeping of incidents are the daemon's own code.
"""

from monitor.backtest.course import Course, Said
from monitor.backtest.history import courses, replay, replay_snapshots
from monitor.importer.csv import read_snapshots

__all__ = ["Course", "Said", "courses", "read_snapshots", "replay", "replay_snapshots"]

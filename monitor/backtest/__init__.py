"""Run rules over recorded history, and yield the messages that the daemon would have sent.

Nothing is written, nothing sent, no clock read: time is that of the rows.  Judging, forecasting and the keeping of
incidents are the daemon's own code.
"""

from monitor.backtest.course import Course, ReplayedMessage
from monitor.backtest.history import courses, replay, replay_snapshots
from monitor.importer.csv import read_snapshots

__all__ = ["Course", "ReplayedMessage", "courses", "read_snapshots", "replay", "replay_snapshots"]

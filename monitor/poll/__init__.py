"""A poll: what is due is fetched, recorded, judged, and what is to be said is put into the outbox."""

from monitor.notify.routing import channels_of, rules_of
from monitor.poll.assignment import Assignment
from monitor.poll.batch import Batch
from monitor.poll.forecast_cache import ForecastCache
from monitor.poll.poller import Displace, Poller, PollResult
from monitor.poll.reconcile import catch_up, displace, reconcile
from monitor.poll.settle import settle

__all__ = [
    "Assignment",
    "Batch",
    "Displace",
    "ForecastCache",
    "PollResult",
    "Poller",
    "catch_up",
    "channels_of",
    "displace",
    "reconcile",
    "rules_of",
    "settle",
]

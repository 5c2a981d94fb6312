"""A poll: what is due is fetched, recorded, judged, and what is to be said is put into the outbox."""

from monitor.notify.routing import channels_of, named, rules_of
from monitor.poll.age_watch import AgeWatch
from monitor.poll.ages import Ages, RunningClock
from monitor.poll.assignment import Assignment
from monitor.poll.batch import Batch
from monitor.poll.forecast_cache import ForecastCache
from monitor.poll.intake import Displace
from monitor.poll.pickup import Pickup
from monitor.poll.poller import Poller, PollResult
from monitor.poll.reconcile import catch_up, displace, reconcile
from monitor.poll.settle import settle, settle_unasked

__all__ = [
    "AgeWatch",
    "Ages",
    "Assignment",
    "Batch",
    "Displace",
    "ForecastCache",
    "Pickup",
    "PollResult",
    "Poller",
    "RunningClock",
    "catch_up",
    "channels_of",
    "displace",
    "named",
    "reconcile",
    "rules_of",
    "settle",
    "settle_unasked",
]

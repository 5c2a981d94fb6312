"""A poll: what is due is fetched, recorded, judged, and what is to be said is put into the outbox."""

from monitor.notify.routing import channels_of, rules_of
from monitor.poll.assignment import Watch
from monitor.poll.batch import Ledger
from monitor.poll.forecast_cache import Forecasts
from monitor.poll.poller import AccountPoll, PollResult
from monitor.poll.reconcile import reconcile
from monitor.poll.settle import settle

__all__ = [
    "AccountPoll",
    "Forecasts",
    "Ledger",
    "PollResult",
    "Watch",
    "channels_of",
    "reconcile",
    "rules_of",
    "settle",
]

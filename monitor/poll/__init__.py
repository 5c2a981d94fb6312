"""A poll: what is due is fetched, recorded, judged, and what is to be said is put into the outbox."""

from monitor.poll.account import AccountPoll, PollResult
from monitor.poll.forecasts import Forecasts
from monitor.poll.ledger import Ledger
from monitor.poll.reconcile import reconcile
from monitor.poll.routes import channels_of, rules_of
from monitor.poll.settle import settle
from monitor.poll.watch import Watch

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

"""The questions people ask, answered as plain frozen values from a reader's engine (`store.open_reader`).

Refuses to write, to judge and to print.  Every function raises `DatabaseError` when the database cannot be read.
"""

from monitor.query.daemons import DaemonRow, daemons
from monitor.query.history import Bucket, HistoryRow, history, history_buckets, history_with_runway
from monitor.query.incidents import IncidentRow, incidents
from monitor.query.names import OrganizationRow, find_organizations, organizations
from monitor.query.recorded import recorded
from monitor.query.silences import SilenceRow, silences
from monitor.query.status import (
    AccountIncident,
    ChannelQueue,
    OrganizationStatus,
    Standing,
    account_incidents,
    channels,
    status,
)
from monitor.query.usage import Used, runways, used_within

__all__ = [
    "AccountIncident",
    "Bucket",
    "ChannelQueue",
    "DaemonRow",
    "HistoryRow",
    "IncidentRow",
    "OrganizationRow",
    "OrganizationStatus",
    "SilenceRow",
    "Standing",
    "Used",
    "account_incidents",
    "channels",
    "daemons",
    "find_organizations",
    "history",
    "history_buckets",
    "history_with_runway",
    "incidents",
    "organizations",
    "recorded",
    "runways",
    "silences",
    "status",
    "used_within",
]

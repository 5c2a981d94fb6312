"""The questions people ask, answered as plain frozen values from a reader's engine (`store.open_reader`).

Refuses to write, to judge and to print.  Every function raises `DatabaseError` when the database cannot be read.
"""

from monitor.query.history import Bucket, HistoryRow, history, history_buckets
from monitor.query.incidents import IncidentRow, incidents
from monitor.query.names import OrganizationRow, find_organizations, organizations
from monitor.query.status import (
    AccountIncident,
    ChannelQueue,
    OrganizationStatus,
    Standing,
    account_incidents,
    channels,
    status,
)

__all__ = [
    "AccountIncident",
    "Bucket",
    "ChannelQueue",
    "HistoryRow",
    "IncidentRow",
    "OrganizationRow",
    "OrganizationStatus",
    "Standing",
    "account_incidents",
    "channels",
    "find_organizations",
    "history",
    "history_buckets",
    "incidents",
    "organizations",
    "status",
]

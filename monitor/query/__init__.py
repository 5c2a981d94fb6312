"""The questions people ask, answered as plain frozen values from a reader's engine (`store.open_reader`).

Refuses to write, to judge and to print.  Every function raises `DatabaseError` when the database cannot be read.
"""

from monitor.query.buckets import By, begin
from monitor.query.history import (
    Bucket,
    HistoryRow,
    Removed,
    expected_rows,
    history,
    history_buckets,
    history_with_runway,
    removed,
)
from monitor.query.incidents import IncidentRow, incidents
from monitor.query.organizations import OrganizationRow, find_organizations, organizations
from monitor.query.recorded import recorded
from monitor.query.runways import Used, runways, used_within
from monitor.query.silences import SilenceRow, silences
from monitor.query.status import (
    AccountIncident,
    ChannelQueue,
    DaemonRow,
    OrganizationStatus,
    Standing,
    Waiting,
    account_incidents,
    channels,
    daemons,
    last_polls,
    outbox,
    status,
)
from monitor.query.usage import Question, Usage, UsageRow, usage

__all__ = [
    "AccountIncident",
    "Bucket",
    "By",
    "ChannelQueue",
    "DaemonRow",
    "HistoryRow",
    "IncidentRow",
    "OrganizationRow",
    "OrganizationStatus",
    "Question",
    "Removed",
    "SilenceRow",
    "Standing",
    "Usage",
    "UsageRow",
    "Used",
    "Waiting",
    "account_incidents",
    "begin",
    "channels",
    "daemons",
    "expected_rows",
    "find_organizations",
    "history",
    "history_buckets",
    "history_with_runway",
    "incidents",
    "last_polls",
    "organizations",
    "outbox",
    "recorded",
    "removed",
    "runways",
    "silences",
    "status",
    "usage",
    "used_within",
]

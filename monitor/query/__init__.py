"""What people ask of the database, answered as frozen values through an engine that only reads.

Every function raises `DatabaseError` when the database cannot be read.
"""

from monitor.query.buckets import By, begin
from monitor.query.checks import recorded
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
from monitor.query.organizations import find_organizations, organizations
from monitor.query.runways import Used, runways, used_within
from monitor.query.silences import SilenceRow, silences
from monitor.query.standstill import Standstill, find_standstill, standstill_line
from monitor.query.status import (
    AccountIncident,
    Backlog,
    ChannelQueue,
    DaemonRow,
    OrganizationStatus,
    account_incidents,
    channels,
    daemons,
    down_channels,
    last_polls,
    outbox,
    recorded_at,
    status,
)
from monitor.query.usage import Total, Usage, UsageQuestion, UsageRow, usage

__all__ = [
    "AccountIncident",
    "Backlog",
    "Bucket",
    "By",
    "ChannelQueue",
    "DaemonRow",
    "HistoryRow",
    "IncidentRow",
    "OrganizationStatus",
    "Removed",
    "SilenceRow",
    "Standstill",
    "Total",
    "Usage",
    "UsageQuestion",
    "UsageRow",
    "Used",
    "account_incidents",
    "begin",
    "channels",
    "daemons",
    "down_channels",
    "expected_rows",
    "find_organizations",
    "find_standstill",
    "history",
    "history_buckets",
    "history_with_runway",
    "incidents",
    "last_polls",
    "organizations",
    "outbox",
    "recorded",
    "recorded_at",
    "removed",
    "runways",
    "silences",
    "standstill_line",
    "status",
    "usage",
    "used_within",
]

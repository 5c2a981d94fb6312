"""What people ask of the database, answered as frozen values through an engine that only reads.

Every function raises `DatabaseError` when the database cannot be read.
"""

from monitor.query.amounts import daily_balances
from monitor.query.buckets import By, begin
from monitor.query.checks import last_failure, recorded
from monitor.query.coverage import first_at
from monitor.query.deliveries import DeliveryQuestion, DeliveryRow, Try, deliveries
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
    newest_write,
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
    "DeliveryQuestion",
    "DeliveryRow",
    "HistoryRow",
    "IncidentRow",
    "OrganizationStatus",
    "Removed",
    "SilenceRow",
    "Standstill",
    "Total",
    "Try",
    "Usage",
    "UsageQuestion",
    "UsageRow",
    "Used",
    "account_incidents",
    "begin",
    "channels",
    "daemons",
    "daily_balances",
    "deliveries",
    "down_channels",
    "expected_rows",
    "find_organizations",
    "find_standstill",
    "first_at",
    "history",
    "history_buckets",
    "history_with_runway",
    "incidents",
    "last_failure",
    "last_polls",
    "newest_write",
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

"""The tables of both databases; a test proves that `migrations/` builds exactly these.

On PostgreSQL instants are `timestamptz` and credits `numeric(20,6)`; on SQLite they are integer
microseconds since 1970 and integer micro-credits, because SQLite's own types drop offsets and digits.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from monitor.amounts import from_micro, to_micro
from monitor.proration import EPOCH, MICROSECOND

SCHEMA: Final = "0007"  # the newest migration; compared at start without importing Alembic


class Instant(TypeDecorator[datetime]):
    """An aware UTC `datetime`, to the microsecond."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of each database."""
        return dialect.type_descriptor(sa.DateTime(timezone=True) if dialect.name == "postgresql" else sa.BigInteger())

    # These processors instead of `process_bind_param`, which would be one more call for every value.
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        return None if dialect.name == "postgresql" else _as_micros

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        return _in_utc if dialect.name == "postgresql" else _from_micros


class Credits(TypeDecorator[Decimal]):
    """Exact credits with six places."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of each database."""
        return dialect.type_descriptor(sa.Numeric(20, 6) if dialect.name == "postgresql" else sa.BigInteger())

    def bind_processor(self, dialect: Dialect) -> Callable[[Decimal | None], Any] | None:
        return None if dialect.name == "postgresql" else _as_millionths

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Decimal | None] | None:  # noqa: ARG002
        return None if dialect.name == "postgresql" else _from_millionths


def _as_micros(at: datetime | None) -> int | None:
    return None if at is None else (at - EPOCH) // MICROSECOND


def _from_micros(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + timedelta(0, 0, value)


def _in_utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)


def _as_millionths(amount: Decimal | None) -> int | None:
    return None if amount is None else to_micro(amount)


def _from_millionths(value: int | None) -> Decimal | None:
    return None if value is None else from_micro(value)


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows itself only for INTEGER

# Ids are never given again: what is on its way (a result, an outcome) names rows by id.  PostgreSQL's only grow anyway.
GROWING: Final[dict[str, Any]] = {"sqlite_autoincrement": True}

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("polled_at", Instant, comment="when the last completed poll began"),
    sa.Column("rejections", sa.Integer, nullable=False, server_default="0", comment="polls in a row, key refused"),
    sa.Column("rejected_poll_at", Instant, comment="when the last of them began"),
    **GROWING,
)

organizations = sa.Table(
    "organizations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("vendor_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="the configured name, else the vendor's id"),
    sa.Column("title", sa.Text, comment="the vendor's name for it"),
    sa.Column("account", sa.Text, nullable=False, comment="name of the account that polls it"),
    sa.Column("watched", sa.Boolean, nullable=False, default=True),
    # the current row
    sa.Column("credits", Credits),
    sa.Column("taken_at", Instant),
    sa.Column("previous_credits", Credits),
    sa.Column("previous_at", Instant),
    sa.Column("used", Credits, nullable=False, default=Decimal(0), comment="sum of every fall"),
    sa.Column("topped_up", Credits, nullable=False, default=Decimal(0), comment="sum of every rise"),
    sa.Column("top_up_credits", Credits),
    sa.Column("top_up_at", Instant),
    sa.Column("checked_at", Instant),
    sa.Column("failure", sa.Text, comment="kind of the last check's failure; null when it gave a snapshot"),
    sa.Column("failure_message", sa.Text),
    sa.Column("failing_since", Instant),
    sa.Column("confirmations", sa.Text, comment="JSON: checks in a row below a rung not yet said"),
    sa.Column("usage", sa.Text, comment="JSON: what the forecast has folded up to usage_at"),
    sa.Column("usage_at", Instant),
    sa.Column("newest_at", Instant, comment="the latest taken_at of its snapshots, in whatever order they arrived"),
    sa.Column("provider", sa.Text, nullable=False, server_default="stability", comment="the vendor's name"),
    sa.Column("unit", sa.Text, nullable=False, server_default="credits", comment="of every amount; '': unknown yet"),
    sa.Column("unlimited", sa.Boolean, nullable=False, server_default=sa.false(), comment="the vendor's last word"),
    sa.Column("resets_at", Instant, comment="when it refills by itself, as far as known"),
    sa.UniqueConstraint("base_url", "vendor_id"),
    **GROWING,
)

snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("organization_id", Id, sa.ForeignKey("organizations.id"), primary_key=True, autoincrement=False),
    sa.Column("taken_at", Instant, primary_key=True),
    sa.Column("credits", Credits, nullable=False),
    sqlite_with_rowid=False,
)


def _rollups(name: str, of: str) -> sa.Table:
    """Rollups by UTC day or hour: exact use, and the balances seen in it (none in a gap)."""
    return sa.Table(
        name,
        metadata,
        sa.Column("organization_id", Id, sa.ForeignKey("organizations.id"), primary_key=True, autoincrement=False),
        sa.Column("starts_at", Instant, primary_key=True, comment=of),
        sa.Column("used", Credits, nullable=False, comment="shared out by time where a change spans stretches"),
        sa.Column("topped_up", Credits, nullable=False),
        sa.Column("snapshots", sa.Integer, nullable=False),
        sa.Column("first", Credits),
        sa.Column("first_at", Instant),
        sa.Column("last", Credits),
        sa.Column("last_at", Instant),
        sa.Column("lowest", Credits),
        sa.Column("highest", Credits),
        sqlite_with_rowid=False,
    )


balance_days = _rollups("balance_days", "UTC days: every snapshot ever recorded is in one")
balance_hours = _rollups("balance_hours", "UTC hours: of the snapshots that retention has removed")

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("organization_id", Id, sa.ForeignKey("organizations.id"), comment="null: the account endpoint"),
    sa.Column("ended_at", Instant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False, comment="redacted"),
    sa.Column("status", sa.Integer),
    sa.Column("vendor_error_id", sa.Text),
    sa.Index("ix_checks_organization_id_ended_at", "organization_id", "ended_at"),
    **GROWING,
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False, comment="organization, account or monitor"),
    sa.Column("subject_id", Id, nullable=False, comment="of the organization or account; 0 for the monitor"),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False, comment="now, or when it ended"),
    sa.Column("worst_severity", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("opened_credits", Credits),
    sa.Column("topped_up_before", Credits, nullable=False, comment="the organization's topped_up when it opened"),
    sa.Column("resolved_at", Instant),
    sa.Column("resolved_credits", Credits),
    sa.Column("resolved_reason", sa.Text, comment="resolved or reconfigured"),
    sa.Column("told_at", Instant, comment="when it was last said"),
    sa.Column("reminders", sa.Integer, nullable=False, default=0, comment="since its severity last changed"),
    sa.Column(
        "owed",
        sa.Boolean,
        nullable=False,
        default=False,
        comment="something of it was silenced and is still to be said",
    ),
    sa.Column("calm_since", Instant, comment="the present reading is clear, and the incident goes on (it flaps)"),
    sa.Column("eased_at", Instant, comment="when it last eased"),
    sa.Column("returns", sa.Integer, nullable=False, server_default="0", comment="how often it came back"),
    sa.Column("returned_at", Instant, comment="when it last came back"),
    sa.Column("worst_told", sa.Text, comment="the worst severity told; null counts as severity"),
    sa.Column("tellings", sa.Integer, nullable=False, server_default="0", comment="messages, but for reminders"),
    sa.Column("end_told_at", Instant, comment="when it was last told to be over"),
    sa.Index(
        "uq_incidents_open",
        "subject",
        "subject_id",
        "rule",
        unique=True,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    ),
    sa.Index("ix_incidents_opened_at", "opened_at"),
    sa.Index("ix_incidents_resolved_at", "resolved_at"),
    **GROWING,
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("incident_id", Id, sa.ForeignKey("incidents.id"), index=True, comment="null: a digest"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, comment="JSON: the figures it was judged by; of a digest its words"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("notification_id", sa.Text, sa.ForeignKey("notifications.id"), nullable=False),
    sa.Column("incident_id", Id, sa.ForeignKey("incidents.id"), comment="null: a digest"),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, comment="pending, delivered, given_up or withdrawn"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_at", Instant, nullable=False),
    sa.Column("give_up_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("last_error", sa.Text),
    sa.Column("refused", sa.Boolean, nullable=False, default=False, comment="for good: trying again is pointless"),
    sa.Column("held", sa.Boolean, nullable=False, default=False, comment="until quiet hours are over"),
    sa.Column("group_id", sa.Text, comment="deliveries that go out as one message, fixed at the first attempt"),
    sa.Column("paused_at", Instant, comment="when the pause until next_attempt_at began"),
    sa.Column("folded_into", sa.Text, comment="the notification that tells it, too"),
    sa.Column("unknowns", sa.Integer, nullable=False, server_default="0", comment="attempts of unknown outcome"),
    sa.Column("targets", sa.Text, comment="JSON: whom of its channel it is still for"),
    sa.Column(
        "reached", sa.Boolean, nullable=False, server_default=sa.false(), comment="somebody of its channel got it"
    ),
    sa.UniqueConstraint("notification_id", "channel"),
    sa.Index("ix_deliveries_incident_id", "incident_id", "channel"),
    sa.Index("ix_deliveries_folded_into", "folded_into"),
    sa.Index(
        "ix_deliveries_pending",
        "next_attempt_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
    sa.Index(
        "ix_deliveries_given_up",
        "ended_at",
        sqlite_where=sa.text("state = 'given_up'"),
        postgresql_where=sa.text("state = 'given_up'"),
    ),
    **GROWING,
)

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("failing_since", Instant, comment="the first failure since it last took something"),
    sa.Column("down_since", Instant, comment="a fallback stands in since then"),
    sa.Column("reason", sa.Text, comment="why it took nothing last"),
    sa.Column("paused_at", Instant, comment="when the service asked for a pause"),
    sa.Column("paused_until", Instant),
)

pages = sa.Table(
    "pages",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True, comment="to an on-call service"),
    sa.Column("incident_id", Id, sa.ForeignKey("incidents.id"), primary_key=True, autoincrement=False),
    sa.Column("opened_at", Instant, nullable=False),
    comment="what is open at on-call services, as far as known",
)

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    sa.Column("id", sa.Text, nullable=False, comment="random; part of every key at on-call services"),
    comment="one row, made at the first start",
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("started_at", Instant, nullable=False, comment="when a daemon last started there"),
    comment="where daemons of this database have run",
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("delivery_id", Id, sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    sa.Column("ended_at", Instant, nullable=False),
    sa.Column("error", sa.Text, comment="null: the service took the message"),
    **GROWING,
)

silences = sa.Table(
    "silences",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False, comment="organization or account"),
    sa.Column("subject_id", Id, nullable=False),
    sa.Column("rule", sa.Text, comment="null: every rule but credential"),
    sa.Column("up_to", sa.Text, nullable=False, comment="the worst severity it silences"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("until_at", Instant, comment="null: until resolved or worse"),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Index(
        "ix_silences_subject",
        "subject",
        "subject_id",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
    **GROWING,
)

leases = sa.Table(
    "leases",
    metadata,
    # A key, so that to take the lease over waits for every transaction that relies on it (PostgreSQL: FOR KEY SHARE).
    sa.Column("term", sa.BigInteger, primary_key=True, autoincrement=False, comment="grows with every leader"),
    sa.Column("daemon", sa.Text, nullable=False, comment="the leader's id in daemons; empty: given back"),
    sa.Column("acquired_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, comment="by the database's clock"),
    comment="one row: which daemon leads; PostgreSQL only",
)

daemons = sa.Table(
    "daemons",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("seen_at", Instant, nullable=False, comment="by the database's clock"),
    comment="the leader and who stands by; PostgreSQL only",
)

compatibility = sa.Table(
    "compatibility",
    metadata,
    sa.Column("schema", sa.Text, primary_key=True, comment="the newest schema that says so"),
    sa.Column("oldest", sa.Text, nullable=False, comment="the oldest schema whose programs work with this one"),
    comment="one row",
)

"""The first schema: accounts, organizations, snapshots, checks, incidents, notifications, deliveries, and the views."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIEWS = ("balance_history", "balance_latest", "balance_usage_daily", "incident_history", "delivery_history")

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
Credits = sa.BigInteger().with_variant(sa.Numeric(20, 6), "postgresql")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

sa.Table(
    "accounts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("polled_at", Instant, comment="when the last completed poll began"),
)

sa.Table(
    "organizations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("vendor_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False, comment="the configured name, else the vendor's id"),
    sa.Column("title", sa.Text, comment="the vendor's name for it"),
    sa.Column("account", sa.Text, nullable=False, comment="name of the account that polls it"),
    sa.Column("watched", sa.Boolean, nullable=False),
    sa.Column("credits", Credits),
    sa.Column("taken_at", Instant),
    sa.Column("previous_credits", Credits),
    sa.Column("previous_at", Instant),
    sa.Column("used", Credits, nullable=False, comment="sum of every fall"),
    sa.Column("topped_up", Credits, nullable=False, comment="sum of every rise"),
    sa.Column("top_up_credits", Credits),
    sa.Column("top_up_at", Instant),
    sa.Column("checked_at", Instant),
    sa.Column("failure", sa.Text, comment="kind of the last check's failure; null when it gave a snapshot"),
    sa.Column("failure_message", sa.Text),
    sa.Column("failing_since", Instant),
    sa.Column("confirmations", sa.Text, comment="JSON: checks in a row below a rung not yet said"),
    sa.Column("usage", sa.Text, comment="JSON: what the forecast has folded up to usage_at"),
    sa.Column("usage_at", Instant),
    sa.UniqueConstraint("base_url", "vendor_id"),
)

sa.Table(
    "snapshots",
    metadata,
    sa.Column("organization_id", Id, sa.ForeignKey("organizations.id"), primary_key=True, autoincrement=False),
    sa.Column("taken_at", Instant, primary_key=True),
    sa.Column("credits", Credits, nullable=False),
    sqlite_with_rowid=False,
)

sa.Table(
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
)

sa.Table(
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
    sa.Column("reminders", sa.Integer, nullable=False, comment="since its severity last changed"),
    sa.Column("owed", sa.Boolean, nullable=False, comment="something of it was silenced and is still to be said"),
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
)

sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("incident_id", Id, sa.ForeignKey("incidents.id"), index=True, comment="null: a digest"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, comment="JSON: the figures it was judged by; of a digest its words"),
)

sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("notification_id", sa.Text, sa.ForeignKey("notifications.id"), nullable=False),
    sa.Column("incident_id", Id, sa.ForeignKey("incidents.id"), comment="null: a digest"),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, comment="pending, delivered, given_up or withdrawn"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", Instant, nullable=False),
    sa.Column("give_up_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("last_error", sa.Text),
    sa.Column("refused", sa.Boolean, nullable=False, comment="for good: trying again is pointless"),
    sa.Column("held", sa.Boolean, nullable=False, comment="until quiet hours are over"),
    sa.Column("group_id", sa.Text, comment="deliveries that go out as one message, fixed at the first attempt"),
    sa.UniqueConstraint("notification_id", "channel"),
    sa.Index("ix_deliveries_incident_id", "incident_id", "channel"),
    sa.Index(
        "ix_deliveries_pending",
        "next_attempt_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)

sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("delivery_id", Id, sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    sa.Column("ended_at", Instant, nullable=False),
    sa.Column("error", sa.Text, comment="null: the service took the message"),
)

sa.Table(
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
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
    views = Path(__file__).parent.parent / "sql" / f"0001_views.{op.get_context().dialect.name}.sql"
    for statement in views.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.get_bind().exec_driver_sql(f"DROP VIEW {view}")
    metadata.drop_all(op.get_bind(), checkfirst=False)

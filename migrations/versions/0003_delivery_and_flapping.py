"""What was folded into what, channels that are down, pauses with their beginning; incidents that come and go.

Every new column may be left out, so that an older daemon can go on beside this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Instant = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")

# Made anew for each use: a column belongs to one table.
COLUMNS = {
    "incidents": lambda: (
        sa.Column("calm_since", Instant, comment="the present reading is clear, and the incident goes on (it flaps)"),
        sa.Column("eased_at", Instant, comment="when it last eased"),
        sa.Column("returns", sa.Integer, nullable=False, server_default="0", comment="how often it came back"),
        sa.Column("returned_at", Instant, comment="when it last came back"),
        sa.Column("worst_told", sa.Text, comment="the worst severity told; null counts as severity"),
        sa.Column("tellings", sa.Integer, nullable=False, server_default="0", comment="messages, but for reminders"),
        sa.Column("end_told_at", Instant, comment="when it was last told to be over"),
    ),
    "accounts": lambda: (
        sa.Column("rejections", sa.Integer, nullable=False, server_default="0", comment="polls in a row, key refused"),
        sa.Column("rejected_poll_at", Instant, comment="when the last of them began"),
    ),
    "deliveries": lambda: (
        sa.Column("paused_at", Instant, comment="when the pause until next_attempt_at began"),
        sa.Column("folded_into", sa.Text, comment="the notification that tells it, too"),
        sa.Column("unknowns", sa.Integer, nullable=False, server_default="0", comment="attempts of unknown outcome"),
    ),
}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns():
            op.add_column(table, column)
    op.create_table(
        "channels",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("failing_since", Instant, comment="the first failure since it last took something"),
        sa.Column("down_since", Instant, comment="a fallback stands in since then"),
        sa.Column("reason", sa.Text, comment="why it took nothing last"),
        sa.Column("paused_at", Instant, comment="when the service asked for a pause"),
        sa.Column("paused_until", Instant),
        sa.PrimaryKeyConstraint("name", name="pk_channels"),
    )
    op.create_index("ix_incidents_resolved_at", "incidents", ["resolved_at"])
    op.create_index("ix_deliveries_folded_into", "deliveries", ["folded_into"])
    op.execute(sa.text("UPDATE compatibility SET schema = :revision").bindparams(revision=revision))


def downgrade() -> None:
    op.execute("UPDATE compatibility SET schema = '0002'")
    op.execute("UPDATE deliveries SET state = 'given_up', folded_into = NULL WHERE state IN ('folded', 'unknown')")
    op.drop_index("ix_deliveries_folded_into", "deliveries")
    op.drop_index("ix_incidents_resolved_at", "incidents")
    op.drop_table("channels")
    for table, columns in COLUMNS.items():
        for column in columns():
            op.drop_column(table, column.name)

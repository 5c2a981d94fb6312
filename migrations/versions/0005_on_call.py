"""What is open at on-call services, the installation's id in their keys, and the hosts that it has run on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Instant = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pages",
        sa.Column("channel", sa.Text, nullable=False, comment="to an on-call service"),
        sa.Column("incident_id", Id, autoincrement=False, nullable=False),
        sa.Column("opened_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("channel", "incident_id", name="pk_pages"),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name="fk_pages_incident_id"),
        comment="what is open at on-call services, as far as known",
    )
    op.create_table(
        "installation",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False, comment="1: there is one row"),
        sa.Column("id", sa.Text, nullable=False, comment="random; part of every key at on-call services"),
        sa.PrimaryKeyConstraint("number", name="pk_installation"),
        comment="one row, made at the first start",
    )
    op.create_table(
        "hosts",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started_at", Instant, nullable=False, comment="when a daemon last started there"),
        sa.PrimaryKeyConstraint("name", name="pk_hosts"),
        comment="where daemons of this database have run",
    )
    op.execute(sa.text("UPDATE compatibility SET schema = :revision").bindparams(revision=revision))


def downgrade() -> None:
    op.execute(sa.text("UPDATE compatibility SET schema = :revision").bindparams(revision=down_revision))
    for table in ("hosts", "installation", "pages"):
        op.drop_table(table)

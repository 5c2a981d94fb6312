"""What became of a message at each recipient of a channel.

Every new column may be left out, so that an older daemon can go on beside this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("targets", sa.Text, comment="JSON: whom of its channel it is still for"))
    reached = sa.Column(
        "reached", sa.Boolean, nullable=False, server_default=sa.false(), comment="somebody of its channel got it"
    )
    op.add_column("deliveries", reached)
    op.execute(sa.text("UPDATE compatibility SET schema = :revision").bindparams(revision=revision))


def downgrade() -> None:
    op.execute("UPDATE compatibility SET schema = '0003'")
    op.drop_column("deliveries", "reached")
    op.drop_column("deliveries", "targets")

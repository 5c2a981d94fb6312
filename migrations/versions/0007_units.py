"""What an organization's amounts are counted in, and whose vendor's it is; what was there counts Stability's credits.

An older program would judge dollars by levels of credits, and forget organizations of vendors it does not know: it may
not lead on this schema.  On PostgreSQL, where one may be standing by already, the database sees to that itself.
"""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

VIEWS = ("balance_history", "balance_latest", "balance_usage_daily", "incident_history", "delivery_history")
OLDEST = "0002"  # of the schemas before this one
Instant = sa.BigInteger().with_variant(sa.DateTime(timezone=True), "postgresql")

# A program says which schema it knows when it takes the lease.  An older one says nothing, and finds it taken.
LEAD_FUNCTION = """
CREATE FUNCTION credit_monitor_may_lead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.daemon <> OLD.daemon AND NEW.daemon <> ''
        AND coalesce(current_setting('credit_monitor.schema', true), '') < (SELECT oldest FROM compatibility)
    THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$"""
LEAD_TRIGGER = """
CREATE TRIGGER credit_monitor_may_lead BEFORE UPDATE ON leases
FOR EACH ROW EXECUTE FUNCTION credit_monitor_may_lead()"""


def upgrade() -> None:
    for column in (
        sa.Column("provider", sa.Text, nullable=False, server_default="stability", comment="the vendor's name"),
        sa.Column(
            "unit", sa.Text, nullable=False, server_default="credits", comment="of every amount; '': unknown yet"
        ),
        sa.Column("unlimited", sa.Boolean, nullable=False, server_default=sa.false(), comment="the vendor's last word"),
        sa.Column("resets_at", Instant, comment="when it refills by itself, as far as known"),
    ):
        op.add_column("organizations", column)
    if op.get_context().dialect.name == "sqlite":
        drop_views(VIEWS[:-1])
    make_views("0007_views", VIEWS[:-1])
    if op.get_context().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(LEAD_FUNCTION)
        op.get_bind().exec_driver_sql(LEAD_TRIGGER)
    op.execute(f"UPDATE compatibility SET schema = '{revision}', oldest = '{revision}'")  # noqa: S608 -- our own words


def downgrade() -> None:
    """Amounts in other units become plain numbers, and what an organization's identity needed the unit for stays."""
    op.execute(f"UPDATE compatibility SET schema = '{down_revision}', oldest = '{OLDEST}'")  # noqa: S608 -- likewise
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TRIGGER credit_monitor_may_lead ON leases")
        op.execute("DROP FUNCTION credit_monitor_may_lead")
    drop_views(tuple(reversed(VIEWS)))
    for column in ("resets_at", "unlimited", "unit", "provider"):
        op.drop_column("organizations", column)
    make_views("0001_views", ("balance_history", "balance_latest"))
    make_views("0002_views", ("balance_usage_daily",))
    make_views("0001_views", ("incident_history", "delivery_history"))


def drop_views(views: tuple[str, ...]) -> None:
    for view in views:
        op.execute(f"DROP VIEW {view}")


def make_views(script: str, views: tuple[str, ...]) -> None:
    """Make (PostgreSQL: or add columns to) these views of a script."""
    folder = Path(__file__).parent.parent / "sql"
    text = (folder / f"{script}.{op.get_context().dialect.name}.sql").read_text(encoding="utf-8")
    for statement in text.split(";\n"):
        made = re.search(r"CREATE (?:OR REPLACE )?VIEW (\w+)", statement)
        if made and made[1] in views:
            op.get_bind().exec_driver_sql(statement)

"""Which organizations the database knows, and which of them a name means."""

from difflib import get_close_matches

import sqlalchemy as sa

from monitor.errors import UsageError
from monitor.store.organizations import OrganizationRow, organization_rows
from monitor.store.writer import read


def organizations(engine: sa.Engine) -> list[OrganizationRow]:
    """Return every organization ever watched, by name."""
    return read(engine, lambda tx: organization_rows(tx, by_name=True))


def find_organizations(engine: sa.Engine, name: str) -> list[OrganizationRow]:
    """Return those with this name, else with this vendor's id; `UsageError` with near names for an unknown one."""
    known = organizations(engine)
    rows = [row for row in known if row.name == name] or [row for row in known if row.vendor_id == name]
    if not rows:
        raise UsageError(f"{name}: there is no such organization in the database{_nearest(name, known)}")
    return rows


def wanted_organizations(engine: sa.Engine, name: str | None) -> list[OrganizationRow]:
    """Return all organizations for None, else those that a name means; `UsageError` for an unknown one."""
    return organizations(engine) if name is None else find_organizations(engine, name)


def _nearest(name: str, known: list[OrganizationRow]) -> str:
    if not known:
        return "; it knows none yet"
    words = sorted({word for row in known for word in (row.name, row.vendor_id)})
    near = get_close_matches(name, words, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; it knows {', '.join(words[:10])}"

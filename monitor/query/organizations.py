"""Which organizations there are, and which one a person means."""

from dataclasses import dataclass
from difflib import get_close_matches

import sqlalchemy as sa

from monitor.errors import UsageError
from monitor.store.engines import transaction
from monitor.store.tables import organizations as table


@dataclass(frozen=True, slots=True)
class OrganizationRow:
    """An organization the database knows; `watched` is False once it is gone from the configuration."""

    id: int
    name: str
    vendor_id: str
    title: str | None
    account: str
    watched: bool


def organizations(engine: sa.Engine) -> list[OrganizationRow]:
    """Every organization ever watched, by name."""
    columns = (table.c.id, table.c.name, table.c.vendor_id, table.c.title, table.c.account, table.c.watched)
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(*columns).order_by(table.c.name, table.c.id))
        return [OrganizationRow(*row) for row in rows]


def find_organizations(engine: sa.Engine, name: str) -> list[OrganizationRow]:
    """Those with this name, else with this vendor's id; `UsageError` with the nearest names when there is none."""
    known = organizations(engine)
    found = [row for row in known if row.name == name] or [row for row in known if row.vendor_id == name]
    if not found:
        raise UsageError(f"{name}: there is no such organization in the database{_nearest(name, known)}")
    return found


def wanted_organizations(engine: sa.Engine, name: str | None) -> list[OrganizationRow]:
    """All of them, or those that a name means; `UsageError` when it means none."""
    return organizations(engine) if name is None else find_organizations(engine, name)


def _nearest(name: str, known: list[OrganizationRow]) -> str:
    if not known:
        return "; it knows none yet"
    words = sorted({word for row in known for word in (row.name, row.vendor_id)})
    near = get_close_matches(name, words, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; it knows {', '.join(words[:10])}"

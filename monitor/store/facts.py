"""The stored form of a notification's facts: flat JSON whose fields never change.

An older standby delivers what a newer leader wrote, and the reverse: a field may be added, with a default; none may be
renamed, removed or given another type.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from monitor.model import STABILITY_UNIT, Facts, Runway, Severity, Snapshot, Unknown


@with_config(ConfigDict(ser_json_inf_nan="strings"))  # JSON has no infinity, and would say null, which is "unknown"
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """`model.Facts`, flat; a figure that is not known is left out."""

    name: str
    account: str
    at: datetime
    vendor_id: str | None = None
    title: str | None = None
    credits: Decimal | None = None
    taken_at: datetime | None = None
    level: Decimal | None = None
    clear: Decimal | None = None
    previous_credits: Decimal | None = None
    previous_at: datetime | None = None
    day_ago_credits: Decimal | None = None
    day_ago_at: datetime | None = None
    top_up_credits: Decimal | None = None
    top_up_at: datetime | None = None
    topped_up: Decimal | None = None
    opened_at: datetime | None = None
    previous_severity: Severity | None = None
    cause: str | None = None
    runway_low: float | None = None  # hours; all None while unknown, infinite when nothing is used
    runway_likely: float | None = None
    runway_high: float | None = None
    runway_missing: timedelta | None = None
    spent: Decimal | None = None
    window: timedelta | None = None
    organizations: int | None = None
    stale_after: timedelta | None = None
    no_credits: bool = False
    reconfigured: bool = False
    returns: int = 0
    calm: bool = False
    quiet_for: timedelta | None = None
    unit: str = STABILITY_UNIT


@cache
def _stored() -> TypeAdapter[StoredFacts]:
    return TypeAdapter(StoredFacts)


def dump_facts(facts: Facts) -> str:
    """Return the JSON that is stored of these figures."""
    return _stored().dump_json(flatten(facts), exclude_defaults=True).decode()


def load_facts(text: str) -> Facts:
    """Return the figures of stored JSON; pydantic's `ValidationError` for a text that is none."""
    return nest(_stored().validate_json(text))


def flatten(facts: Facts) -> StoredFacts:
    """Return the figures as they are stored."""
    return StoredFacts(
        name=facts.name,
        account=facts.account,
        at=facts.at,
        vendor_id=facts.vendor_id,
        title=facts.title,
        level=facts.level,
        clear=facts.clear,
        topped_up=facts.topped_up,
        opened_at=facts.opened_at,
        previous_severity=facts.previous_severity,
        cause=facts.cause,
        spent=facts.spent,
        window=facts.window,
        organizations=facts.organizations,
        stale_after=facts.stale_after,
        no_credits=facts.no_credits,
        reconfigured=facts.reconfigured,
        returns=facts.returns,
        calm=facts.calm,
        quiet_for=facts.quiet_for,
        unit=facts.unit,
        **_dump_balances(facts),
        **_dump_runway(facts.runway),
    )


def nest(stored: StoredFacts) -> Facts:
    """Return the figures as they are read in memory."""
    return Facts(
        name=stored.name,
        account=stored.account,
        at=stored.at,
        vendor_id=stored.vendor_id,
        title=stored.title,
        snapshot=_snapshot(stored.taken_at, stored.credits),
        previous=_snapshot(stored.previous_at, stored.previous_credits),
        day_ago=_snapshot(stored.day_ago_at, stored.day_ago_credits),
        top_up=_snapshot(stored.top_up_at, stored.top_up_credits),
        topped_up=stored.topped_up,
        level=stored.level,
        clear=stored.clear,
        runway=_runway(stored),
        spent=stored.spent,
        window=stored.window,
        opened_at=stored.opened_at,
        previous_severity=stored.previous_severity,
        cause=stored.cause,
        organizations=stored.organizations,
        stale_after=stored.stale_after,
        no_credits=stored.no_credits,
        reconfigured=stored.reconfigured,
        returns=stored.returns,
        calm=stored.calm,
        quiet_for=stored.quiet_for,
        unit=stored.unit,
    )


def _dump_balances(facts: Facts) -> dict[str, Any]:
    names = {
        "snapshot": ("credits", "taken_at"),
        "previous": ("previous_credits", "previous_at"),
        "day_ago": ("day_ago_credits", "day_ago_at"),
        "top_up": ("top_up_credits", "top_up_at"),
    }
    flat: dict[str, Any] = {}
    for name, (amount, at) in names.items():
        snapshot: Snapshot | None = getattr(facts, name)
        if snapshot is not None:
            flat |= {amount: snapshot.credits, at: snapshot.taken_at}
    return flat


def _dump_runway(runway: Runway | Unknown | None) -> dict[str, Any]:
    if isinstance(runway, Runway):
        return {"runway_low": runway.low, "runway_likely": runway.likely, "runway_high": runway.high}
    return {"runway_missing": runway.missing} if isinstance(runway, Unknown) else {}


def _snapshot(at: datetime | None, credits: Decimal | None) -> Snapshot | None:
    return Snapshot(at, credits) if at is not None and credits is not None else None


def _runway(stored: StoredFacts) -> Runway | Unknown | None:
    low, likely, high = stored.runway_low, stored.runway_likely, stored.runway_high
    if low is not None and likely is not None and high is not None:
        return Runway(low, likely, high)
    return Unknown(stored.runway_missing) if stored.runway_missing is not None else None

"""Rows as JSON: credits as exact numbers, instants as text, nothing that cannot be printed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from math import isinf
from typing import Any, Final

from monitor.text import escape

Row = Mapping[str, Any]

_encoded: Final = json.JSONEncoder(ensure_ascii=False).encode  # made once: rows come by the million


def encode(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the parts of one JSON array, a row on each line, with a line break at its end."""
    first = True
    yield "["
    for row in rows:
        yield ("\n  " if first else ",\n  ") + _dump(row)
        first = False
    yield "]\n" if first else "\n]\n"


def encode_value(value: Any) -> str:
    """Return one value as JSON."""
    if isinstance(value, Decimal):
        return format_exact(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_dump(v) if isinstance(v, Mapping) else encode_value(v) for v in value) + "]"
    return escape(_encoded(plain(value)))


def _dump(row: Row) -> str:
    return "{" + ", ".join(f'"{key}": {encode_value(value)}' for key, value in row.items()) + "}"


def plain(value: Any) -> Any:
    """Return an instant as text and a length of time in seconds; everything else as it is."""
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def format_instant(at: datetime) -> str:
    """Return ISO 8601 with Z; whole seconds where there is nothing behind them."""
    return at.isoformat(timespec="auto").replace("+00:00", "Z")


def format_hours(runway: float | None) -> float | str | None:
    """Return a runway as rows have it: hours, "none" when nothing is used, None while unknown."""
    if runway is None:
        return None
    return "none" if isinf(runway) else round(runway, 2)


def format_exact(value: Decimal) -> str:
    """Return all digits that matter, never in scientific notation."""
    text = f"{value or abs(value):f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def format_local(at: datetime, zone: tzinfo, *, seconds: bool = False) -> str:
    """Return an instant of a zone, and the zone's name there: `2026-11-27 08:45 CET`."""
    try:
        local = at.astimezone(zone)
    except OverflowError:  # at the ends of the calendar
        local = at.astimezone(UTC)
    clock = "%H:%M:%S" if seconds else "%H:%M"
    return f"{local:%Y-%m-%d} {local.strftime(clock)} {local.tzname()}"


def format_figure(value: Decimal) -> str:
    """Return credits for people, with two decimals: `12,345.67`."""
    return f"{value:z,.2f}"

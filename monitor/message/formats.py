"""Formatting of credits, durations and instants for messages."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from monitor.amounts import is_currency, rounded
from monitor.model import STABILITY_UNIT

CENT: Final = Decimal("0.01")
UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "", 1))  # in seconds
LONGEST_CAUSE: Final = 300  # characters


def format_credits(credits: Decimal) -> str:
    """Return credits exactly, to six places at most: `12,345.67`, `148.2`, `0`."""
    return f"{rounded(credits).normalize() + 0:,f}"


def format_amount(amount: Decimal, unit: str) -> str:
    """Return an amount with its unit: `12,345.67 credits`, `12.30 USD`; money has two decimals at least."""
    return f"{_figure(amount, unit)} {unit}".rstrip()


def format_beside(amount: Decimal, unit: str) -> str:
    """Return an amount beside another of the same unit; credits are plain enough without the word."""
    return format_credits(amount) if unit == STABILITY_UNIT else format_amount(amount, unit)


def _figure(amount: Decimal, unit: str) -> str:
    figure = format_credits(amount)
    whole, _, decimals = figure.partition(".")
    return f"{whole}.{decimals:0<2}" if is_currency(unit) else figure


def shorten(credits: Decimal, *, up: bool = False) -> Decimal:
    """Return credits with two decimals, rounded down, so that 199.999 is not shown as its level 200.

    Less than a hundredth stays exact: a residue is not nothing.
    """
    if abs(credits) < CENT:
        return credits
    return credits.quantize(CENT, ROUND_CEILING if up else ROUND_FLOOR)


def format_change(change: Decimal, unit: str = STABILITY_UNIT) -> str:
    """Return a difference with its sign: `+1,000 credits`, `-12.30 USD`, `unchanged`."""
    if not rounded(change):
        return "unchanged"
    return f"{'+' if change > 0 else ''}{format_amount(change, unit)}"


def format_duration(duration: timedelta) -> str:
    """Return the two largest units: `45 s`, `34 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, length, smaller, smaller_length in UNITS:
        if seconds >= length:
            rest = seconds % length // smaller_length if smaller else 0
            return f"{seconds // length} {unit} {rest} {smaller}" if rest else f"{seconds // length} {unit}"
    return f"{seconds} s"


def format_instant(at: datetime, *, timezone: ZoneInfo) -> str:
    """Return an instant in UTC and in a time zone: `2026-11-24 23:20 UTC (2026-11-25 00:20 Europe/Berlin)`."""
    utc, local = at.astimezone(UTC), at.astimezone(timezone)
    text = f"{utc:%Y-%m-%d %H:%M} UTC"
    if str(timezone) in {"UTC", "Etc/UTC"}:
        return text
    same_day = utc.date() == local.date()
    return f"{text} ({local:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} {timezone})"

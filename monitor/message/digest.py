"""A channel's daily or weekly summary: what is open, what was not delivered, and every balance.

Incidents stand before balances, and the shortest runway before the rest: a service that cuts long messages then cuts
what matters least.
"""

import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from zoneinfo import ZoneInfo

from monitor.message.formats import CENT, format_duration, format_instant
from monitor.message.layout import COLOURS, RESOLVED, Layout, Phrase, Section, Table, lay_out
from monitor.message.rules import WORDING
from monitor.message.runway import format_runway
from monitor.model import STABILITY_UNIT, Digest, DigestLine, Message, OpenLine, Severity
from monitor.text import harmless


def render_digest(digest: Digest, *, timezone: ZoneInfo) -> Message:
    """Return a digest as a message; instants in UTC and in `timezone`, credits with two decimals."""
    channel = {"channel": harmless(digest.channel)}
    return lay_out(
        Layout(
            subject=Phrase(f"{_period(digest)} summary of {_organizations(digest)}: {', '.join(_trouble(digest))}"),
            sections=tuple(_sections(digest, timezone)),
            footer=Phrase("credit-monitor, summary for channel {channel}", channel),
            colour=_colour(digest),
        )
    )


def _period(digest: Digest) -> str:
    return "Weekly" if digest.weekly else "Daily"


def _organizations(digest: Digest) -> str:
    count = len(digest.organizations)
    return f"{count} organization{'' if count == 1 else 's'}"


def _trouble(digest: Digest) -> Iterator[str]:
    counts = Counter(incident.severity for incident in digest.incidents)
    for severity in sorted(counts, reverse=True):
        yield f"{counts[severity]} {severity.label}"
    if not counts:
        yield "no open incident"
    if lost := sum(digest.lost.values()):
        yield f"{lost} message{'' if lost == 1 else 's'} not delivered"


def _colour(digest: Digest) -> str:
    if digest.incidents:
        return COLOURS[max(incident.severity for incident in digest.incidents)]
    return COLOURS[Severity.WARNING] if any(digest.lost.values()) else RESOLVED


# --- sections ---------------------------------------------------------------------------------------------------------


def _sections(digest: Digest, timezone: ZoneInfo) -> Iterator[Section]:
    since, until = (format_instant(at, timezone=timezone) for at in (digest.since, digest.until))
    yield Section(lead=(f"From {since} to {until}.",))
    yield _incidents(digest)
    yield _deliveries(digest)
    yield _balances(digest)


def _incidents(digest: Digest) -> Section:
    if not digest.incidents:
        return Section(lead=("No incident is open.",))
    ordered = sorted(digest.incidents, key=lambda incident: (-incident.severity, incident.opened_at))
    rows = tuple(_incident(incident, digest.until) for incident in ordered)
    return Section(
        heading="Open incidents",
        table=Table(("Severity", "Name", "What", "Open for"), rows),
        colour=_colour(digest),
    )


def _incident(incident: OpenLine, until: datetime) -> tuple[str, ...]:
    what = WORDING[incident.rule].topic
    return incident.severity.label, harmless(incident.name), what, format_duration(until - incident.opened_at)


def _deliveries(digest: Digest) -> Section:
    channels = sorted({name for counts in (digest.lost, digest.waiting) for name, count in counts.items() if count})
    if not channels:
        return Section(lead=("No delivery failed.",))
    rows = ((harmless(name), str(digest.lost.get(name, 0)), str(digest.waiting.get(name, 0))) for name in channels)
    return Section(
        heading="Deliveries that failed",
        table=Table(("Channel", ">Given up", ">Tried again"), tuple(rows)),
        colour=COLOURS[Severity.WARNING],
    )


def _balances(digest: Digest) -> Section:
    if not digest.organizations:
        return Section(lead=("No organization is watched for this channel.",))
    ordered = sorted(
        digest.organizations, key=lambda line: math.inf if line.runway_likely is None else line.runway_likely
    )
    rows = [_line(line, digest.until) for line in ordered]
    balance = ">Credits" if all(line.unit == STABILITY_UNIT for line in ordered) else ">Balance"
    columns: tuple[str, ...] = ("Organization", balance, ">Used", ">Topped up", "Runway", "")
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Section(heading="Balances", table=Table(columns, tuple(rows)), colour=COLOURS[Severity.INFO])


def _line(line: DigestLine, until: datetime) -> tuple[str, ...]:
    return (
        harmless(line.name),
        "no limit" if line.unlimited else _two_decimals(line.credits, line.unit),
        _two_decimals(line.used, line.unit),
        _two_decimals(line.topped_up, line.unit),
        format_runway(line.runway_likely, line.runway_low, line.runway_high),
        _age(line, until),
    )


def _two_decimals(amount: Decimal | None, unit: str) -> str:
    if amount is None:
        return "?"
    figure = f"{amount.quantize(CENT, ROUND_FLOOR) + 0:,.2f}"
    return figure if unit == STABILITY_UNIT else f"{figure} {unit}"


def _age(line: DigestLine, until: datetime) -> str:
    """Return what is wrong with a balance, for a column that is left out when all of it is empty."""
    if line.taken_at is None:
        return "never fetched"
    return f"OLD: {format_duration(until - line.taken_at)}" if line.failing else ""

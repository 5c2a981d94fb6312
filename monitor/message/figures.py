"""The figures of a notification, row by row; what they mean is said in the headline."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from monitor.message import runway
from monitor.message.formats import (
    LONGEST_CAUSE,
    format_amount,
    format_beside,
    format_change,
    format_duration,
    format_instant,
)
from monitor.message.rules import hours
from monitor.model import Facts, Notification, Reason, Rule, Subject
from monitor.text import harmless

Row = tuple[str, str]

DAY: Final = timedelta(days=1)
ROUGHLY: Final = timedelta(minutes=30)  # off a day this much is still "24 hours"
FRESH: Final = timedelta(minutes=1)  # between a snapshot and the check that is judged by it


def foreign(facts: Facts) -> Mapping[str, str]:
    """Return the foreign words of the facts, made harmless."""
    return {
        "name": harmless(facts.name),
        "account": harmless(facts.account),
        "title": harmless(facts.title or ""),
        "vendor_id": harmless(facts.vendor_id or ""),
        "cause": harmless(facts.cause or "", longest=LONGEST_CAUSE),
    }


def rows(notification: Notification, *, timezone: ZoneInfo) -> Iterator[Row]:
    """Yield label and value of everything known."""
    facts = notification.facts
    yield from _whose(notification)
    yield from _balance(facts, timezone)
    if outlook := runway.describe(facts, timezone=timezone):
        yield "Runway", outlook
    yield from _level(notification)
    yield from _changes(facts, timezone)
    if facts.top_up is not None:
        when = format_instant(facts.top_up.taken_at, timezone=timezone)
        yield "Last top-up", f"{format_change(facts.top_up.credits, facts.unit)}, {when}"
    if facts.cause and notification.reason is not Reason.RESOLVED:
        yield "Cause", "{cause}"
    yield from _times(notification, timezone)


def _whose(notification: Notification) -> Iterator[Row]:
    facts = notification.facts
    if notification.subject is Subject.ORGANIZATION:
        yield "Organization", _organization(facts)
    if notification.subject is not Subject.MONITOR:
        yield "Account", "{account}"
    if facts.organizations is not None:
        yield "Organizations", str(facts.organizations)


def _organization(facts: Facts) -> str:
    also = [key for key in ("title", "vendor_id") if getattr(facts, key) not in {None, "", facts.name}]
    return "{name}" + (f" ({', '.join(f'{{{key}}}' for key in also)})" if also else "")


def _balance(facts: Facts, timezone: ZoneInfo) -> Iterator[Row]:
    if facts.no_credits:
        yield "Balance", "none left, as the vendor answers"
    if facts.credits is None or facts.taken_at is None:
        return
    figure = format_amount(facts.credits, facts.unit)
    if facts.cause is None and facts.at - facts.taken_at < FRESH:
        yield "Balance", figure
    else:
        age = format_duration(facts.at - facts.taken_at)
        when = format_instant(facts.taken_at, timezone=timezone)
        yield "Last known balance", f"{figure}, OLD: taken {age} earlier, {when}"


def _level(notification: Notification) -> Iterator[Row]:
    """Yield the rung that decided, in the unit of its rule."""
    facts = notification.facts
    if facts.level is None:
        return
    match notification.rule:
        case Rule.CREDITS:
            clear = f", clear again at {format_beside(facts.clear, facts.unit)}" if facts.clear is not None else ""
            yield "Level", f"{format_amount(facts.level, facts.unit)}{clear}"
        case Rule.RUNWAY:
            clear = f", clear again at {hours(facts.clear)}" if facts.clear is not None else ""
            yield "Level", f"{hours(facts.level)}{clear}"
        case Rule.SPEND:
            window = f" within {format_duration(facts.window)}" if facts.window is not None else ""
            clear = f", clear again at {format_beside(facts.clear, facts.unit)}" if facts.clear is not None else ""
            yield "Limit", f"{format_amount(facts.level, facts.unit)}{window}{clear}"


def _changes(facts: Facts, timezone: ZoneInfo) -> Iterator[Row]:
    """Yield how the balance changed up to the last known one."""
    last, previous, day_ago = facts.snapshot, facts.previous, facts.day_ago
    if last is None:
        return
    if previous is not None:
        change = format_change(last.credits - previous.credits, facts.unit)
        yield "Since last snapshot", f"{change}, in {format_duration(last.taken_at - previous.taken_at)}"
    if day_ago is None or (previous is not None and day_ago.taken_at == previous.taken_at):
        return
    change, span = format_change(last.credits - day_ago.credits, facts.unit), last.taken_at - day_ago.taken_at
    if abs(span - DAY) <= ROUGHLY:
        yield "Over 24 hours", change
    elif span > timedelta(0):
        since = format_instant(day_ago.taken_at, timezone=timezone)
        yield f"Over {format_duration(span)}", f"{change}, since {since}"


def _times(notification: Notification, timezone: ZoneInfo) -> Iterator[Row]:
    facts = notification.facts
    if facts.opened_at is not None and notification.reason is not Reason.OPENED:
        yield "Began", format_instant(facts.opened_at, timezone=timezone)
    yield "Time", format_instant(facts.at, timezone=timezone)

"""Every word a human reads in a notification.

Refuses to decide whether anything is said, to read a clock, and to trust a name: what the vendor calls things reaches
every form of a message as one harmless line.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from monitor.message.letter import COLOURS, RESOLVED, Letter, write
from monitor.message.rules import headline, lead
from monitor.message.words import (
    LONGEST_CAUSE,
    format_change,
    format_credits,
    format_duration,
    format_instant,
    harmless,
)
from monitor.model import Facts, Message, Notification, Reason, Rule, Severity, Subject

__all__ = ["format_change", "format_credits", "format_duration", "format_instant", "harmless", "render", "test_message"]

Row = tuple[str, str]

DAY: Final = timedelta(days=1)
ROUGHLY: Final = timedelta(minutes=30)  # so far from a day is still "24 hours"
FRESH: Final = timedelta(minutes=1)  # so long after a snapshot a check may be judged


def render(notification: Notification, *, timezone: ZoneInfo) -> Message:
    """A notification in words, by the figures it was judged by; instants in UTC and in `timezone`."""
    resolved = notification.reason is Reason.RESOLVED
    return write(
        Letter(
            subject=headline(notification),
            lead=lead(notification),
            rows=tuple(_rows(notification, timezone)),
            footer="credit-monitor, notification {id} (the same id twice is the same message twice)",
            colour=RESOLVED if resolved else COLOURS[notification.severity],
            foreign={"id": notification.id, **_foreign(notification.facts)},
        )
    )


def test_message(channel: str, *, at: datetime, timezone: ZoneInfo) -> Message:
    """What `credit-monitor notify CHANNEL` sends."""
    return write(
        Letter(
            subject="TEST: credit-monitor reaches channel {name}",
            lead=("This is a test. Nothing is wrong; alerts of credit-monitor will arrive here.",),
            rows=(("Channel", "{name}"), ("Time", format_instant(at, timezone=timezone))),
            footer="credit-monitor",
            colour=COLOURS[Severity.INFO],
            foreign=MappingProxyType({"name": harmless(channel)}),
        )
    )


def _foreign(facts: Facts) -> Mapping[str, str]:
    return {
        "name": harmless(facts.name),
        "account": harmless(facts.account),
        "title": harmless(facts.title or ""),
        "vendor_id": harmless(facts.vendor_id or ""),
        "cause": harmless(facts.cause or "", longest=LONGEST_CAUSE),
    }


def _rows(notification: Notification, timezone: ZoneInfo) -> Iterator[Row]:
    facts = notification.facts
    if notification.subject is Subject.ORGANIZATION:
        yield "Organization", _organization(facts)
    yield "Account", "{account}"
    yield from _balance(facts, timezone)
    if notification.rule is Rule.CREDITS:
        yield from _level(facts)
    yield from _changes(facts, timezone)
    if facts.top_up_credits is not None and facts.top_up_at is not None:
        when = format_instant(facts.top_up_at, timezone=timezone)
        yield "Last top-up", f"{format_change(facts.top_up_credits)}, {when}"
    if facts.cause and notification.reason is not Reason.RESOLVED:
        yield "Cause", "{cause}"
    yield from _times(notification, timezone)


def _organization(facts: Facts) -> str:
    also = [key for key in ("title", "vendor_id") if getattr(facts, key) not in {None, "", facts.name}]
    return "{name}" + (f" ({', '.join(f'{{{key}}}' for key in also)})" if also else "")


def _balance(facts: Facts, timezone: ZoneInfo) -> Iterator[Row]:
    if facts.no_credits:
        yield "Balance", "none left, as the vendor answers"
    if facts.credits is None or facts.taken_at is None:
        return
    figure = f"{format_credits(facts.credits)} credits"
    if facts.cause is None and facts.at - facts.taken_at < FRESH:
        yield "Balance", figure
    else:
        age = format_duration(facts.at - facts.taken_at)
        when = format_instant(facts.taken_at, timezone=timezone)
        yield "Last known balance", f"{figure}, OLD: taken {age} earlier, {when}"


def _level(facts: Facts) -> Iterator[Row]:
    if facts.level is not None:
        clear = f", clear again at {format_credits(facts.clear)}" if facts.clear is not None else ""
        yield "Level", f"{format_credits(facts.level)} credits{clear}"


def _changes(facts: Facts, timezone: ZoneInfo) -> Iterator[Row]:
    """What the balance did up to the last known figure."""
    if facts.credits is None or facts.taken_at is None:
        return
    if facts.previous_credits is not None and facts.previous_at is not None:
        change = format_change(facts.credits - facts.previous_credits)
        yield "Since last snapshot", f"{change}, in {format_duration(facts.taken_at - facts.previous_at)}"
    if facts.day_ago_credits is None or facts.day_ago_at is None or facts.day_ago_at == facts.previous_at:
        return
    change, span = format_change(facts.credits - facts.day_ago_credits), facts.taken_at - facts.day_ago_at
    if abs(span - DAY) <= ROUGHLY:
        yield "Over 24 hours", change
    elif span > timedelta(0):
        since = format_instant(facts.day_ago_at, timezone=timezone)
        yield f"Over {format_duration(span)}", f"{change}, since {since}"


def _times(notification: Notification, timezone: ZoneInfo) -> Iterator[Row]:
    facts = notification.facts
    if facts.opened_at is not None and notification.reason is not Reason.OPENED:
        yield "Began", format_instant(facts.opened_at, timezone=timezone)
    yield "Time", format_instant(facts.at, timezone=timezone)

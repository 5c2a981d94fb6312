"""Messages: the text of alerts, digests and tests, in plain text, Markdown and HTML.

Names that the vendor or a user chose reach every form of a message as one harmless line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from monitor.message import figures
from monitor.message.alert import advice, headline, lead, mail_subject, silence_command, span, tops_up
from monitor.message.database_alert import database_away, database_back
from monitor.message.digest import render_digest
from monitor.message.formats import format_amount, format_change, format_credits, format_duration, format_instant
from monitor.message.layout import COLOURS, RESOLVED, Layout, Link, Phrase, Section, lay_out
from monitor.message.runway import format_runway
from monitor.message.status_line import (
    away_line,
    leads_line,
    refused_line,
    stands_by_line,
    standstill_line,
    wedged_line,
)
from monitor.message.top_up import render_top_ups
from monitor.model import STABILITY_UNIT, Message, Notification, Reason, Severity
from monitor.text import harmless

__all__ = [
    "away_line",
    "database_away",
    "database_back",
    "format_amount",
    "format_change",
    "format_credits",
    "format_duration",
    "format_instant",
    "format_runway",
    "insecure_notice",
    "leads_line",
    "log_line",
    "refused_line",
    "render",
    "render_digest",
    "render_group",
    "render_top_ups",
    "stands_by_line",
    "standstill_line",
    "test_message",
    "wedged_line",
    "worst_first",
]

TEST_ENDS: Final = "It opens an incident of its own, which is resolved at once."
TWICE: Final = "the same id twice is the same message twice"


def log_line(notification: Notification) -> str:
    """Return the figures and the reason of a notification, for a log."""
    facts, template = notification.facts, headline(notification, timezone=ZoneInfo("UTC")).partition(": ")[2]
    balance = format_amount(facts.credits, facts.unit) if facts.credits is not None else ""
    if balance not in template:
        template += f" (last known: {balance})"
    if facts.cause and "{cause}" not in template:
        template += "; {cause}"
    return template.format_map(figures.foreign(facts))


def render(
    notification: Notification,
    *,
    timezone: ZoneInfo,
    folded: Sequence[Notification] = (),
    top_up_urls: Mapping[str, str] = MappingProxyType({}),
) -> Message:
    """Return a notification as a message, with the figures it was judged by; instants in UTC and in `timezone`.

    `folded` are older ones of its incident that were not delivered, and are told with it.  `top_up_urls` has the page
    on which credits are bought, by account.
    """
    section = _section(notification, folded, timezone, top_up_urls)
    return lay_out(
        Layout(
            subject=Phrase(headline(notification, timezone=timezone), section.foreign),
            sections=(section,),
            footer=Phrase(f"credit-monitor, notification {{id}} ({TWICE})", {"id": _ids(notification, folded)}),
            colour=_colour(notification),
            mail_subject=Phrase(mail_subject(notification), section.foreign),
        )
    )


def render_group(
    notifications: Sequence[Notification],
    *,
    timezone: ZoneInfo,
    folded: Mapping[str, Sequence[Notification]] = MappingProxyType({}),
    top_up_urls: Mapping[str, str] = MappingProxyType({}),
) -> Message:
    """Return one message for notifications that came due together (at least one), worst first and resolved ones last.

    All headlines stand before any detail: a service that cuts long messages then cuts no notification.  `folded` has,
    by a notification's id, the older ones that are told with it.
    """
    if len(notifications) == 1:
        only = notifications[0]
        return render(only, timezone=timezone, folded=folded.get(only.id, ()), top_up_urls=top_up_urls)
    ordered = worst_first(notifications)
    headlines = tuple(_headline(notification, timezone) for notification in ordered)
    more = f" (and {len(ordered) - 1} more)"
    members = (
        _member(notification, folded.get(notification.id, ()), timezone, top_up_urls) for notification in ordered
    )
    return lay_out(
        Layout(
            subject=Phrase(f"{headlines[0].template}{more}", headlines[0].foreign),
            sections=(Section(items=headlines), *members),
            footer=Phrase(f"credit-monitor, {len(ordered)} notifications ({TWICE})"),
            colour=_colour(ordered[0]),
            mail_subject=Phrase(f"{mail_subject(ordered[0])}{more}", headlines[0].foreign),
        )
    )


def worst_first(notifications: Sequence[Notification]) -> list[Notification]:
    """Return notifications in the order in which a message tells them."""
    return sorted(notifications, key=_sort_key)


def test_message(channel: str, *, at: datetime, timezone: ZoneInfo, ends: bool = False) -> Message:  # noqa: PT028 -- no test
    """Return what `credit-monitor notify CHANNEL` sends; `ends`: it opens an incident there, which ends at once."""
    foreign = MappingProxyType({"name": harmless(channel)})
    ending = (TEST_ENDS,) if ends else ()
    section = Section(
        lead=("This is a test. Nothing is wrong; alerts of credit-monitor will arrive here.", *ending),
        rows=(("Channel", "{name}"), ("Time", format_instant(at, timezone=timezone))),
        foreign=foreign,
    )
    return lay_out(
        Layout(
            subject=Phrase("TEST: credit-monitor reaches channel {name}", foreign),
            sections=(section,),
            footer=Phrase("credit-monitor"),
            colour=COLOURS[Severity.INFO],
        )
    )


def insecure_notice(setting: str, state: str, todo: str, *, at: datetime, timezone: ZoneInfo) -> Message:
    """Return what the other channels are told once: how a setting lets others read or change what is sent."""
    foreign = MappingProxyType({"setting": harmless(setting), "state": harmless(state), "todo": harmless(todo)})
    section = Section(
        lead=("Alerts go on as before. What travels there can be read or changed on its way: {state}.",),
        rows=(("Setting", "{setting}"), ("Time", format_instant(at, timezone=timezone)), ("What to do", "{todo}")),
        foreign=foreign,
    )
    return lay_out(
        Layout(
            subject=Phrase("WARNING: {setting} of credit-monitor is not secure", foreign),
            sections=(section,),
            footer=Phrase("credit-monitor; this is told once, `credit-monitor doctor` says it again"),
            colour=COLOURS[Severity.WARNING],
        )
    )


def _sort_key(notification: Notification) -> tuple[bool, int, bool]:
    """Return a sort key: worst first; at the same severity reminders stand behind what is new."""
    over = notification.reason is Reason.RESOLVED
    return over, -notification.severity, notification.reason is Reason.REMINDER


def _headline(notification: Notification, timezone: ZoneInfo) -> Phrase:
    return Phrase(headline(notification, timezone=timezone), figures.foreign(notification.facts))


def _ids(notification: Notification, folded: Sequence[Notification]) -> str:
    """All that a message tells, by which a double can be recognised."""
    older = ", ".join(one.id for one in folded)
    return f"{notification.id}, with {older}" if older else notification.id


def _member(
    notification: Notification, folded: Sequence[Notification], timezone: ZoneInfo, top_up_urls: Mapping[str, str]
) -> Section:
    section = _section(notification, folded, timezone, top_up_urls)
    return replace(
        section,
        heading=headline(notification, timezone=timezone),
        rows=(*section.rows, ("Notification", "{id}")),
        colour=_colour(notification),
        foreign={"id": _ids(notification, folded), **section.foreign},
    )


def _section(
    notification: Notification, folded: Sequence[Notification], timezone: ZoneInfo, top_up_urls: Mapping[str, str]
) -> Section:
    """What happened, what to do, and the figures."""
    late = span(notification, folded, timezone=timezone) if folded else ""
    url = top_up_urls.get(notification.facts.account) if tops_up(notification) else None
    label = "Buy credits" if notification.facts.unit == STABILITY_UNIT else "Top up"
    command = silence_command(notification)
    return Section(
        lead=tuple(filter(None, (*lead(notification), late, advice(notification)))),
        link=Link(label, url) if url else None,
        rows=(*figures.rows(notification, timezone=timezone), *([("To silence it", "{command}")] if command else [])),
        foreign={"command": command, **figures.foreign(notification.facts)},
    )


def _colour(notification: Notification) -> str:
    return RESOLVED if notification.reason is Reason.RESOLVED else COLOURS[notification.severity]

"""The message that credits were bought while nothing was wrong: of one organization, or all at once."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from monitor.message.formats import format_credits, format_instant, shorten
from monitor.message.layout import RESOLVED, Layout, Phrase, Section, Table, lay_out
from monitor.model import Message, TopUp
from monitor.text import harmless


def render_top_ups(top_ups: Sequence[TopUp], *, timezone: ZoneInfo) -> Message:
    """Return one message for top-ups (at least one); instants in UTC and in `timezone`, figures exact."""
    if len(top_ups) == 1:
        return _one(top_ups[0], timezone)
    ordered = sorted(top_ups, key=lambda top_up: (-top_up.credits, top_up.name))
    rows = (
        (harmless(one.name), f"+{format_credits(one.credits)}", format_credits(one.balance), _at(one, timezone))
        for one in ordered
    )
    table = Table(("Organization", ">Topped up", ">Credits now", "Time"), tuple(rows))
    return _message(
        Phrase(f"TOP-UP: {len(ordered)} organizations have more credits"),
        Section(lead=("Credits were bought, or given; nothing was wrong with these organizations.",), table=table),
    )


def _one(top_up: TopUp, timezone: ZoneInfo) -> Message:
    foreign = {"name": harmless(top_up.name), "account": harmless(top_up.account)}
    more, now = format_credits(shorten(top_up.credits)), format_credits(shorten(top_up.balance))
    section = Section(
        lead=("Credits of {name} were bought, or given; nothing was wrong with it.",),
        rows=(
            ("Organization", "{name}"),
            ("Account", "{account}"),
            ("Topped up", f"+{format_credits(top_up.credits)} credits"),
            ("Balance", f"{format_credits(top_up.balance)} credits"),
            ("Time", _at(top_up, timezone)),
        ),
        foreign=foreign,
    )
    return _message(Phrase(f"TOP-UP: {{name}} has {now} credits, {more} more", foreign), section)


def _at(top_up: TopUp, timezone: ZoneInfo) -> str:
    return format_instant(top_up.at, timezone=timezone)


def _message(subject: Phrase, section: Section) -> Message:
    return lay_out(Layout(subject, (section,), Phrase("credit-monitor"), RESOLVED))

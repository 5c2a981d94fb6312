"""The message that credits were bought while nothing was wrong: of one organization, or all at once."""

from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

from monitor.message.formats import format_amount, format_beside, format_instant, shorten
from monitor.message.layout import RESOLVED, Layout, Phrase, Section, Table, lay_out
from monitor.model import STABILITY_UNIT, Message, TopUp
from monitor.text import harmless


def render_top_ups(top_ups: Sequence[TopUp], *, timezone: ZoneInfo) -> Message:
    """Return one message for top-ups (at least one); instants in UTC and in `timezone`, figures exact."""
    if len(top_ups) == 1:
        return _one(top_ups[0], timezone)
    ordered = sorted(top_ups, key=lambda top_up: (-top_up.credits, top_up.name))
    rows = (
        (harmless(one.name), f"+{_beside(one, one.credits)}", _beside(one, one.balance), _at(one, timezone))
        for one in ordered
    )
    now = ">Credits now" if all(one.unit == STABILITY_UNIT for one in top_ups) else ">Balance now"
    table = Table(("Organization", ">Topped up", now, "Time"), tuple(rows))
    return _message(
        Phrase(f"TOP-UP: {len(ordered)} organizations have more credits"),
        Section(lead=("Credits were bought, or given; nothing was wrong with these organizations.",), table=table),
    )


def _one(top_up: TopUp, timezone: ZoneInfo) -> Message:
    foreign = {"name": harmless(top_up.name), "account": harmless(top_up.account)}
    more, now = _beside(top_up, shorten(top_up.credits)), format_amount(shorten(top_up.balance), top_up.unit)
    what = "Credits of {name} were" if top_up.unit == STABILITY_UNIT else "More was"
    section = Section(
        lead=(f"{what} bought, or given; nothing was wrong with it.",),
        rows=(
            ("Organization", "{name}"),
            ("Account", "{account}"),
            ("Topped up", f"+{format_amount(top_up.credits, top_up.unit)}"),
            ("Balance", format_amount(top_up.balance, top_up.unit)),
            ("Time", _at(top_up, timezone)),
        ),
        foreign=foreign,
    )
    return _message(Phrase(f"TOP-UP: {{name}} has {now}, {more} more", foreign), section)


def _beside(top_up: TopUp, amount: Decimal) -> str:
    return format_beside(amount, top_up.unit)


def _at(top_up: TopUp, timezone: ZoneInfo) -> str:
    return format_instant(top_up.at, timezone=timezone)


def _message(subject: Phrase, section: Section) -> Message:
    return lay_out(Layout(subject, (section,), Phrase("credit-monitor"), RESOLVED))

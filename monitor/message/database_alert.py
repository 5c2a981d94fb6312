"""Messages about the monitor's own database, which cannot wait in its outbox."""

from datetime import datetime
from zoneinfo import ZoneInfo

from monitor.message.formats import LONGEST_CAUSE, format_duration, format_instant
from monitor.message.layout import COLOURS, RESOLVED, Layout, Phrase, Section, lay_out
from monitor.model import Message, Severity
from monitor.text import harmless


def database_away(
    *, host: str, since: datetime, at: datetime, cause: str, id: str, timezone: ZoneInfo, what: str = ""
) -> Message:
    """Return the message that nothing is recorded or alerted until the database is back; `cause` is redacted.

    `what`: that alone cannot be written.
    """
    foreign = {"host": harmless(host), "cause": harmless(cause, longest=LONGEST_CAUSE), "id": id}
    state = "has no database"
    lead = (
        "Until it is back no alert can be judged or sent. Balances that are fetched meanwhile are held, and kept then."
    )
    if what:
        foreign["what"] = harmless(what)
        state = "cannot write everything"
        lead = (
            "The database does not take this: {what}. It is held in memory and tried again; until then nothing of it "
            "is judged, and what was sent comes again after a restart."
        )
    rows = (
        ("Since", format_instant(since, timezone=timezone)),
        ("Cause", "{cause}"),
        ("What to do", "see to the database; `credit-monitor doctor` says what is wrong with it"),
    )
    return lay_out(
        Layout(
            subject=Phrase(f"CRITICAL: credit-monitor on {{host}} {state} for {format_duration(at - since)}", foreign),
            sections=(Section(lead=(lead,), rows=rows, foreign=foreign),),
            footer=Phrase("credit-monitor, notification {id}", foreign),
            colour=COLOURS[Severity.CRITICAL],
        )
    )


def database_back(*, host: str, since: datetime, at: datetime, id: str, timezone: ZoneInfo) -> Message:
    """Return the message that the database is back."""
    foreign = {"host": harmless(host), "id": id}
    rows = (("Away since", format_instant(since, timezone=timezone)), ("Back", format_instant(at, timezone=timezone)))
    return lay_out(
        Layout(
            subject=Phrase("RESOLVED: credit-monitor on {host} has its database again", foreign),
            sections=(
                Section(lead=("What was fetched meanwhile is kept and judged now.",), rows=rows, foreign=foreign),
            ),
            footer=Phrase("credit-monitor, notification {id}", foreign),
            colour=RESOLVED,
        )
    )

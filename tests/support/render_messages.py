"""Writes `docs/messages.md`: every message of every kind, once.  Run it after a change of words; a test compares."""

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import requests
from figures import changed, flat

from monitor.channels.letters import wrap
from monitor.message import insecure_notice, render, render_digest, render_group, render_top_ups, test_message
from monitor.model import (
    Digest,
    DigestLine,
    Facts,
    Message,
    Notification,
    OpenLine,
    Reason,
    Rule,
    Severity,
    Subject,
    TopUp,
)

AT = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
BILLING = {"studio": "https://platform.stability.ai/account/credits"}
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OPENED, ESCALATED, EASED = Reason.OPENED, Reason.ESCALATED, Reason.EASED
RESOLVED, REMINDER = Reason.RESOLVED, Reason.REMINDER
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL

FACTS = flat(
    name="render-farm",
    account="studio",
    at=AT,
    vendor_id="org-123456",
    title="Acme Render",
    credits=Decimal(900),
    taken_at=AT,
    level=Decimal(1000),
    clear=Decimal(1050),
    previous_credits=Decimal("912.3"),
    previous_at=AT - 5 * MINUTE,
    day_ago_credits=Decimal(1190),
    day_ago_at=AT - DAY,
    top_up_credits=Decimal(5000),
    top_up_at=AT - 14 * DAY,
    opened_at=AT,
    runway_low=57.6,
    runway_likely=74.4,
    runway_high=96.0,
)
LOW = changed(
    FACTS,
    credits=Decimal("169.94268"),
    level=Decimal(200),
    clear=Decimal(210),
    runway_low=11.0,
    runway_likely=15.0,
    runway_high=19.0,
    previous_credits=Decimal("204.5"),
    previous_severity=WARNING,
    opened_at=AT - 2 * DAY,
)
FULL = changed(
    FACTS,
    credits=Decimal("6169.94268"),
    topped_up=Decimal(6000),
    top_up_credits=Decimal(6000),
    top_up_at=AT,
    previous_credits=Decimal("169.94268"),
    runway_low=380.0,
    runway_likely=500.0,
    runway_high=660.0,
    opened_at=AT - 2 * DAY,
)
EMPTYING = changed(FACTS, level=Decimal(168), clear=Decimal(210))
LASTING = changed(FULL, level=Decimal(168), clear=Decimal(210))
LESS = changed(
    LASTING, topped_up=Decimal(0), credits=Decimal(900), previous_credits=Decimal(900), top_up_at=AT - 14 * DAY
)
SPENT = changed(
    FACTS,
    level=Decimal(500),
    clear=Decimal(400),
    spent=Decimal("812.5"),
    window=HOUR,
    previous_credits=Decimal("962.5"),
    day_ago_credits=Decimal("1730.5"),
    runway_low=None,
    runway_likely=None,
    runway_high=None,
    runway_missing=19 * HOUR,
)
SILENT = changed(
    FACTS,
    level=None,
    clear=None,
    taken_at=AT - 34 * MINUTE,
    previous_at=AT - 39 * MINUTE,
    day_ago_at=AT - DAY - 34 * MINUTE,
    cause="no answer within 15 s",
    opened_at=AT,
)
NEVER = flat(
    name="lab",
    account="studio",
    at=AT,
    vendor_id="org-9",
    stale_after=30 * MINUTE,
    cause="answered with HTTP 503",
    opened_at=AT,
)
DENIED = changed(
    SILENT,
    taken_at=AT - 5 * MINUTE,
    previous_at=AT - 10 * MINUTE,
    day_ago_at=AT - DAY - 5 * MINUTE,
    cause="403 permission_denied: no access to this organization",
)
KEY = flat(name="studio", account="studio", at=AT, cause="401 unauthorized", opened_at=AT)
OUT = changed(KEY, cause="the vendor could not be reached", organizations=12, stale_after=30 * MINUTE)
ALL_OUT = changed(OUT, name="every account", account="every account", organizations=40)
AGO = AT - 9 * HOUR
LONG = changed(SILENT, taken_at=AGO, previous_at=AGO - 5 * MINUTE, day_ago_at=AGO - DAY)

Sample = tuple[str, Rule, Reason, Severity, Facts]

SAMPLES: tuple[Sample, ...] = (
    ("Opened", Rule.CREDITS, OPENED, WARNING, FACTS),
    ("Escalated", Rule.CREDITS, ESCALATED, CRITICAL, LOW),
    ("Reminder", Rule.CREDITS, REMINDER, CRITICAL, changed(LOW, opened_at=AGO)),
    (
        "No credits left",
        Rule.CREDITS,
        ESCALATED,
        CRITICAL,
        changed(LOW, no_credits=True, taken_at=AT - 5 * MINUTE, previous_at=AT - 10 * MINUTE, cause="402, no credits"),
    ),
    (
        "Eased",
        Rule.CREDITS,
        EASED,
        WARNING,
        changed(FULL, credits=Decimal(1010), topped_up=Decimal(900), previous_severity=CRITICAL),
    ),
    ("Resolved", Rule.CREDITS, RESOLVED, CRITICAL, FULL),
    ("Closed by a change of the configuration", Rule.CREDITS, RESOLVED, WARNING, changed(FULL, reconfigured=True)),
    ("Opened", Rule.RUNWAY, OPENED, WARNING, EMPTYING),
    (
        "Escalated",
        Rule.RUNWAY,
        ESCALATED,
        CRITICAL,
        changed(LOW, level=Decimal(48), clear=Decimal(60)),
    ),
    ("Reminder", Rule.RUNWAY, REMINDER, WARNING, changed(EMPTYING, opened_at=AT - DAY)),
    (
        "Eased",
        Rule.RUNWAY,
        EASED,
        WARNING,
        changed(EMPTYING, previous_severity=CRITICAL, opened_at=AT - 2 * DAY),
    ),
    ("Resolved by a top-up", Rule.RUNWAY, RESOLVED, WARNING, LASTING),
    ("Resolved because less is used", Rule.RUNWAY, RESOLVED, WARNING, LESS),
    ("Resolved because nothing is used", Rule.RUNWAY, RESOLVED, WARNING, changed(LESS, runway_likely=inf)),
    ("Opened", Rule.SPEND, OPENED, WARNING, SPENT),
    ("Reminder", Rule.SPEND, REMINDER, WARNING, changed(SPENT, opened_at=AT - DAY)),
    ("Resolved", Rule.SPEND, RESOLVED, WARNING, changed(SPENT, spent=Decimal(120), opened_at=AGO)),
    ("Opened", Rule.STALE, OPENED, WARNING, SILENT),
    ("Opened, never fetched", Rule.STALE, OPENED, WARNING, NEVER),
    ("Reminder", Rule.STALE, REMINDER, WARNING, changed(LONG, opened_at=AGO + 31 * MINUTE)),
    ("Resolved", Rule.STALE, RESOLVED, WARNING, changed(FACTS, level=None, clear=None, opened_at=AGO)),
    ("Opened", Rule.ACCESS, OPENED, CRITICAL, DENIED),
    ("Reminder", Rule.ACCESS, REMINDER, CRITICAL, changed(LONG, cause=DENIED.cause, opened_at=AGO)),
    ("Resolved", Rule.ACCESS, RESOLVED, CRITICAL, changed(FACTS, level=None, clear=None, opened_at=AGO)),
    ("Opened", Rule.CREDENTIAL, OPENED, CRITICAL, KEY),
    ("Reminder", Rule.CREDENTIAL, REMINDER, CRITICAL, changed(KEY, opened_at=AGO)),
    ("Resolved", Rule.CREDENTIAL, RESOLVED, CRITICAL, changed(KEY, opened_at=AGO)),
    ("Opened", Rule.OUTAGE, OPENED, WARNING, OUT),
    ("Opened, of every account", Rule.OUTAGE, OPENED, WARNING, ALL_OUT),
    ("Reminder", Rule.OUTAGE, REMINDER, WARNING, changed(OUT, opened_at=AGO)),
    ("Resolved", Rule.OUTAGE, RESOLVED, WARNING, changed(OUT, organizations=None, opened_at=AGO)),
    (
        "Resolved, of every account",
        Rule.OUTAGE,
        RESOLVED,
        WARNING,
        changed(ALL_OUT, organizations=None, opened_at=AGO),
    ),
)

DIGEST = Digest(
    channel="ops",
    weekly=False,
    since=AT - DAY,
    until=AT,
    organizations=(
        DigestLine("lab", None, None, None, None),
        DigestLine("archive", Decimal(25), AT, Decimal(0), Decimal(0), inf, inf, inf),
        DigestLine("render-farm", Decimal("169.94268"), AT, Decimal("1020.5"), Decimal(0), 11.0, 15.0, 19.0),
        DigestLine("web-shop", Decimal(4120), AGO, Decimal(310), Decimal(2000), 200.0, 310.0, 470.0, failing=True),
    ),
    incidents=(
        OpenLine("web-shop", Rule.STALE, WARNING, AGO),
        OpenLine("render-farm", Rule.CREDITS, CRITICAL, AT - 2 * DAY),
    ),
    lost={"pager": 2},
    waiting={"pager": 1, "mail": 3},
)
CALM = replace(
    DIGEST, weekly=True, since=AT - 7 * DAY, organizations=DIGEST.organizations[1:2], incidents=(), lost={}, waiting={}
)

TOP_UPS = (
    TopUp("render-farm", "studio", Decimal(5000), Decimal("6169.94268"), AT),
    TopUp("web-shop", "studio", Decimal(2000), Decimal(4120), AT - 20 * timedelta(seconds=1)),
)

UNVERIFIED = (
    "verify=no: whoever answers there is believed, and gets what is sent",
    "leave it out (or allow_insecure = true for the channel, if it is meant)",
)
PICTURES = """\
![Mail, 800 pixels wide](pictures/mail-800-light.png)

On a telephone, 320 pixels wide, and in the dark:

![Mail, 320 pixels wide](pictures/mail-320-light.png)
![Mail, 320 pixels wide, dark](pictures/mail-320-dark.png)

The pictures were made of [the HTML](pictures/mail.html), which a test compares, with Chromium.\
"""

INTRODUCTION = """\
# Messages

Everything credit-monitor says, once, written by `python tests/support/render_messages.py` and compared by a test. The
line in bold is the subject; the plain text follows. Mail shows the same as HTML, and chats that know Markdown get
Markdown: see [As it arrives](#as-it-arrives).

- A mailbox sorts and gathers by subject, so that of a mail is another: state, organization, and what it is about. A
  reminder differs from what it reminds of in its first word alone. All mail of an incident answers the first one.
- "What to do" is one sentence for each kind. The page where credits are bought is `accounts.X.top_up_url`, Stability's
  billing page unless you say otherwise. The command below the figures silences it for four hours.

- Figures are those by which it was decided. The subject shortens credits to two decimals, away from the level (199.999
  is never shown as 200); the body is exact.
- A runway is said in hours under two days, then in days, and beyond 60 days only as "more than 60 days". The day and
  its part are those of `timezone`: morning from 6, afternoon from 12, evening from 18, night from 22. A night belongs
  to the day on which it begins; from six days on there is a date instead. Old figures are counted on to the message's
  time.
- A name that somebody else chose cannot break out of its place: no line breaks, no markup, no mentions.
- The notification's id is the same wherever and however often a notification arrives. A summary has none.
"""


def notification(number: int, sample: Sample) -> Notification:
    """One sample, with an id of its own."""
    _, rule, reason, severity, facts = sample
    subject = Subject.ACCOUNT if rule in {Rule.CREDENTIAL, Rule.OUTAGE} else Subject.ORGANIZATION
    subject = Subject.MONITOR if facts.account == ALL_OUT.account else subject
    return Notification(f"0192f3a4-{number:04}", number, subject, rule, reason, severity, facts)


NOTIFICATIONS = [notification(number, sample) for number, sample in enumerate(SAMPLES, 1)]


def group() -> Message:
    """Four that came due together, not yet in order."""
    resolved = next(
        notification
        for notification in NOTIFICATIONS
        if notification.rule is Rule.STALE and notification.reason is RESOLVED
    )
    resolved = replace(resolved, facts=replace(resolved.facts, name="web-shop", vendor_id="org-77", title=None))
    spent = next(notification for notification in NOTIFICATIONS if notification.rule is Rule.SPEND)
    key = next(notification for notification in NOTIFICATIONS if notification.rule is Rule.CREDENTIAL)
    return render_group([resolved, spent, NOTIFICATIONS[1], key], timezone=BERLIN, top_up_urls=BILLING)


def late() -> Message:
    """An end whose beginning did not reach the channel."""
    opened, escalated, resolved = (
        next(one for one in NOTIFICATIONS if one.rule is Rule.CREDITS and one.reason is reason)
        for reason in (Reason.OPENED, Reason.ESCALATED, RESOLVED)
    )
    folded = [
        replace(one, facts=replace(one.facts, at=resolved.facts.at - ago))
        for one, ago in ((opened, timedelta(hours=2)), (escalated, timedelta(minutes=40)))
    ]
    return render_group([resolved], timezone=BERLIN, top_up_urls=BILLING, folded={resolved.id: folded})


def shown(title: str, message: Message, *, form: str = "text") -> Iterator[str]:
    """One message as it stands in the document; four backticks, because Markdown has three of its own."""
    yield f"### {title}"
    yield f"**{message.subject}**"
    if message.mail_subject and form == "text":
        yield f"In a mailbox: {message.mail_subject}"
    yield f"````{'' if form == 'markdown' else form}\n{getattr(message, form).rstrip()}\n````"


def parts() -> Iterator[str]:
    """The document, paragraph by paragraph."""
    yield INTRODUCTION.rstrip()
    rule = None
    for sample, said in zip(SAMPLES, NOTIFICATIONS, strict=True):
        if said.rule is not rule:
            rule = said.rule
            yield f"## Rule `{rule.value}`"
        yield from shown(sample[0], render(said, timezone=BERLIN, top_up_urls=BILLING))
    yield "## Several at once"
    yield "What comes due for one channel within a short time is one message: the worst first, what is over last."
    yield from shown("Four notifications", group())
    yield "What was not delivered before is told with the next message of its incident."
    yield from shown("One that tells two more", late())
    yield "## Top-ups"
    yield "For channels with `top_ups = true`, while nothing of the organization is open."
    yield from shown("One", render_top_ups(TOP_UPS[:1], timezone=BERLIN))
    yield from shown("Several at once", render_top_ups(TOP_UPS, timezone=BERLIN))
    yield "## Summaries"
    yield from shown("Daily", render_digest(DIGEST, timezone=BERLIN))
    yield from shown("Weekly, and all is well", render_digest(CALM, timezone=BERLIN))
    yield "## What is not secure"
    yield "Once, to the other channels, when others can read or change what is sent, and nobody said that it is meant."
    notice = insecure_notice("channels.chat.url_file", *UNVERIFIED, at=AT, timezone=BERLIN)
    yield from shown("A channel that verifies nobody", notice)
    yield "## Test"
    yield from shown("`credit-monitor notify ops`", test_message("ops", at=AT, timezone=BERLIN))
    message = pictured()
    yield "## As it arrives"
    yield "One alert, as a mail program, a mail program without HTML, Slack, and a chat that knows Markdown have it."
    yield "### In mail"
    yield PICTURES
    yield "### In mail without HTML, 72 columns wide"
    yield f"````text\n{wrap(message.text).rstrip()}\n````"
    yield "### In Slack"
    yield f"````text\n{in_slack(message)}\n````"
    yield from shown("In Markdown", message, form="markdown")


def pictured() -> Message:
    """The alert of which there are pictures."""
    return render(NOTIFICATIONS[1], timezone=BERLIN, top_up_urls=BILLING)


def in_slack(message: Message) -> str:
    """What Apprise's plug-in posts: title and text of the attachment."""
    from monitor.channels import progress, service  # noqa: PLC0415 -- Apprise takes half a second to load

    posted: list[bytes] = []

    def answer(_session: Any, request: Any, **_: Any) -> requests.Response:
        posted.append(request.body)
        response = requests.Response()
        response.status_code, response._content = 200, b"ok"
        return response

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the plug-ins use
        service.load()
    with patch.object(requests.Session, "send", answer):
        content = progress._content(progress.Outgoing(1, message, CRITICAL))
        service.send("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", content, seconds=5)
    (attachment,) = json.loads(posted[0])["attachments"]
    return f"{attachment['title']}\n\n{attachment['text'].rstrip()}"


def document() -> str:
    """The whole of `docs/messages.md`."""
    return "\n\n".join(parts()) + "\n"


DOCS = Path(__file__).parents[2] / "docs"

if __name__ == "__main__":
    Path(sys.argv[1] if sys.argv[1:] else DOCS / "messages.md").write_text(document())
    (DOCS / "pictures" / "mail.html").write_text(pictured().html)

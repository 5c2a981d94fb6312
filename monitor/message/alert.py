"""The headline, the first paragraphs and the advice of a notification: the sentences of its rule, by its reason.

Foreign words stay templates, filled in by `layout`.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

from monitor.message import runway
from monitor.message.formats import format_duration, shorten
from monitor.message.rules import BLACKOUT, WORDING, Wording
from monitor.model import STABILITY_UNIT, Facts, Notification, Reason, Rule, Subject
from monitor.text import harmless

SILENCE: Final = "4h"


def headline(notification: Notification, *, timezone: ZoneInfo) -> str:
    """Return the subject line, which must suffice alone."""
    facts, wording = notification.facts, _wording(notification)
    severity = notification.severity.label.upper()
    if facts.calm:
        return f"{severity}: {wording.topic} of {wording.whose} came and went {_times(facts)}, clear now"
    match notification.reason:
        case Reason.RESOLVED if facts.reconfigured:
            return f"CLOSED: {wording.topic} of {wording.whose}: the configuration changed"
        case Reason.RESOLVED:
            return f"RESOLVED: {wording.ended(_shorten(facts))}"
        case Reason.EASED:
            return f"EASED to {severity}: {wording.begun(facts)}{_moment(notification, timezone)}"
        case Reason.REMINDER:
            begun = f"{wording.begun(facts)}{_moment(notification, timezone)}"
            return f"STILL {severity}: {begun}{_open_for(facts, wording)}"
        case _:
            return f"{severity}: {wording.begun(facts)}{_moment(notification, timezone)}"


def mail_subject(notification: Notification) -> str:
    """Return the subject of a mail: state, organization, matter; that of a reminder differs in its first word alone."""
    wording, severity = _wording(notification), notification.severity.label.upper()
    if notification.facts.calm:
        state = "CALM"
    else:
        states = {
            Reason.RESOLVED: "CLOSED" if notification.facts.reconfigured else "RESOLVED",
            Reason.EASED: "EASED",
            Reason.REMINDER: f"STILL-{severity}",
        }
        state = states.get(notification.reason, severity)
    return f"{state}: {wording.whose}: {wording.matter(notification.facts)}"


def advice(notification: Notification) -> str:
    """Return what to do; "" where it is over."""
    wording = _wording(notification)
    is_elsewhere = notification.facts.unit != STABILITY_UNIT and wording.advice_elsewhere
    what = wording.advice_elsewhere if is_elsewhere else wording.advice
    return f"What to do: {what}" if _is_bad(notification) else ""


def tops_up(notification: Notification) -> bool:
    """Return whether buying credits is what to do."""
    return _is_bad(notification) and _wording(notification).tops_up


def silence_command(notification: Notification) -> str:
    """Return the command that silences it for a while; "" where it is over, or its name cannot be written here."""
    name = notification.facts.name
    if not _is_bad(notification) or notification.subject is Subject.MONITOR or harmless(name) != name:
        return ""
    rule = ("--rule", notification.rule.value) if notification.rule is Rule.CREDENTIAL else ()
    named = ("--", name) if name.startswith("-") else (name,)
    options = ("--for", SILENCE, *rule)
    words = (*options, *named) if name.startswith("-") else (*named, *options)
    return shlex.join(("credit-monitor", "silence", *words))


def lead(notification: Notification) -> tuple[str, ...]:
    """Return the first paragraph of the body: what happened."""
    facts, wording = notification.facts, _wording(notification)
    if notification.reason is Reason.RESOLVED:
        return (_reconfigured_ending(facts) if facts.reconfigured else _ending(facts, wording),)
    if facts.calm:
        return (f"{_capital(wording.topic)} of {wording.whose} came and went {_times(facts)}. It is clear now.",)
    return (f"{wording.lead(facts)}{_change(notification)}{_comes_and_goes(facts)}",)


def span(notification: Notification, folded: Sequence[Notification], *, timezone: ZoneInfo) -> str:
    """What was not delivered before, and is told with this notification: `warning since 14:02, resolved 14:20`."""
    told = (*folded, notification)
    zoned = [one.facts.at.astimezone(timezone) for one in told]
    style = "%H:%M" if len({at.date() for at in zoned}) == 1 else "%Y-%m-%d %H:%M"
    steps = ", ".join(f"{_step(one)} {at:{style}}" for one, at in zip(told, zoned, strict=True))
    return f"Not delivered before now: {steps} ({timezone})."


def _step(notification: Notification) -> str:
    severity = notification.severity.label
    if notification.facts.calm:
        return "clear"
    match notification.reason:
        case Reason.RESOLVED:
            return "closed" if notification.facts.reconfigured else "resolved"
        case Reason.EASED:
            return f"only {severity} since"
        case Reason.REMINDER:
            return f"still {severity}"
        case _:
            return f"{severity} since"


def _comes_and_goes(facts: Facts) -> str:
    """What an incident that came back says of that, and of what is told from now on."""
    if facts.quiet_for is not None:
        quiet = format_duration(facts.quiet_for)
        return (
            f" It is back. Until it has been quiet for {quiet}, only what is worse is told, and once an hour how it is."
        )
    return f" It came back {_times(facts)}." if facts.returns else ""


def _times(facts: Facts) -> str:
    return "once" if facts.returns == 1 else f"{facts.returns} times"


def _wording(notification: Notification) -> Wording:
    if notification.rule is Rule.OUTAGE and notification.subject is Subject.MONITOR:
        return BLACKOUT
    wording = WORDING[notification.rule]
    if wording.topic_elsewhere and notification.facts.unit != STABILITY_UNIT:
        return replace(wording, topic=wording.topic_elsewhere)
    return wording


def _shorten(facts: Facts) -> Facts:
    return replace(
        facts,
        snapshot=replace(facts.snapshot, credits=shorten(facts.snapshot.credits)) if facts.snapshot else None,
        spent=shorten(facts.spent, up=True) if facts.spent is not None else None,
    )


def _moment(notification: Notification, timezone: ZoneInfo) -> str:
    """Return on which day, and when in it, a runway ends."""
    if notification.rule is not Rule.RUNWAY or runway.is_over(notification.facts):
        return ""
    when = runway.moment(notification.facts, timezone=timezone)
    return f", {when}" if when else ""


def _open_for(facts: Facts, wording: Wording) -> str:
    if facts.opened_at is None or (wording.says_how_long and facts.taken_at is not None):
        return ""
    return f" (for {format_duration(facts.at - facts.opened_at)})"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _is_bad(notification: Notification) -> bool:
    return notification.reason is not Reason.RESOLVED and not notification.facts.calm


def _ending(facts: Facts, wording: Wording) -> str:
    ended = wording.ended(facts)
    text = (f"{_capital(ended)}.", wording.why_ended(facts), _lasted(facts, "It lasted"))
    return " ".join(filter(None, text))


def _reconfigured_ending(facts: Facts) -> str:
    text = "This ends because the configuration changed, not because anything got better."
    return " ".join(filter(None, (text, _lasted(facts, "It stood for"))))


def _change(notification: Notification) -> str:
    """Return how an incident that goes on has changed."""
    facts = notification.facts
    before = facts.previous_severity.label if facts.previous_severity is not None else None
    now = notification.severity.label
    match notification.reason:
        case Reason.ESCALATED if before:
            return f" It was {before}, and is {now} now." + _lasted(facts, " It began")
        case Reason.EASED if before:
            why = " because the configuration changed" if facts.reconfigured else ""
            return f" It was {before}, and is only {now} now{why}."
        case Reason.REMINDER:
            return _lasted(facts, " It has stood for")
        case _:
            return ""


def _lasted(facts: Facts, verb: str) -> str:
    if facts.opened_at is None:
        return ""
    ago = " ago" if verb.endswith("began") else ""
    return f"{verb} {format_duration(facts.at - facts.opened_at)}{ago}."

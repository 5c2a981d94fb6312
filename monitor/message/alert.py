"""The headline and the first paragraphs of a notification: the sentences of its rule, by its reason.

Foreign words stay templates, filled in by `layout`.
"""

from collections.abc import Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from monitor.message import runway
from monitor.message.rules import BLACKOUT, WORDING, Wording
from monitor.message.words import format_duration, shorten
from monitor.model import Facts, Notification, Reason, Rule, Subject


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


def lead(notification: Notification) -> tuple[str, ...]:
    """Return the first paragraphs of the body: what happened, and what to do."""
    facts, wording = notification.facts, _wording(notification)
    if notification.reason is Reason.RESOLVED:
        return (_reconfigured_ending(facts) if facts.reconfigured else _ending(facts, wording),)
    if facts.calm:
        return (f"{_capital(wording.topic)} of {wording.whose} came and went {_times(facts)}. It is clear now.",)
    text = f"{wording.lead(facts)}{_change(notification)}{_comes_and_goes(facts)}"
    return (text, wording.advice) if wording.advice else (text,)


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
    return WORDING[notification.rule]


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

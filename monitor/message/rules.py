"""What each rule says when it opens, changes and ends: a headline and a lead, its sentences side by side.

Refuses to lay anything out.  `{name}`, `{account}` and `{cause}` stand for foreign words, put in by `letter`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from monitor.message.words import format_credits, format_duration
from monitor.model import Facts, Notification, Reason, Rule

Sentence = Callable[[Facts], str]


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences of one rule; headlines follow a word such as `CRITICAL:`."""

    topic: str  # what it watches, for an ending by configuration
    begun: Sentence
    lead: Sentence
    ended: Sentence
    advice: str = ""


# --- credits ----------------------------------------------------------------------------------------------------------


def _credits_begun(facts: Facts) -> str:
    if facts.no_credits or facts.credits is None:
        return "{name} has no credits left"
    return f"{{name}} has {format_credits(facts.credits)} credits{_below(facts)}"


def _credits_lead(facts: Facts) -> str:
    if facts.no_credits or facts.credits is None:
        return (
            "The vendor answers that {name} has no credits left. Work that needs credits fails until it is topped up."
        )
    return f"The balance of {{name}} is {format_credits(facts.credits)} credits{_below(facts)}."


def _credits_ended(facts: Facts) -> str:
    return f"{{name}} has {_figure(facts)} again"


def _below(facts: Facts) -> str:
    """Which side of the level the balance is on: between a level and its clear level, an incident still stands."""
    if facts.credits is None or facts.level is None:
        return ""
    if facts.credits < facts.level:
        return f", below {format_credits(facts.level)}"
    return f", not yet {format_credits(facts.clear)}" if facts.clear is not None else ""


# --- stale ------------------------------------------------------------------------------------------------------------


def _stale_begun(facts: Facts) -> str:
    if facts.taken_at is not None:
        return f"no balance of {{name}} for {format_duration(facts.at - facts.taken_at)}"
    if facts.stale_after is not None:
        return f"no balance of {{name}} for more than {format_duration(facts.stale_after)}"
    return "no balance of {name}"


def _stale_lead(facts: Facts) -> str:
    known = "no balance was ever seen" if facts.credits is None else f"the last known figure, {_figure(facts)}, is old"
    return f"The balance of {{name}} cannot be fetched; {known}. If credits run low meanwhile, nobody is told."


def _stale_ended(facts: Facts) -> str:
    return f"the balance of {{name}} is known again: {_figure(facts)}"


# --- access -----------------------------------------------------------------------------------------------------------


def _access_begun(_: Facts) -> str:
    return "the key of account {account} has no access to {name}"


def _access_lead(_: Facts) -> str:
    return "The vendor does not show {name} to the key of account {account}, so its balance is not watched."


def _access_ended(facts: Facts) -> str:
    return f"access to {{name}} is back, it has {_figure(facts)}"


# --- credential -------------------------------------------------------------------------------------------------------


def _credential_begun(_: Facts) -> str:
    return "the API key of account {account} is refused"


def _credential_lead(_: Facts) -> str:
    return (
        "The vendor refuses the API key of account {account}: it was revoked, replaced or mistyped. "
        "No organization of this account is watched meanwhile."
    )


def _credential_ended(_: Facts) -> str:
    return "the API key of account {account} works again"


# --- the table --------------------------------------------------------------------------------------------------------

WORDING: Final[Mapping[Rule, Wording]] = {
    Rule.CREDITS: Wording("low credits", _credits_begun, _credits_lead, _credits_ended),
    Rule.STALE: Wording("no balance", _stale_begun, _stale_lead, _stale_ended),
    Rule.ACCESS: Wording(
        "no access",
        _access_begun,
        _access_lead,
        _access_ended,
        advice="What to do: see that the key's user is still a member of the organization, and that the id is right.",
    ),
    Rule.CREDENTIAL: Wording(
        "refused API key",
        _credential_begun,
        _credential_lead,
        _credential_ended,
        advice="What to do: renew the key at the vendor, and put the new one where account {account} reads it.",
    ),
}


def headline(notification: Notification) -> str:
    """The subject line: says it all."""
    facts, wording = notification.facts, WORDING[notification.rule]
    severity = notification.severity.label.upper()
    match notification.reason:
        case Reason.RESOLVED if facts.reconfigured:
            return f"CLOSED: {wording.topic} of {_whose(notification)}: the configuration changed"
        case Reason.RESOLVED:
            return f"RESOLVED: {wording.ended(facts)}"
        case Reason.EASED:
            return f"EASED to {severity}: {wording.begun(facts)}"
        case Reason.REMINDER:
            return f"STILL {severity}: {wording.begun(facts)}"
        case _:
            return f"{severity}: {wording.begun(facts)}"


def lead(notification: Notification) -> tuple[str, ...]:
    """The first paragraphs of the body: what happened, and what to do."""
    facts, wording = notification.facts, WORDING[notification.rule]
    if notification.reason is Reason.RESOLVED:
        return (_reconfigured_end(facts) if facts.reconfigured else _end(notification),)
    said = f"{wording.lead(facts)}{_since_before(notification)}"
    return (said, wording.advice) if wording.advice else (said,)


def _end(notification: Notification) -> str:
    facts = notification.facts
    said = [f"{_capitalised(WORDING[notification.rule].ended(facts))}."]
    if notification.rule is Rule.CREDITS and facts.topped_up:
        said.append(f"Topped up since it began: {format_credits(facts.topped_up)} credits.")
    said.append(_lasted(facts, "It lasted"))
    return " ".join(filter(None, said))


def _reconfigured_end(facts: Facts) -> str:
    said = "This ends because the configuration changed, not because anything got better."
    return " ".join(filter(None, (said, _lasted(facts, "It stood for"))))


def _since_before(notification: Notification) -> str:
    """How an incident that goes on has changed."""
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


def _figure(facts: Facts) -> str:
    return "an unknown balance" if facts.credits is None else f"{format_credits(facts.credits)} credits"


def _whose(notification: Notification) -> str:
    return "account {account}" if notification.rule is Rule.CREDENTIAL else "{name}"


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]

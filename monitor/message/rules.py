"""The sentences of each rule: when it opens, changes and ends.

`{name}`, `{account}` and `{cause}` stand for foreign words, filled in by `layout`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from monitor.message import runway
from monitor.message.formats import format_amount, format_beside, format_credits, format_duration, shorten
from monitor.model import STABILITY_UNIT, Facts, Rule

Sentence = Callable[[Facts], str]


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences of one rule; headlines follow a word such as `CRITICAL:`."""

    topic: str  # what it watches, for an ending by configuration and for tables
    matter: Sentence  # the same with its level, for the subject of a mail: it stays while the figures change
    begun: Sentence  # figures in short
    lead: Sentence  # figures exact
    ended: Sentence
    advice: str  # what to do
    advice_elsewhere: str = ""  # the same where no credits are bought, but money, characters, …
    topic_elsewhere: str = ""
    why_ended: Sentence = lambda _: ""
    tops_up: bool = False  # buying credits helps
    whose: str = "{name}"
    says_how_long: bool = False  # `begun` does, once there was a balance


def _always(text: str) -> Sentence:
    return lambda _: text


def _unit(facts: Facts) -> str:
    return facts.unit or "balance"


def _amount(amount: Decimal, facts: Facts) -> str:
    return format_amount(amount, facts.unit)


def _beside(amount: Decimal, facts: Facts) -> str:
    return format_beside(amount, facts.unit)


# --- credits ----------------------------------------------------------------------------------------------------------


def _credits_matter(facts: Facts) -> str:
    if facts.no_credits or facts.credits is None or (facts.level is None and facts.credits <= 0):
        return f"no {_unit(facts)} left"
    if facts.level is None:
        return f"low {_unit(facts)}"
    if facts.unit == STABILITY_UNIT:
        return f"credits below {format_credits(shorten(facts.level, up=True))}"
    return f"balance below {_beside(shorten(facts.level, up=True), facts)}"


def _credits_begun(facts: Facts) -> str:
    if facts.no_credits or facts.credits is None:
        return f"{{name}} has no {_unit(facts)} left"
    return f"{{name}} has {_amount(shorten(facts.credits), facts)}{_below(facts, up=True)}"


def _credits_lead(facts: Facts) -> str:
    if facts.no_credits or facts.credits is None:
        needs = "credits" if facts.unit == STABILITY_UNIT else "it"
        return (
            f"The vendor answers that {{name}} has no {_unit(facts)} left. "
            f"Work that needs {needs} fails until it is topped up."
        )
    return f"The balance of {{name}} is {_amount(facts.credits, facts)}{_below(facts)}."


def _credits_ended(facts: Facts) -> str:
    return f"{{name}} has {_figure(facts)} again"


def _topped_up(facts: Facts) -> str:
    return f"Topped up since it began: {_amount(facts.topped_up, facts)}." if facts.topped_up else ""


def _below(facts: Facts, *, up: bool = False) -> str:
    """Return on which side of the level the balance is: between level and clear level an incident stays open.

    `up`: shorten the level upwards, beside a balance that was shortened downwards.
    """
    if facts.credits is None or facts.level is None:
        return ""
    if facts.credits < facts.level:
        return f", below {_beside(shorten(facts.level, up=True) if up else facts.level, facts)}"
    if facts.clear is None:
        return ""
    return f", not yet {_beside(shorten(facts.clear, up=True) if up else facts.clear, facts)}"


def _figure(facts: Facts) -> str:
    return "an unknown balance" if facts.credits is None else _amount(facts.credits, facts)


# --- runway -----------------------------------------------------------------------------------------------------------


def _runway_matter(facts: Facts) -> str:
    return "short runway" if facts.level is None else f"less than {hours(facts.level)} left"


def _runway_begun(facts: Facts) -> str:
    if facts.runway_likely is None:
        return "{name} will be empty soon"
    if runway.is_over(facts):
        return "{name} is empty by now"
    if math.isinf(facts.runway_likely):
        return "nothing of {name} is used"
    return f"{{name}} will be empty in {runway.lasting(facts)}"


def _runway_lead(facts: Facts) -> str:
    if facts.runway_likely is None:
        return "By the last forecast {name} will be empty soon; at present there is none."
    if runway.is_over(facts) or math.isinf(facts.runway_likely):
        return f"By the forecast {_runway_begun(facts)}."
    band = f" ({figures})" if (figures := runway.band(facts)) else ""
    text = f"If it is used on as before, {_runway_begun(facts)}{band}."
    return f"{text} {limit}" if (limit := _runway_limit(facts)) else text


def _runway_limit(facts: Facts) -> str:
    if facts.level is None or facts.clear is None or facts.runway_likely is None:
        return ""
    if Decimal(facts.runway_likely) < facts.level:
        return f"That is less than {hours(facts.level)}."
    return f"That is not yet {hours(facts.clear)}, at which it is over."


def _runway_ended(facts: Facts) -> str:
    if facts.runway_likely is None:
        return "{name} will not be empty soon"
    if math.isinf(facts.runway_likely):
        return "nothing of {name} is used any more"
    return f"{{name}} will last {runway.lasting(facts)} again"


def _runway_why_ended(facts: Facts) -> str:
    if facts.topped_up is None or facts.runway_likely == math.inf:
        return _topped_up(facts)
    return _topped_up(facts) or "Nothing was topped up since it began: less is used."


# --- spend ------------------------------------------------------------------------------------------------------------


def _spend_matter(facts: Facts) -> str:
    if facts.level is None:
        return "high use"
    return f"more than {_amount(shorten(facts.level, up=True), facts)} used{_within(facts)}"


def _spend_begun(facts: Facts) -> str:
    if facts.spent is None:
        return f"{{name}} uses {_unit(facts)} too fast"
    return f"{{name}} used {_amount(shorten(facts.spent, up=True), facts)}{_within(facts)}{_limit(facts)}"


def _spend_lead(facts: Facts) -> str:
    if facts.spent is None:
        return f"{{name}} uses {_unit(facts)} faster than allowed."
    return f"{{name}} used {_amount(facts.spent, facts)}{_within(facts)}{_limit(facts)}."


def _spend_ended(facts: Facts) -> str:
    if facts.spent is None:
        return f"{{name}} uses no more {_unit(facts)} than allowed again"
    return f"{{name}} used only {_amount(facts.spent, facts)}{_within(facts)}"


def _within(facts: Facts) -> str:
    return f" within {format_duration(facts.window)}" if facts.window is not None else ""


def _limit(facts: Facts) -> str:
    if facts.spent is None or facts.level is None:
        return ""
    if facts.spent > facts.level:
        return f", more than {_beside(facts.level, facts)}"
    return f", not yet down to {_beside(facts.clear, facts)}" if facts.clear is not None else ""


# --- stale ------------------------------------------------------------------------------------------------------------


def _stale_begun(facts: Facts) -> str:
    return f"no balance of {{name}}{_missing_for(facts)}"


def _missing_for(facts: Facts) -> str:
    if facts.taken_at is not None:
        return f" for {format_duration(facts.at - facts.taken_at)}"
    return f" for more than {format_duration(facts.stale_after)}" if facts.stale_after is not None else ""


def _stale_lead(facts: Facts) -> str:
    known = "no balance was ever seen" if facts.credits is None else f"the last known figure, {_figure(facts)}, is old"
    what = "cannot be fetched"
    if facts.cause is None:  # its age alone is judged: no check of it failed
        what = "has not been asked for: polls of account {account} take too long, or are ended before they get to it"
    runs_low = "credits run" if facts.unit == STABILITY_UNIT else "it runs"
    return f"The balance of {{name}} {what}; {known}. If {runs_low} low meanwhile, nobody is told."


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


# --- outage -----------------------------------------------------------------------------------------------------------

STILL_LOW: Final = (
    "What was known before still stands: what was low is still low. If credits run low meanwhile, nobody is told."
)


def _outage_begun(facts: Facts) -> str:
    which = f"any of the {facts.organizations} organizations" if facts.organizations else "any organization"
    return f"no balance of {which} of account {{account}}{_missing_for(facts)}"


def _outage_lead(facts: Facts) -> str:
    return f"The balances of the {_count(facts)}organizations of account {{account}} cannot be fetched. {STILL_LOW}"


def _blackout_begun(facts: Facts) -> str:
    which = f" ({facts.organizations} organizations)" if facts.organizations else ""
    return f"no balance of any account{which}{_missing_for(facts)}"


def _blackout_lead(facts: Facts) -> str:
    return f"The balances of the {_count(facts)}organizations of all accounts cannot be fetched. {STILL_LOW}"


def _count(facts: Facts) -> str:
    return f"{facts.organizations} " if facts.organizations else ""


# --- the table --------------------------------------------------------------------------------------------------------

WORDING: Final[Mapping[Rule, Wording]] = {
    Rule.CREDITS: Wording(
        "low credits",
        _credits_matter,
        _credits_begun,
        _credits_lead,
        _credits_ended,
        "buy credits, or work that needs them will fail.",
        advice_elsewhere="top it up, or work that needs it will fail.",
        topic_elsewhere="low balance",
        why_ended=_topped_up,
        tops_up=True,
    ),
    Rule.RUNWAY: Wording(
        "short runway",
        _runway_matter,
        _runway_begun,
        _runway_lead,
        _runway_ended,
        "buy credits before then, or use less.",
        advice_elsewhere="top it up before then, or use less.",
        why_ended=_runway_why_ended,
        tops_up=True,
    ),
    Rule.SPEND: Wording(
        "high use",
        _spend_matter,
        _spend_begun,
        _spend_lead,
        _spend_ended,
        "see whether a job runs wild or somebody else has a key, which the vendor can revoke; if all is well, see that "
        "there are credits enough.",
        advice_elsewhere="see whether a job runs wild or somebody else has a key, which the vendor can revoke; if all "
        "is well, see that enough is left.",
        tops_up=True,
    ),
    Rule.STALE: Wording(
        "no balance",
        _always("no balance"),
        _stale_begun,
        _stale_lead,
        _stale_ended,
        "see whether the vendor reports trouble; `credit-monitor doctor` says whether it is reached from here.",
        says_how_long=True,
    ),
    Rule.ACCESS: Wording(
        "no access",
        _always("no access"),
        _access_begun,
        _access_lead,
        _access_ended,
        "see that the key's user is still a member of the organization, and that the id is right.",
    ),
    Rule.CREDENTIAL: Wording(
        "refused API key",
        _always("API key refused"),
        _credential_begun,
        _credential_lead,
        _credential_ended,
        "renew the key at the vendor, and put the new one where account {account} reads it.",
        whose="account {account}",
    ),
    Rule.OUTAGE: Wording(
        "outage",
        _always("no balances"),
        _outage_begun,
        _outage_lead,
        _always("the balances of account {account} can be fetched again"),
        "see whether the vendor reports trouble; `credit-monitor doctor` says whether it is reached from here.",
        whose="account {account}",
        says_how_long=True,
    ),
}
# The monitor's own: of every account at once.
BLACKOUT: Final = Wording(
    "outage",
    _always("no balances"),
    _blackout_begun,
    _blackout_lead,
    _always("balances can be fetched again"),
    "see whether this machine reaches the vendor (`credit-monitor doctor`), and whether the vendor reports trouble.",
    whose="every account",
    says_how_long=True,
)


def hours(figure: Decimal) -> str:
    """Return a level of runway: `7 d`, `2 d 12 h`."""
    return format_duration(timedelta(hours=float(figure)))

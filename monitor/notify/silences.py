"""Silences begun and lifted by a person, and which incidents one covers.

Refuses to say anything: what still stands when a silence ends is said by the next check.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from monitor.errors import UsageError
from monitor.model import OpenIncident, Rule, Severity, Silence, Subject
from monitor.store import organizations, silences
from monitor.store.accounts import account_rows
from monitor.store.incidents import open_incidents, set_owed
from monitor.store.writer import Transaction

OF_ACCOUNTS: Final = (Rule.CREDENTIAL, Rule.OUTAGE)  # the rules that judge accounts; the others judge organizations
ALWAYS_CRITICAL: Final = (Rule.CREDENTIAL, Rule.ACCESS)  # a silence of less would keep nothing quiet


@dataclass(frozen=True, slots=True)
class SilenceRequest:
    """What a person asks for; `until` None is an acknowledgement, until it is over or gets worse."""

    name: str  # of an organization (also the vendor's id) or an account
    rule: Rule | None
    until: datetime | None
    author: str
    reason: str


@dataclass(frozen=True, slots=True)
class Silenced:
    """A silence that has begun, what it is about, and the incidents that stood then."""

    silence: Silence
    name: str
    incidents: tuple[OpenIncident, ...]


def covers(silence: Silence, subject: Subject, subject_id: int, rule: Rule) -> bool:
    """Whether a silence is about a rule of a subject; a rejected key is silenced only by name."""
    ours = (silence.subject, silence.subject_id) == (subject, subject_id)
    return ours and (silence.rule is rule if silence.rule else rule is not Rule.CREDENTIAL)


def begin(tx: Transaction, request: SilenceRequest, *, at: datetime) -> list[Silenced]:
    """Silence what a person names, up to the severity it has now; owe what is open.

    When nothing is open: up to warning, or critical for a named rule that knows nothing less.  A name that two vendors'
    organizations share silences both.  `UsageError` for an unknown name, a rule that does not concern what is named,
    and an acknowledgement of nothing.
    """
    if not request.reason.strip():
        raise UsageError("--reason: say in a few words why")
    begun = [_begin(tx, request, subject, key, name, at=at) for subject, key, name in _find(tx, request)]
    if request.until is None and not any(one.incidents for one in begun):
        what = f"{request.rule.value} of {request.name}" if request.rule else request.name
        raise UsageError(f"{what}: nothing is open to acknowledge; use --for")
    return begun


def _begin(
    tx: Transaction, request: SilenceRequest, subject: Subject, key: int, name: str, *, at: datetime
) -> Silenced:
    reason = request.reason.strip()
    least = Severity.CRITICAL if request.rule in ALWAYS_CRITICAL else Severity.WARNING
    silence = Silence(0, subject, key, request.rule, least, at, request.until, request.author, reason)
    standing = open_incidents(tx, subject, [key]).get(key, {})
    covered = [one for one in standing.values() if covers(silence, subject, key, one.rule)]
    silence = replace(silence, up_to=max((one.severity for one in covered), default=least))
    silence = replace(silence, id=silences.insert_silence(tx, silence))
    owed = tuple(set_owed(tx, incident, owed=True, at=at) for incident in covered)
    return Silenced(silence, name, owed)


def _find(tx: Transaction, request: SilenceRequest) -> list[tuple[Subject, int, str]]:
    """What a name means: organizations so named, else an account, else a vendor's id; a rule decides which sort."""
    known = [one for one in organizations.organization_rows(tx) if one.watched]
    accounts = [(Subject.ACCOUNT, row.id, row.name) for row in account_rows(tx)]
    named = [(Subject.ORGANIZATION, one.id, one.name) for one in known if one.name == request.name]
    account = [one for one in accounts if one[2] == request.name]
    vendors = [(Subject.ORGANIZATION, one.id, one.name) for one in known if one.vendor_id == request.name]
    if request.rule in OF_ACCOUNTS:
        found = account
    elif request.rule:
        found = named or vendors
    else:
        found = named or account or vendors
    if not found:
        words = {word for one in known for word in (one.name, one.vendor_id)} | {one[2] for one in accounts}
        raise _unknown(request, sorted(words))
    return found


def _unknown(request: SilenceRequest, words: Sequence[str]) -> UsageError:
    if request.name in words and request.rule:
        sort = "an account" if request.rule in OF_ACCOUNTS else "an organization"
        return UsageError(f"--rule {request.rule.value} concerns {sort}, and {request.name} is none")
    near = get_close_matches(request.name, words, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(words[:10])}" if words else ""
    return UsageError(f"{request.name}: no such organization or account is watched" + (f"; {hint}" if hint else ""))


def lift(tx: Transaction, silence_id: int, *, at: datetime) -> Silence:
    """End a silence now; `UsageError` when none of this id stands."""
    for silence in silences.active_silences(tx, at=at):
        if silence.id == silence_id:
            silences.end_silence(tx, silence_id, at=at)
            return silence
    raise UsageError(f"{silence_id}: no silence of this id stands; see `credit-monitor silences`")

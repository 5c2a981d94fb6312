"""Read a check for each rule: where the figure stands to each rung, or that nothing is known."""

from collections.abc import Iterable
from decimal import Decimal
from enum import IntEnum
from typing import Final

from monitor.forecast import Runway, Unknown
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    Organization,
    Outcome,
    Rules,
    Rung,
    Severity,
    Snapshot,
    SpendLimit,
    Unlimited,
)


class Position(IntEnum):
    """Where a figure stands to one rung."""

    CLEAR = 0
    BAND = 1  # between the level and its clear level
    BELOW = 2


Reading = tuple[tuple[Rung, Position], ...] | None  # one position for each rung, worst first; None: unknown

# Rules without a figure are ladders of one rung; its numbers mean nothing.
ALARM: Final = Rung(Severity.CRITICAL, Decimal(1), Decimal(1))
NOTICE: Final = Rung(Severity.WARNING, Decimal(1), Decimal(1))
NONE: Final[frozenset[Severity]] = frozenset()


def read_credits(outcome: Outcome, rules: Rules, *, top_up: Decimal | None) -> Reading:
    """Return the balance against its ladder; an answer of *no credits* is below every level."""
    if isinstance(outcome, Snapshot):
        return read_ladder(known_rungs(rules.credits, top_up), outcome.credits)
    if isinstance(outcome, Unlimited):
        return _all_clear(rules.credits)
    if outcome.kind is FailureKind.NO_CREDITS:
        return tuple((rung, Position.BELOW) for rung in rules.credits)
    return None


def _all_clear(ladder: Iterable[Rung]) -> Reading:
    return tuple([(rung, Position.CLEAR) for rung in ladder])


def known_rungs(ladder: Iterable[Rung], top_up: Decimal | None) -> tuple[Rung, ...]:
    """Return the ladder in credits: a share of the last top-up counts once a top-up was seen."""
    return tuple([_in_credits(rung, top_up) for rung in ladder if not rung.of_top_up or top_up is not None])


def _in_credits(rung: Rung, top_up: Decimal | None) -> Rung:
    if not rung.of_top_up or top_up is None:
        return rung
    return Rung(rung.severity, rung.below * top_up, rung.clear * top_up)


def read_runway(outcome: Outcome, rules: Rules, runway: Runway | Unknown | None) -> Reading:
    """Return the likely runway against its ladder in hours; infinite clears, too little history is unknown."""
    if isinstance(outcome, Unlimited):
        return _all_clear(rules.runway)
    if isinstance(outcome, Failure) or not isinstance(runway, Runway):
        return None
    return read_ladder(rules.runway, Decimal(runway.likely))


def read_spend(outcome: Outcome, limit: SpendLimit | None, spent: Decimal | None) -> Reading:
    """Return the use within the window against its limit: a ladder of one rung, negated, for it counts from above."""
    if limit is None:
        return ()
    if not isinstance(outcome, Snapshot) or spent is None:
        return None
    return read_ladder((Rung(Severity.WARNING, -limit.credits, -limit.clear),), -spent)


def read_ladder(ladder: tuple[Rung, ...], figure: Decimal) -> Reading:
    """Return where a figure stands to each rung."""
    return tuple([(rung, _position(rung, figure)) for rung in ladder])


def _position(rung: Rung, figure: Decimal) -> Position:
    if figure < rung.below:
        return Position.BELOW
    return Position.BAND if figure < rung.clear else Position.CLEAR


def read_access(outcome: Outcome) -> Reading:
    """Return whether the key may see the organization."""
    if not isinstance(outcome, Failure):
        return ((ALARM, Position.CLEAR),)
    return ((ALARM, Position.BELOW),) if outcome.kind is FailureKind.ACCESS_DENIED else None


def read_credential(outcome: Outcome) -> Reading:
    """Return whether the vendor accepts the key."""
    if not isinstance(outcome, Failure):
        return ((ALARM, Position.CLEAR),)
    return ((ALARM, Position.BELOW),) if outcome.kind is FailureKind.CREDENTIAL_REJECTED else None


def read_stale(organization: Organization, rules: Rules, check: Check, *, explained: bool) -> Reading:
    """Return whether the last snapshot is too old; unknown while something else explains that there is none."""
    if organization.failure is None:
        return ((NOTICE, Position.CLEAR),)
    # Only a fresh snapshot clears: a clock stepped back does not make an old one young.
    overdue = not explained and is_overdue(organization, rules, check)
    return ((NOTICE, Position.BELOW),) if overdue else None


def is_overdue(organization: Organization, rules: Rules, check: Check) -> bool:
    """Return whether there was no snapshot for longer than allowed, nor an answer of *no credits* that explains it.

    `organization` is the current row after the check.
    """
    failure = organization.failure
    spent = failure is not None and failure.kind is FailureKind.NO_CREDITS and rules.credits
    since = organization.snapshot.taken_at if organization.snapshot else organization.failing_since
    if failure is None or spent or rules.stale_after is None or since is None:
        return False
    return check.age_since(since) > rules.stale_after


def below(reading: Reading) -> frozenset[Severity]:
    """Return the severities whose rungs are reached."""
    reached = [rung.severity for rung, position in reading or () if position is Position.BELOW]
    return frozenset(reached) if reached else NONE

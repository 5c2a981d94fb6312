"""Amounts of credits: six decimal places, rounded half-even, below 10^12; and the integers that are kept of them."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

PLACES: Final = Decimal("0.000001")
LIMIT: Final = Decimal(10) ** 12  # an absolute value as large as this is none
_SIX: Final = Decimal(6)  # exponents that are no int: the store converts an amount in a tenth less time
_MINUS_SIX: Final = Decimal(-6)
_EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)  # whatever the context of the thread is


def rounded(amount: Decimal) -> Decimal:
    """Return a finite amount with six decimal places, half-even."""
    return amount.quantize(PLACES, context=_EXACT)


def is_plausible(amount: Decimal) -> bool:
    """Return whether an amount is a number below the limit, on either side of 0."""
    return amount.is_finite() and amount.copy_abs() < LIMIT


def to_micro(amount: Decimal) -> int:
    """Return an amount of six places at most in millionths."""
    return int(amount.scaleb(_SIX).to_integral_exact())


def from_micro(millionths: int) -> Decimal:
    """Return the amount of so many millionths."""
    return Decimal(millionths).scaleb(_MINUS_SIX)

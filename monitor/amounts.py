"""Amounts of credits: six decimal places, rounded half-even, below 10^12; and the integers that are kept of them."""

import re
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


CURRENCIES: Final = frozenset(  # ISO 4217, as of 2026
    re.findall(
        r"[A-Z]{3}",
        """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
        """,
    )
)


def is_currency(unit: str) -> bool:
    """Return whether a unit is money of its own, whoever counts in it; every other unit is its vendor's."""
    return unit in CURRENCIES

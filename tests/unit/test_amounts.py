"""Six places, half-even, below 10^12."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import amounts


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("1.0000005", "1.000000"), ("1.0000015", "1.000002"), ("-0.0000005", "0"), ("999999999999.9999994", None)],
)
def test_an_amount_is_rounded_half_even_whatever_the_thread_does(amount, rounded):
    with localcontext(prec=5, rounding="ROUND_UP"):
        assert amounts.rounded(Decimal(amount)) == Decimal(rounded or "999999999999.999999")


@pytest.mark.parametrize("text", ["1e12", "-1e12", "NaN", "Infinity", "-Infinity", "1e999999"])
def test_what_is_too_much_is_no_amount(text):
    assert not amounts.is_plausible(Decimal(text))
    assert amounts.is_plausible(Decimal("999999999999.999999"))


@given(st.decimals(min_value="-999999999999", max_value="999999999999", places=6))
def test_millionths_are_exact(amount):
    assert amounts.from_micro(amounts.to_micro(amount)) == amount

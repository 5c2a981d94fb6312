"""Which providers there are, and what is known of each before it is asked.  It loads nothing that asks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from monitor.model import STABILITY, STABILITY_UNIT, RateLimit, Vendor

STABILITY_VENDOR: Final = Vendor(
    name=STABILITY,
    unit=STABILITY_UNIT,
    asks_each=True,
    base_url="https://api.stability.ai",
    rate_limit=RateLimit(75, timedelta(seconds=10)),  # half of the vendor's: others use the key, too
    top_up_url="https://platform.stability.ai/account/credits",
    env="STABILITY_API_KEY",
)


def names(described: Mapping[str, Any]) -> list[str]:
    """Return the names of all providers: the built-in ones and those of `[providers.NAME]`."""
    return sorted({STABILITY, *described})


def find(name: str, described: Mapping[str, Any]) -> Vendor:
    """Return what is known of a provider; `described` are the tables of `[providers.NAME]`.  Raise `KeyError`."""
    if name == STABILITY and name not in described:
        return STABILITY_VENDOR
    raise KeyError(name)

"""Balances from vendors: one file per vendor, one `Provider` per account.

Every failure of the network or the vendor is raised as an `errors.FetchError`, with secrets redacted.  The room itself
loads nothing that asks: settings look up what is known of a vendor (`vendors`) in commands that never ask one.
"""

import sys

# httpx loads its own command line, and with it rich and pygments wherever they are installed: 4 MiB for nothing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

from monitor.providers.base import Access, Provider, Trial

__all__ = ["Access", "Provider", "Trial", "open_provider"]


def open_provider(access: Access) -> Provider:
    """Return a provider, which keeps its connections until it is closed.

    Raise `ConfigError` when something in `access` cannot be used.
    """
    if access.description is None:
        from monitor.providers.stability import Stability  # noqa: PLC0415 -- httpx is loaded by who asks

        return Stability(access)
    from monitor.providers.described import Described  # noqa: PLC0415 -- so is what reads JSON by paths

    return Described(access, access.description)

"""Balances from vendors: one file per vendor, one `Provider` per account.

Every failure of the network or the vendor is raised as an `errors.FetchError`, with secrets redacted.
"""

import sys
from collections.abc import Callable, Mapping

# httpx loads its own command line, and with it rich and pygments wherever they are installed: 4 MiB for nothing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

from monitor.model import Generation
from monitor.providers.base import Access, Provider
from monitor.providers.http import ping
from monitor.providers.redaction import redact
from monitor.providers.stability import Stability

__all__ = ["Access", "Provider", "open_provider", "ping", "redact"]

_PROVIDERS: Mapping[Generation, Callable[[Access], Provider]] = {
    Generation.V1: Stability,
    Generation.V1ALPHA: Stability,
}


def open_provider(access: Access) -> Provider:
    """Return a provider, which keeps its connections until it is closed.

    Raise `ConfigError` when something in `access` cannot be used.
    """
    return _PROVIDERS[access.generation](access)

"""Asks vendors for balances: one file per vendor, one `Provider` per account, all of HTTP inside.

Refuses to store, judge or schedule.  Whatever goes wrong out there becomes one `errors.FetchError`, redacted.
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
    """A provider that keeps its connections until it is closed; `ConfigError` names what in `access` cannot be used."""
    return _PROVIDERS[access.generation](access)

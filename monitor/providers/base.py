"""The interface of a provider, and what it is opened with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from monitor.errors import FetchError
from monitor.model import STABILITY, Balance, Generation, RateLimit, VendorOrganization
from monitor.providers.description import Description

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a vendor with one API key.

    `rate_limit` None means none of ours; `ca_file` replaces the usual trusted roots.
    """

    base_url: str
    api_key: str = field(repr=False)
    generation: Generation
    rate_limit: RateLimit | None
    deadline: timedelta  # of one check, retries included, counted from when the limiter lets it go
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    provider: str = STABILITY
    description: Description | None = None  # None: Stability
    variables: Mapping[str, str] = field(default_factory=lambda: NO_VARIABLES)  # of the account, for its description


@dataclass(frozen=True, slots=True)
class Trial:
    """What one question gave, for who wants to see it: request and answer without secrets, and balances or the error.

    `body` is the answer as it came; `status` None: none came.
    """

    asked: str
    shown: str
    body: bytes = field(repr=False)
    status: int | None
    balances: tuple[Balance, ...]
    error: FetchError | None


class Provider(Protocol):
    """One account at a vendor.  Both fetches raise only `errors.FetchError`, and may be cancelled."""

    async def fetch(self, organization: str | None = None) -> tuple[Balance, ...]:
        """Return the balances of one answer, each id once, exact to six places, at least one.

        Where each organization is asked for by itself (`Vendor.asks_each`), `organization` is the vendor's id (None:
        the key's default one), and the answer has one balance.  Elsewhere it is not given.
        """

    async def try_once(self, organization: str | None = None) -> Trial:
        """Ask for the same, once and without retries; return what came, whatever it was."""

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Return every organization the key sees, in the vendor's order; only where `Vendor.asks_each`."""

    def unusable(self) -> tuple[str, ...]:
        """Return a line for each organization of the last listing that cannot be watched; its id, for example."""

    def vendor_time(self) -> datetime | None:
        """Return the vendor's clock at its last answer, in whole seconds; None when the answer had no date."""

    async def aclose(self) -> None:
        """Close the connections."""

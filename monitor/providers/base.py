"""The interface of a provider, and what it is opened with."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from monitor.model import Generation, RateLimit, VendorOrganization


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


class Provider(Protocol):
    """One account at a vendor.  Both fetches raise only `errors.FetchError`, and may be cancelled."""

    async def fetch_balance(self, vendor_id: str | None) -> Decimal:
        """Return the credits of an organization, exact to six places; None asks for the key's default organization."""

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Return every organization the key sees, in the vendor's order."""

    def unusable(self) -> tuple[str, ...]:
        """Return a line for each organization of the last listing that cannot be watched; its id, for example."""

    def vendor_time(self) -> datetime | None:
        """Return the vendor's clock at its last answer, in whole seconds; None when the answer had no date."""

    async def aclose(self) -> None:
        """Close the connections."""

"""What every vendor's provider is given, and what it must be able to do.

Refuses to know any vendor.
"""

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
    deadline: timedelta  # of one check, retries included, from when the limiter lets it go
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


class Provider(Protocol):
    """One account at a vendor.  Both fetches raise nothing but `errors.FetchError`, and may be cancelled."""

    async def fetch_balance(self, vendor_id: str | None) -> Decimal:
        """The credits of an organization, exact to six places; None asks for the key's default organization."""

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Every organization the key sees, in the vendor's order."""

    def vendor_time(self) -> datetime | None:
        """The vendor's clock at its last answer, in whole seconds; None when it told none."""

    async def aclose(self) -> None:
        """Give the connections back."""

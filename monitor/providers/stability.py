"""Stability AI, both generations: their requests differ by one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

import httpx

from monitor import __version__
from monitor.errors import UnexpectedAnswer
from monitor.model import Balance, Generation, VendorOrganization
from monitor.providers.answers import Listing, read_credits, read_error, read_organizations
from monitor.providers.asker import Asker, require_key
from monitor.providers.base import Access, Trial
from monitor.providers.http import Answer, Request
from monitor.text import fits_header

_OK: Final = 200
_BALANCE_BYTES: Final = 64 * 1024
_ACCOUNT_BYTES: Final = 1024 * 1024  # a thousand organizations do not fit into 64 KiB

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a generation's requests."""

    path: str
    key_prefix: str
    headers: Mapping[str, str] = field(default_factory=dict)


DIALECTS: Mapping[Generation, Dialect] = {
    Generation.V1: Dialect(
        path="/v1/user",
        key_prefix="Bearer ",
        headers={"Stability-Client-ID": "credit-monitor", "Stability-Client-Version": __version__},
    ),
    Generation.V1ALPHA: Dialect(path="/v1alpha/user", key_prefix=""),
}


class Stability:
    """One account at Stability AI."""

    def __init__(self, access: Access) -> None:
        dialect = DIALECTS[access.generation]
        require_key(access.api_key)
        self._secret = access.api_key
        self._headers = _headers(dialect, access.api_key, dialect.headers)
        self._asker = Asker(access)
        self._balance_url = httpx.URL(f"{self._asker.base_url}{dialect.path}/balance")
        # The account endpoint accepts no further headers.
        account_url = httpx.URL(f"{self._asker.base_url}{dialect.path}/account")
        self._account = Request("GET", account_url, _headers(dialect, access.api_key, {}))
        self._last_listing = (b"", Listing((), ()))

    async def fetch(self, organization: str | None = None) -> tuple[Balance, ...]:
        """Return the balance of one organization; None asks for the key's default one."""
        return (Balance(organization or "", await self.fetch_balance(organization)),)

    async def fetch_balance(self, vendor_id: str | None) -> Decimal:
        """Return the credits of an organization, exact to six places; None asks for the key's default organization."""
        request = self._balance_request(vendor_id)
        return await self._asker.ask(request, self._reader(read_credits), max_bytes=_BALANCE_BYTES)

    async def try_once(self, organization: str | None = None) -> Trial:
        """Ask for the same, once and without retries; return what came, whatever it was."""

        def read(answer: Answer) -> tuple[Balance, ...]:
            return (Balance(organization or "", self._reader(read_credits)(answer)),)

        request = self._balance_request(organization)
        return await self._asker.try_once(request, read, secret=self._secret, max_bytes=_BALANCE_BYTES)

    def _balance_request(self, vendor_id: str | None) -> Request:
        headers = self._headers
        if vendor_id is not None:
            if not fits_header(vendor_id):
                raise UnexpectedAnswer("the organization's id is empty, too long, or no plain text")
            headers = headers.copy()
            headers["Organization"] = vendor_id
        return Request("GET", self._balance_url, headers)

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Return every organization the key sees, in the vendor's order."""
        return await self._asker.ask(self._account, self._reader(self._read_listed), max_bytes=_ACCOUNT_BYTES)

    def _reader(self, read: Callable[[Answer], Result]) -> Callable[[Answer], Result]:
        """Return what reads an answer of any status."""

        def read_any(answer: Answer) -> Result:
            if answer.status != _OK:
                raise read_error(answer, secret=self._secret)
            return read(answer)

        return read_any

    def _read_listed(self, answer: Answer) -> tuple[VendorOrganization, ...]:
        """Return what the account endpoint lists; the same bytes as last time are not parsed again."""
        if answer.defect is not None or answer.body != self._last_listing[0]:
            self._last_listing = (answer.body, read_organizations(answer, secret=self._secret))
        return self._last_listing[1].organizations

    def unusable(self) -> tuple[str, ...]:
        """Return a line for each organization of the last listing that cannot be watched."""
        return self._last_listing[1].unusable

    def vendor_time(self) -> datetime | None:
        """Return the vendor's clock at its last answer, in whole seconds; None when the answer had no date."""
        return self._asker.vendor_time()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()


def _headers(dialect: Dialect, api_key: str, more: Mapping[str, str]) -> httpx.Headers:
    return httpx.Headers(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": dialect.key_prefix + api_key,
            "User-Agent": f"credit-monitor/{__version__}",
            **more,
        }
    )

"""Stability AI, both generations: their requests differ by one table.

A check keeps the key's rate limit, retries with backoff inside its deadline, and pauses the key after a 429.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TypeVar

import httpx
import stamina

from monitor import __version__
from monitor.errors import ConfigError, FetchError, Mistake, ProviderUnavailable, RateLimited, UnexpectedAnswer
from monitor.model import Balance, Generation, VendorOrganization
from monitor.providers.answers import Listing, read_credits, read_date, read_error, read_organizations
from monitor.providers.base import Access
from monitor.providers.http import IN_FLIGHT, Answer, HttpClient
from monitor.providers.rate_limit import shared_limiter
from monitor.text import fits_header

Result = TypeVar("Result", Decimal, tuple[VendorOrganization, ...])
Attempt = Callable[[], Awaitable[Result | FetchError]]
_OK = 200
_BALANCE_BYTES = 64 * 1024
_ACCOUNT_BYTES = 1024 * 1024  # a thousand organizations do not fit into 64 KiB
_retries = partial(
    stamina.retry_context, on=ProviderUnavailable, attempts=None, timeout=None, wait_initial=0.25, wait_jitter=0.5
)


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
        self._secret = access.api_key
        self._deadline = access.deadline.total_seconds()
        self._headers = _headers(dialect, access.api_key, dialect.headers)
        self._plain_headers = _headers(dialect, access.api_key, {})  # the account endpoint accepts no others
        self._client = HttpClient(access)
        self._balance_url = httpx.URL(f"{self._client.base_url}{dialect.path}/balance")
        self._account_url = httpx.URL(f"{self._client.base_url}{dialect.path}/account")
        self._limiter = shared_limiter(self._client.base_url, access.api_key, rate_limit=access.rate_limit)
        self._last_listing = (b"", Listing((), ()))
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def fetch(self, organization: str | None = None) -> tuple[Balance, ...]:
        """Return the balance of one organization; None asks for the key's default one."""
        return (Balance(organization or "", await self.fetch_balance(organization)),)

    async def fetch_balance(self, vendor_id: str | None) -> Decimal:
        """Return the credits of an organization, exact to six places; None asks for the key's default organization."""
        headers = self._headers
        if vendor_id is not None:
            if not fits_header(vendor_id):
                raise UnexpectedAnswer("the organization's id is empty, too long, or no plain text")
            headers = headers.copy()
            headers["Organization"] = vendor_id

        async def attempt() -> Decimal | FetchError:
            answer = await self._client.get(self._balance_url, headers, max_bytes=_BALANCE_BYTES)
            return self._read(answer, read_credits)

        return await self._check(attempt)

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Return every organization the key sees, in the vendor's order."""

        async def attempt() -> tuple[VendorOrganization, ...] | FetchError:
            answer = await self._client.get(self._account_url, self._plain_headers, max_bytes=_ACCOUNT_BYTES)
            return self._read(answer, self._read_listed)

        return await self._check(attempt)

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
        return read_date(self._client.date)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _check(self, attempt: Attempt[Result]) -> Result:
        """Attempt until an outcome is final or the deadline has passed, which counts from the first request."""
        outcome: Result | FetchError = ProviderUnavailable(
            f"the vendor did not answer within {self._deadline:g} s ({self._client.host})"
        )
        async with self._in_flight:
            await self._limiter.turn()
            try:
                async with asyncio.timeout(self._deadline):
                    outcome = await attempt()
                    if isinstance(outcome, ProviderUnavailable):
                        outcome = await self._retry(outcome, attempt)
            except TimeoutError:
                pass  # the last outcome known stands
        if isinstance(outcome, FetchError):
            raise outcome
        return outcome

    async def _retry(self, failure: ProviderUnavailable, attempt: Attempt[Result]) -> Result | FetchError:
        """Retry with backoff after a first failure; apart from `_check`, since stamina costs time in the good case."""
        async for retry in _retries():
            with retry:
                if retry.num == 1:
                    raise failure
                await self._limiter.turn()
                outcome = await attempt()
                if isinstance(outcome, ProviderUnavailable):
                    raise outcome
                return outcome
        raise AssertionError

    def _read(self, answer: Answer | FetchError, read: Callable[[Answer], Result]) -> Result | FetchError:
        """Return what an answer says, or its error: returned, so that none becomes the context of another."""
        if isinstance(answer, FetchError):
            return answer
        if answer.status == _OK:
            try:
                return read(answer)
            except FetchError as error:
                return error.with_traceback(None)  # whose frames hold the answer
        failure = read_error(answer, secret=self._secret)
        if isinstance(failure, RateLimited):
            self._limiter.pause(failure.retry_after)
        return failure


def _headers(dialect: Dialect, api_key: str, more: Mapping[str, str]) -> httpx.Headers:
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigError([Mistake("api_key", "empty, or with characters that no key has")])
    return httpx.Headers(
        {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": dialect.key_prefix + api_key,
            "User-Agent": f"credit-monitor/{__version__}",
            **more,
        }
    )

"""Stability AI, both generations: how each words its requests stands in one table.

Keeps the key's rate, retries what may pass inside the check's deadline, and holds a key that was told to wait.
Refuses to retry anything else, or to know why a balance is asked for.
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
from monitor.model import Generation, VendorOrganization
from monitor.providers.answers import read_credits, read_date, read_organizations, refusal
from monitor.providers.base import Access
from monitor.providers.http import IN_FLIGHT, Answer, Wire
from monitor.providers.rate_limit import shared_pace
from monitor.providers.redaction import is_sendable

Found = TypeVar("Found", Decimal, tuple[VendorOrganization, ...])
Attempt = Callable[[], Awaitable[Found | FetchError]]
_OK = 200
_BALANCE_BYTES = 64 * 1024
_ACCOUNT_BYTES = 1024 * 1024  # a thousand organizations do not fit into 64 KiB
_retries = partial(
    stamina.retry_context, on=ProviderUnavailable, attempts=None, timeout=None, wait_initial=0.25, wait_jitter=0.5
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a generation wants to be asked."""

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
        self._plain_headers = _headers(dialect, access.api_key, {})  # the account endpoint takes no others
        self._wire = Wire(access)
        self._balance_url = httpx.URL(f"{self._wire.base_url}{dialect.path}/balance")
        self._account_url = httpx.URL(f"{self._wire.base_url}{dialect.path}/account")
        self._pace = shared_pace(self._wire.base_url, access.api_key, rate_limit=access.rate_limit)
        self._listed: tuple[bytes, tuple[VendorOrganization, ...]] = (b"", ())
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def fetch_balance(self, vendor_id: str | None) -> Decimal:
        """The credits of an organization, exact to six places; None asks for the key's default organization."""
        headers = self._headers
        if vendor_id is not None:
            if not is_sendable(vendor_id):
                raise UnexpectedAnswer("the organization's id is empty, too long, or no plain text")
            headers = headers.copy()
            headers["Organization"] = vendor_id

        async def attempt() -> Decimal | FetchError:
            answer = await self._wire.get(self._balance_url, headers, max_bytes=_BALANCE_BYTES)
            return self._read(answer, read_credits)

        return await self._check(attempt)

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Every organization the key sees, in the vendor's order."""

        async def attempt() -> tuple[VendorOrganization, ...] | FetchError:
            answer = await self._wire.get(self._account_url, self._plain_headers, max_bytes=_ACCOUNT_BYTES)
            return self._read(answer, self._read_listed)

        return await self._check(attempt)

    def _read_listed(self, answer: Answer) -> tuple[VendorOrganization, ...]:
        """What the account endpoint lists; the same bytes as last time are not read again."""
        if answer.defect is not None or answer.body != self._listed[0]:
            self._listed = (answer.body, read_organizations(answer, secret=self._secret))
        return self._listed[1]

    def vendor_time(self) -> datetime | None:
        """The vendor's clock at its last answer, in whole seconds; None when it told none."""
        return read_date(self._wire.date)

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._wire.aclose()

    async def _check(self, attempt: Attempt[Found]) -> Found:
        """Attempts until one is final or the deadline is over, which begins when the first one may leave."""
        outcome: Found | FetchError = ProviderUnavailable(f"the vendor did not answer within {self._deadline:g} s")
        async with self._in_flight:
            await self._pace.turn()
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

    async def _retry(self, failure: ProviderUnavailable, attempt: Attempt[Found]) -> Found | FetchError:
        """Goes on after a first failure, which costs the good case nothing."""
        async for again in _retries():
            with again:
                if again.num == 1:
                    raise failure
                await self._pace.turn()
                outcome = await attempt()
                if isinstance(outcome, ProviderUnavailable):
                    raise outcome
                return outcome
        raise AssertionError

    def _read(self, answer: Answer | FetchError, read: Callable[[Answer], Found]) -> Found | FetchError:
        """What an answer says; errors are returned, so that none is the context of another."""
        if isinstance(answer, FetchError):
            return answer
        if answer.status == _OK:
            try:
                return read(answer)
            except FetchError as error:
                return error.with_traceback(None)  # whose frames hold the answer
        refused = refusal(answer, secret=self._secret)
        if isinstance(refused, RateLimited):
            self._pace.pause(refused.retry_after)
        return refused


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

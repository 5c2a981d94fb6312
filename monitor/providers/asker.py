"""Asking a vendor with one key: its rate limit, retries with backoff inside a deadline, a pause after a 429.

Whoever knows a vendor makes the requests and reads the answers; nobody else sends one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar

import stamina

from monitor.errors import ConfigError, FetchError, Mistake, ProviderUnavailable, RateLimited
from monitor.model import Balance
from monitor.providers.answers import read_date
from monitor.providers.base import Access, Trial
from monitor.providers.http import IN_FLIGHT, Answer, HttpClient
from monitor.providers.rate_limit import shared_limiter
from monitor.providers.redaction import redact

LONGEST_SHOWN: Final = 4000  # characters of an answer
_READ_ASIDE: Final = 64 * 1024  # bytes; a longer answer is read in a thread: one of 60,000 entries takes 3 s

Result = TypeVar("Result")
_retries = partial(
    stamina.retry_context, on=ProviderUnavailable, attempts=None, timeout=None, wait_initial=0.25, wait_jitter=0.5
)


class Asked(Protocol):
    """What is asked: a request, or a program to run; both texts may hold the key."""

    @property
    def method(self) -> str:
        """How it is asked."""

    @property
    def url(self) -> object:
        """What is asked, as text."""


class Client(Protocol):
    """What asks: over HTTP, or by a program."""

    base_url: str
    host: str
    date: str  # of the last answer

    async def send(self, request: Any, *, max_bytes: int) -> Answer | FetchError:
        """Ask once; return the answer, or the error, so that no library's exception becomes its context."""

    async def aclose(self) -> None:
        """Close what is open."""


class Asker:
    """The connection of one account; `every_min`: so long nothing is asked again, not even after a failure.

    What is asked again before that, and would have to wait for longer than a check may take, has the last answer.
    """

    def __init__(self, access: Access, *, client: Client | None = None, every_min: timedelta | None = None) -> None:
        self._client: Client = client or HttpClient(access)
        self._deadline = access.deadline.total_seconds()
        self._every_min = every_min.total_seconds() if every_min else 0.0
        self._asked: dict[str, tuple[float, Any]] = {}  # address → when it was asked last, and what came of it
        self._limiter = shared_limiter(self._client.base_url, access.api_key, rate_limit=access.rate_limit)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def base_url(self) -> str:
        """The address under which everything is asked, without a slash at its end."""
        return self._client.base_url

    async def ask(
        self, request: Asked, read: Callable[[Answer], Result], *, max_bytes: int, retries: bool = True
    ) -> Result:
        """Return what `read` makes of the answer: attempts until an outcome is final or the deadline has passed.

        The deadline counts from the first request.  Raise `FetchError`, as `read` does.
        """
        retries = retries and self._every_min < self._deadline
        outcome: Result | FetchError = ProviderUnavailable(
            f"the vendor did not answer within {self._deadline:g} s ({self._client.host})"
        )

        async def attempt() -> Result | FetchError:
            address, at = str(request.url), asyncio.get_running_loop().time()
            if self._every_min:
                self._asked[address] = at, outcome
            answer = await self._client.send(request, max_bytes=max_bytes)
            if isinstance(answer, Answer) and answer.status == HTTPStatus.OK and len(answer.body) > _READ_ASIDE:
                came = await asyncio.to_thread(self._outcome, answer, read)
            else:
                came = self._outcome(answer, read)
            if self._every_min:
                self._asked[address] = at, came
            return came

        if self._wait_for(request) > self._deadline:  # nothing new can be known before
            last: Result = self._last(request)
            return last
        async with self._in_flight:
            await self._turn(request)
            try:
                async with asyncio.timeout(self._deadline):
                    outcome = await attempt()
                    if isinstance(outcome, ProviderUnavailable) and retries:
                        outcome = await self._retry(outcome, attempt, request)
            except TimeoutError:
                pass  # the last outcome known stands
        if isinstance(outcome, FetchError):
            raise outcome
        return outcome

    async def try_once(
        self, request: Asked, read: Callable[[Answer], tuple[Balance, ...]], *, secret: str, max_bytes: int
    ) -> Trial:
        """Ask without retries; return request and answer as they may be shown, and what `read` makes of it."""
        came: list[Answer] = []

        def keep(answer: Answer) -> tuple[Balance, ...]:
            came.append(answer)
            return read(answer)

        balances: tuple[Balance, ...] = ()
        failure = None
        try:
            balances = await self.ask(request, keep, max_bytes=max_bytes, retries=False)
        except FetchError as error:
            failure = error
        body = came[0].body if came else b""
        return Trial(
            asked=f"{request.method} {redact(str(request.url), secret)}",
            shown=redact(body.decode("utf-8", "replace")[:LONGEST_SHOWN], secret),
            body=body,
            status=came[0].status if came else None,
            balances=balances,
            error=failure,
        )

    async def _turn(self, request: Asked) -> None:
        """Return when a request may be sent."""
        if (wait := self._wait_for(request)) > 0:
            await asyncio.sleep(wait)
        await self._limiter.turn()

    def _wait_for(self, request: Asked) -> float:
        """Return for how many seconds this may not be asked again; 0 or less when it may."""
        if not self._asked or (asked := self._asked.get(str(request.url))) is None:
            return 0.0
        return asked[0] + self._every_min - asyncio.get_running_loop().time()

    def _last(self, request: Asked) -> Any:
        """Return what came last, or raise it."""
        outcome = self._asked[str(request.url)][1]
        if isinstance(outcome, FetchError):
            raise outcome.with_traceback(None)
        return outcome

    async def _retry(
        self, failure: ProviderUnavailable, attempt: Callable[[], Awaitable[Result | FetchError]], request: Asked
    ) -> Result | FetchError:
        """Retry with backoff after a first failure; apart from `ask`, since stamina costs time in the good case."""
        async for retry in _retries():
            with retry:
                if retry.num == 1:
                    raise failure
                await self._turn(request)
                outcome = await attempt()
                if isinstance(outcome, ProviderUnavailable):
                    raise outcome
                return outcome
        raise AssertionError

    def _outcome(self, answer: Answer | FetchError, read: Callable[[Answer], Result]) -> Result | FetchError:
        """Return what an answer says, or its error: returned, so that none becomes the context of another."""
        if isinstance(answer, FetchError):
            return answer
        try:
            return read(answer)
        except FetchError as error:
            if isinstance(error, RateLimited):
                self._limiter.pause(error.retry_after)
            return error.with_traceback(None)  # whose frames hold the answer

    def vendor_time(self) -> datetime | None:
        """Return the vendor's clock at its last answer, in whole seconds; None when the answer had no date."""
        return read_date(self._client.date)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def require_key(api_key: str) -> None:
    """Raise `ConfigError` for what cannot be a key."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigError([Mistake("api_key", "empty, or with characters that no key has")])

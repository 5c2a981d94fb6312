"""The deadline of a check, its retries, the rate of a key and its pause."""

import asyncio
import json
import threading
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from canary import KEY, Open
from wait import LONG, until

from monitor.errors import CredentialRejected, FetchError, ProviderUnavailable, RateLimited
from monitor.model import Generation, RateLimit
from monitor.providers import stability
from monitor.providers.rate_limit import RateLimiter, shared_limiter
from monitor.sandbox import Fault, Reply, Vendor


def rate(requests: int, seconds: float) -> RateLimit:
    return RateLimit(requests, timedelta(seconds=seconds))


def busiest(turns: list[float], *, window: float) -> int:
    """The most requests that were let go in any window."""
    return max(sum(begin <= at <= begin + window for at in turns) for begin in turns)


async def test_a_fault_that_passes_is_retried_within_the_deadline(vendor: Vendor, open_: Open) -> None:
    provider = open_()
    vendor.fault = Fault.BAD_GATEWAY
    check = asyncio.create_task(provider.fetch_balance("org-1"))
    await until(lambda: vendor.requests)
    vendor.fault = None
    assert await check == Decimal("1500.25")
    assert len(vendor.requests) >= 2


async def test_the_deadline_ends_retries_with_the_last_thing_known(vendor: Vendor, open_: Open) -> None:
    vendor.fault = Fault.SERVER_ERROR
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    with pytest.raises(ProviderUnavailable, match="HTTP 500"):
        await open_(seconds=2).fetch_balance("org-1")
    assert loop.time() - began_at < LONG


async def test_one_attempt_may_use_the_whole_deadline(vendor: Vendor, open_: Open) -> None:
    vendor.fault = Fault.DRIP
    with pytest.raises(ProviderUnavailable, match="did not answer within 1 s"):
        await open_(seconds=1).fetch_balance("org-1")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.FORBIDDEN, Fault.NULL, Fault.PAYMENT_REQUIRED])
async def test_what_will_not_pass_is_asked_once(vendor: Vendor, open_: Open, fault: Fault) -> None:
    vendor.fault = fault
    with pytest.raises(FetchError):
        await open_().fetch_balance("org-1")
    assert len(vendor.requests) == 1


async def test_no_window_holds_more_requests_than_the_rate(vendor: Vendor, open_: Open, turns: list[float]) -> None:
    provider = open_(rate_limit=rate(20, 0.2))
    await asyncio.gather(provider.fetch_organizations(), *(provider.fetch_balance("org-1") for _ in range(39)))
    assert len(vendor.requests) == len(turns) == 40
    assert busiest(turns, window=0.2) <= 20


async def test_requests_leave_evenly_and_never_early() -> None:
    limiter, left_at = RateLimiter(), []
    limiter.limit_to(rate(10, 0.1))

    async def leave() -> None:
        await limiter.turn()
        left_at.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(leave() for _ in range(30)))
    assert all(later - earlier > 0.1 for earlier, later in pairwise(left_at[::10]))
    assert all(later - earlier > 0.009 for earlier, later in pairwise(left_at))


async def test_retries_count_against_the_rate(vendor: Vendor, open_: Open, turns: list[float]) -> None:
    provider = open_(rate_limit=rate(10, 0.2), seconds=2)
    vendor.fault = Fault.UPSTREAM_TEXT
    await asyncio.gather(*(provider.fetch_balance("org-1") for _ in range(15)), return_exceptions=True)
    assert 15 < len(vendor.requests) <= len(turns)
    assert busiest(turns, window=0.2) <= 10


async def test_accounts_with_the_same_key_share_its_rate(open_: Open, turns: list[float]) -> None:
    providers = [open_(rate_limit=rate(10, 0.2)), open_(Generation.V1ALPHA, rate_limit=rate(100, 0.2))]
    await asyncio.gather(*(provider.fetch_balance("org-1") for provider in providers * 10))
    assert len(turns) == 20
    assert busiest(turns, window=0.2) <= 10


async def test_the_deadline_begins_when_the_limiter_lets_go(vendor: Vendor, open_: Open) -> None:
    provider = open_(rate_limit=rate(1, 2), seconds=1.9)
    figures = await asyncio.gather(*(provider.fetch_balance("org-1") for _ in range(3)))
    assert len(figures) == 3


async def test_a_cancelled_wait_holds_nobody_up(vendor: Vendor, open_: Open) -> None:
    provider = open_(rate_limit=rate(1, 3))
    checks = [asyncio.create_task(provider.fetch_balance("org-1")) for _ in range(4)]
    await until(lambda: vendor.requests)
    for check in checks[1:3]:
        check.cancel()
    assert await checks[3] == Decimal("1500.25")
    assert len(vendor.requests) == 2


async def test_no_more_than_64_requests_are_in_flight(vendor: Vendor, open_: Open) -> None:
    vendor.fault = Fault.HANG
    provider = open_(seconds=LONG)
    checks = [asyncio.create_task(provider.fetch_balance("org-1")) for _ in range(100)]
    await until(lambda: len(vendor.requests) >= 64)
    await asyncio.sleep(0.2)  # for one too many
    assert len(vendor.requests) == 64
    for check in checks:
        check.cancel()
    await asyncio.gather(*checks, return_exceptions=True)


async def test_a_rate_limit_pauses_its_key_alone(vendor: Vendor, open_: Open) -> None:
    first, second, other = open_(), open_(Generation.V1ALPHA), open_(api_key="sk-other")
    vendor.organizations["org-1"].fault = Fault.RATE_LIMITED
    with pytest.raises(RateLimited):
        await first.fetch_balance("org-1")
    for paused in (first, second):
        with pytest.raises(RateLimited, match=r"waiting for another (60|[345]\d) s") as caught:
            await paused.fetch_balance("org-2")
        assert 30 < caught.value.retry_after <= 60
    assert len(vendor.requests) == 1
    assert await other.fetch_balance("org-2") == Decimal("7.25")


async def test_whoever_waits_in_the_queue_is_told_of_the_pause(vendor: Vendor, open_: Open) -> None:
    provider = open_(rate_limit=rate(1, 2))
    vendor.fault = Fault.RATE_LIMITED
    checks = (provider.fetch_balance("org-1") for _ in range(30))
    outcomes = await asyncio.wait_for(asyncio.gather(*checks, return_exceptions=True), 30)
    assert {type(outcome) for outcome in outcomes} == {RateLimited}
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"Retry-After": "5"}, 60),
        ({"Retry-After": "180"}, 180),
        ({"Retry-After": "999999999"}, 3600),
        ({"Retry-After": "9" * 400}, 60),
        ({"Retry-After": "-5"}, 60),
        ({"Retry-After": "soon"}, 60),
        ({"Retry-After": "Wed, 21 Oct 2026 07:30:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 120),
        ({"Retry-After": "Wed, 21 Oct 2026 07:30:00 GMT"}, 60),
        ({"Retry-After": "Wed, 99 Oct 9999999 07:30:00 GMT", "Date": "x"}, 60),
    ],
)
async def test_the_pause_is_the_longer_of_60_s_and_retry_after(
    vendor: Vendor, open_: Open, headers: dict[str, str], seconds: int
) -> None:
    vendor.fault = Reply(429, b"", headers)
    with pytest.raises(RateLimited) as caught:
        await open_().fetch_balance("org-1")
    assert caught.value.retry_after == seconds


async def test_a_pause_ends() -> None:
    limiter = RateLimiter()
    limiter.pause(0.5)
    with pytest.raises(RateLimited):
        await limiter.turn()
    await asyncio.sleep(0.51)
    await limiter.turn()


def test_a_limiter_is_forgotten_with_its_last_account() -> None:
    first = shared_limiter("http://a", KEY, rate_limit=None)
    assert shared_limiter("http://a", KEY, rate_limit=None) is first
    assert shared_limiter("http://b", KEY, rate_limit=None) is not first


async def test_a_rejected_key_is_said_even_under_load(vendor: Vendor, open_: Open) -> None:
    provider = open_(api_key="sk-unknown")
    outcomes = await asyncio.gather(*(provider.fetch_balance(None) for _ in range(200)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CredentialRejected}


async def test_a_long_list_is_read_beside_the_event_loop(
    vendor: Vendor, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = threading.Event()
    read = stability.read_organizations

    def wait_for_the_loop(*arguments: Any, **options: Any) -> Any:
        asyncio.run_coroutine_threadsafe(set_turned(), loop)
        assert turned.wait(LONG), "the event loop does not turn while a list is read"
        return read(*arguments, **options)

    async def set_turned() -> None:
        turned.set()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(stability, "read_organizations", wait_for_the_loop)
    listed = [{"id": f"org-{number}"} for number in range(20_000)]
    vendor.account_fault = Reply(body=json.dumps({"organizations": listed}).encode())
    assert len(await open_().fetch_organizations()) == len(listed)

"""Every answer of the vendor's table and every broken one: the right kind of error, no figure invented, no key."""

import logging
import tracemalloc
from decimal import Decimal

import pytest
from canary import KEY, Open, assert_no_key

from monitor.errors import (
    AccessDenied,
    CredentialRejected,
    FetchError,
    NoCredits,
    ProviderUnavailable,
    RateLimited,
    UnexpectedAnswer,
)
from monitor.model import Generation
from monitor.sandbox import Fault, Reply, Vendor

REFUSALS: dict[Fault, tuple[type[FetchError], int | None]] = {
    Fault.UNAUTHORIZED: (CredentialRejected, 401),
    Fault.FORBIDDEN: (AccessDenied, 403),
    Fault.NOT_FOUND: (AccessDenied, 404),
    Fault.NOT_FOUND_PAGE: (AccessDenied, 404),
    Fault.PAYMENT_REQUIRED: (NoCredits, 402),
    Fault.INSUFFICIENT_BALANCE: (NoCredits, 429),
    Fault.TEAPOT: (UnexpectedAnswer, 418),
    Fault.NO_CONTENT: (UnexpectedAnswer, 204),
    Fault.REDIRECT: (UnexpectedAnswer, 302),
    Fault.SERVER_ERROR: (ProviderUnavailable, 500),
    Fault.FORBIDDEN_PAGE: (ProviderUnavailable, 403),
    Fault.BAD_GATEWAY: (ProviderUnavailable, 502),
    Fault.UPSTREAM_TEXT: (ProviderUnavailable, 503),
    Fault.PAGE_200: (ProviderUnavailable, 200),
    Fault.TRUNCATED: (ProviderUnavailable, None),
    Fault.RESET: (ProviderUnavailable, None),
    Fault.HANG: (ProviderUnavailable, None),
    Fault.DRIP: (ProviderUnavailable, None),
    Fault.GARBAGE: (ProviderUnavailable, None),
    Fault.HUGE_HEADER: (ProviderUnavailable, None),
}
RATE_LIMITS = {Fault.RATE_LIMITED: 60, Fault.RATE_LIMITED_LONG: 180}
FIGURES = {Fault.NEGATIVE: Decimal("-3.25"), Fault.GZIP: Decimal("12.5")}
BROKEN = sorted(set(Fault) - set(REFUSALS) - set(RATE_LIMITS) - set(FIGURES))


async def fail(
    vendor: Vendor, open_: Open, generation: Generation, *, fault: Fault | Reply, kind: type[FetchError] = FetchError
) -> FetchError:
    """The error of a fetch; afterwards the next organization's must work."""
    provider = open_(generation, seconds=1 if kind is ProviderUnavailable else 30)
    vendor.organizations["org-1"].fault = fault
    with pytest.raises(FetchError) as caught:
        await provider.fetch_balance("org-1")
    if not isinstance(caught.value, RateLimited):
        assert await open_(generation).fetch_balance("org-2") == Decimal("7.25")
        vendor.organizations["org-1"].fault = None
        assert await provider.fetch_balance("org-1") == Decimal("1500.25")
    return caught.value


OpenOn = tuple[Vendor, Open, Generation]


@pytest.fixture
def open_on(vendor: Vendor, open_: Open, generation: Generation) -> OpenOn:
    return vendor, open_, generation


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize(("fault", "expected"), REFUSALS.items())
async def test_each_refusal_becomes_its_kind(
    open_on: OpenOn, fault: Fault, expected: tuple[type[FetchError], int | None], caplog: pytest.LogCaptureFixture
) -> None:
    error = await fail(*open_on, fault=fault, kind=expected[0])
    assert type(error) is expected[0]
    assert error.status == expected[1]
    assert_no_key(error, caplog)


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_answer_is_unexpected_and_never_a_figure(
    vendor: Vendor, open_: Open, generation: Generation, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    error = await fail(vendor, open_, generation, fault=fault)
    assert type(error) is UnexpectedAnswer
    assert error.status == 200
    assert_no_key(error, caplog)


@pytest.mark.parametrize(("fault", "seconds"), RATE_LIMITS.items())
async def test_a_rate_limit_says_how_long_to_wait(
    open_on: OpenOn, fault: Fault, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    error = await fail(*open_on, fault=fault)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds
    assert f"waiting for {seconds} s" in str(error)
    assert_no_key(error, caplog)


@pytest.mark.parametrize(("fault", "figure"), FIGURES.items())
async def test_an_unusual_but_clear_answer_is_a_figure(
    vendor: Vendor, open_: Open, generation: Generation, fault: Fault, figure: Decimal
) -> None:
    vendor.organizations["org-1"].fault = fault
    assert await open_(generation).fetch_balance("org-1") == figure


@pytest.mark.parametrize("fault", [Fault.NULL, Fault.LIST, Fault.UNAUTHORIZED, Fault.GZIP_BOMB, Fault.NOT_FOUND])
async def test_the_account_endpoint_fails_in_the_same_ways(
    vendor: Vendor, open_: Open, generation: Generation, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.account_fault = fault
    with pytest.raises(FetchError) as caught:
        await open_(generation).fetch_organizations()
    assert_no_key(caught.value, caplog)


async def test_a_rejected_key_keeps_the_vendors_words_and_id_but_not_the_key(vendor: Vendor, open_: Open) -> None:
    error = await fail(vendor, open_, Generation.V1, fault=Fault.UNAUTHORIZED)
    assert str(error).startswith(
        "the vendor rejects the API key (HTTP 401): unauthorized: Incorrect API key provided: ["
    )
    assert error.vendor_error_id == "err-unauthorized-0001"


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "%b", "name": "%b", "message": "%b"}',
        b'{"id": "x y", "message": "%b\\u0000\\u202e\\n%b", "errors": ["%b"]}',
        b'{"errors": ["%b", 3], "name": 7, "message": null}',
        b'{"name": {"%b": 1}, "id": 12}',
        b"%b",
    ],
)
async def test_no_shape_of_error_brings_the_key_through(
    vendor: Vendor, open_: Open, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reply = Reply(400, body.replace(b"%b", KEY.encode()))
    error = await fail(vendor, open_, Generation.V1, fault=reply)
    assert type(error) is UnexpectedAnswer
    assert error.vendor_error_id is None
    assert str(error).isprintable()
    assert_no_key(error, caplog)


async def test_a_long_error_is_cut_short(vendor: Vendor, open_: Open) -> None:
    reply = Reply(403, b'{"message": "' + b"word " * 5000 + b'"}')
    assert len(str(await fail(vendor, open_, Generation.V1, fault=reply))) < 260


async def test_a_redirect_is_not_followed(vendor: Vendor, open_: Open) -> None:
    async with Vendor({}, []) as elsewhere:
        vendor.elsewhere = f"{elsewhere.url}/v1/user/balance"
        await fail(vendor, open_, Generation.V1, fault=Fault.REDIRECT)
        assert not elsewhere.requests


@pytest.mark.parametrize("fault", [Fault.ENDLESS, Fault.GZIP_BOMB, Fault.HUGE_HEADER, Fault.DEEP])
async def test_a_flood_is_not_kept_in_memory(vendor: Vendor, open_: Open, fault: Fault) -> None:
    kind = ProviderUnavailable if fault is Fault.HUGE_HEADER else UnexpectedAnswer
    await fail(vendor, open_, Generation.V1, fault=fault, kind=kind)  # warm: the sandbox packs its bomb
    tracemalloc.start()
    try:
        await fail(vendor, open_, Generation.V1, fault=fault, kind=kind)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sandbox_holds = 10_000_000 if fault is Fault.HUGE_HEADER else 0
    assert peak < 3_000_000 + sandbox_holds

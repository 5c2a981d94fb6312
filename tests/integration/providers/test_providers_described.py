"""Vendors of the catalogue over real HTTP: the key in its place, exact figures, the right error for every refusal."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from canary import assert_no_key
from vendors import CATALOGUE, ORGANIZATION, PAGE, REFUSALS, Vendors, echoing, key_of, of_one, variables_of

from monitor.errors import (
    AccessDenied,
    ConfigError,
    CredentialRejected,
    FetchError,
    NoCredits,
    ProviderUnavailable,
    RateLimited,
    UnexpectedAnswer,
)
from monitor.model import Generation, RateLimit
from monitor.providers import Access, open_provider
from monitor.providers.described import Described
from monitor.sandbox.loopback import HTML, TEXT, Loopback, Reply, Request

Opener = Callable[..., Described]
SECOND = timedelta(seconds=1)


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    async with Vendors() as serving:
        yield serving


@pytest.fixture
async def open_(vendors: Vendors) -> AsyncIterator[Opener]:
    opened: list[Described] = []

    def open_one(name: str, **changes: Any) -> Described:
        made = CATALOGUE[name]
        given: dict[str, Any] = {
            "base_url": vendors.url(name),
            "api_key": key_of(name),
            "generation": Generation.V1,
            "rate_limit": None,
            "deadline": 30 * SECOND,
            "description": replace(made, every_min=timedelta(hours=1)),  # nothing is tried again
            "variables": variables_of(made),
        }
        provider = open_provider(Access(**{**given, **changes}))
        assert isinstance(provider, Described)
        opened.append(provider)
        return provider

    yield open_one
    for provider in opened:
        await provider.aclose()


def organization_of(name: str) -> str | None:
    return ORGANIZATION if CATALOGUE[name].organizations else None


async def test_each_vendor_is_asked_as_it_wants_and_its_figures_are_exact(vendors: Vendors, open_: Opener) -> None:
    for name, made in CATALOGUE.items():
        provider = open_(name)
        if made.organizations:
            (listed,) = await provider.fetch_organizations()
            assert (listed.id, listed.name) == (ORGANIZATION, "Seven")
        balances = await provider.fetch(organization_of(name))
        expected = [(organization_of(name) or id_, amount, unit) for id_, amount, unit in made.samples[0].expect]
        assert [(balance.id, balance.credits, balance.unit) for balance in balances] == expected
    assert vendors.wrong == []


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_every_vendor_refuses_in_the_right_words_and_never_with_the_key(
    vendors: Vendors, open_: Opener, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply, kind, words = REFUSALS[refusal]
    vendors.fault = lambda name, _: echoing(reply, name)

    async def refuse(name: str) -> None:
        with pytest.raises(FetchError) as caught:
            await open_(name).fetch(organization_of(name))
        assert type(caught.value) is (kind or of_one(name)), name
        assert words in str(caught.value), name
        assert_no_key(caught.value, caplog)

    await asyncio.gather(*map(refuse, CATALOGUE))
    assert vendors.wrong == []


async def test_a_429_pauses_its_key_and_no_other(vendors: Vendors, open_: Opener) -> None:
    vendors.fault = lambda *_: Reply(429, b"{}")
    paused = open_("deepseek", description=CATALOGUE["deepseek"])
    with pytest.raises(RateLimited):
        await paused.fetch()
    vendors.fault = None
    with pytest.raises(RateLimited, match="waiting for another"):
        await paused.fetch()
    assert len(vendors.requests["deepseek"]) == 1
    assert await open_("bfl").fetch()


async def test_nothing_answers_in_a_closed_port_and_the_key_is_not_told(open_: Opener) -> None:
    server = Loopback(lambda _: Reply())
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    await server.stop()
    with pytest.raises(ProviderUnavailable) as caught:
        await open_("serpapi", base_url=url).fetch()
    assert "canary" not in str(caught.value).lower()


# --- what a description can say of refusals and requests --------------------------------------------------------------


@pytest.fixture
def ask(described_by: Callable[[str], Any]) -> Callable[..., Any]:
    """Asks a vendor that is described by some TOML and answers with a reply; returns what came, and the requests."""
    requests: list[Request] = []

    async def asking(toml: str, reply: Reply, *, times: int = 1, **changes: Any) -> tuple[Any, list[Request]]:
        def answer(request: Request) -> Reply:
            requests.append(request)
            return reply

        server = Loopback(answer)
        await server.start()
        base_url = f"http://127.0.0.1:{server.port}"
        given: dict[str, Any] = {"base_url": base_url, "api_key": "key-CANARYcanary", "variables": {}}
        provider = open_provider(
            Access(
                **{**given, **changes},
                generation=Generation.V1,
                rate_limit=None,
                deadline=SECOND,
                description=described_by(toml),
            )
        )
        try:
            for _ in range(times):
                came = await provider.fetch()
        except FetchError as error:
            came = error  # type: ignore[assignment]
        finally:
            await provider.aclose()
            await server.stop()
        return came, requests

    return asking


URL = 'url = "https://api.example.com/v1/balance"\n'
PLAIN = URL + 'balance = "b"\nunit = "USD"\n'


@pytest.mark.parametrize(
    ("toml", "reply", "kind"),
    [
        (PLAIN + "rejected = { errorId = 1 }", Reply(200, b'{"errorId":1,"b":5}'), CredentialRejected),
        (PLAIN + "rejected = { errorId = 1 }", Reply(500, b'{"errorId":1}'), CredentialRejected),
        (PLAIN + "rejected = { errorId = 1 }", Reply(200, b'{"errorId":"1"}'), UnexpectedAnswer),
        (PLAIN + "rejected = { errorId = 1 }", Reply(200, b'{"errorId":true}'), UnexpectedAnswer),
        (PLAIN + "denied = { 'e.code' = ['x', 'y'] }", Reply(400, b'{"e":{"code":"y"}}'), AccessDenied),
        (PLAIN + "empty = { code = 'quota' }", Reply(429, b'{"code":"quota"}'), NoCredits),
        (PLAIN + "rejected = { a = 1 }\nempty = { a = 1 }", Reply(200, b'{"a":1}'), CredentialRejected),
        (PLAIN + "empty = { a = 1 }\nstatus = { 418 = 'wait' }", Reply(418, b'{"a":1}'), NoCredits),
        (PLAIN + "status = { 404 = 'no_credits' }", Reply(404, b"{}"), NoCredits),
        (PLAIN + "status = { 404 = 'no_credits' }", Reply(404, PAGE, HTML), NoCredits),
        (PLAIN + "status = { 403 = 'unavailable' }", Reply(403, b"{}"), ProviderUnavailable),
        (PLAIN + "status = { 400 = 'credential' }", Reply(400, b"{}"), CredentialRejected),
        (PLAIN + "status = { 503 = 'wait' }", Reply(503, b"{}"), RateLimited),
        (PLAIN, Reply(400, b'{"message":"x"}'), UnexpectedAnswer),
        (PLAIN, Reply(400, PAGE, HTML), ProviderUnavailable),
        (PLAIN, Reply(204, b""), UnexpectedAnswer),
        (PLAIN, Reply(403, b"Forbidden", TEXT), ProviderUnavailable),
    ],
)  # fmt: skip
async def test_words_come_before_a_status_and_a_status_before_what_is_usual(
    ask: Any, toml: str, reply: Reply, kind: type[FetchError]
) -> None:
    came, _ = await ask(toml, reply)
    assert type(came) is kind


TEXT_VENDOR = (
    URL + "format = 'text'\npattern = '^BALANCE:(?P<balance>[0-9.]+)'\nunit = 'USD'\nrejected = ['^BAD_KEY']\n"
)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(200, b"BAD_KEY", HTML), CredentialRejected),
        (Reply(403, b"BAD_KEY", HTML), CredentialRejected),
        (Reply(403, b"go away", TEXT), CredentialRejected),
        (Reply(200, b"NO_SUCH", TEXT), UnexpectedAnswer),
        (Reply(200, PAGE, HTML), ProviderUnavailable),
        (Reply(500, b"x", TEXT), ProviderUnavailable),
    ],
)
async def test_a_vendor_of_plain_text_is_understood_too(ask: Any, reply: Reply, kind: type[FetchError]) -> None:
    came, _ = await ask(TEXT_VENDOR, reply)
    assert type(came) is kind


async def test_text_with_the_type_of_a_page_is_a_balance(ask: Any) -> None:
    came, _ = await ask(TEXT_VENDOR, Reply(200, b"BALANCE:12.5", HTML))
    assert came[0].credits == Decimal("12.5")


async def test_bodies_headers_and_variables_go_where_they_are_written(ask: Any) -> None:
    toml = (
        URL.replace("/balance", "/{team}/balance?team={team}")
        + "balance = 'b'\nunit = 'USD'\nmethod = 'POST'\nauth = { header = 'X-Key', prefix = 'Token ' }\n"
        "headers = { X-Team = '{team}', X-Org = '{organization}', X-Region = '{region}', Accept = 'text/json' }\n"
        "[providers.odd.json]\nquery = 'query {{ me {{ b }} }}'\nteam = ['{team}', 1.50, true]\nid = '{uuid}'"
    )
    variables = {"team": "a/b c", "region": ""}
    came, requests = await ask(toml, Reply(200, b'{"b":1}'), variables=variables, times=2)
    assert came[0].credits == 1
    first, second = requests
    assert (first.method, first.path) == ("POST", "/v1/a%2Fb%20c/balance?team=a/b%20c")  # a slash is none in a query
    assert first.headers["x-key"] == "Token key-CANARYcanary"
    assert first.headers["x-team"] == "a/b c"
    assert not {"x-org", "x-region", "authorization"} & set(first.headers)
    assert (first.headers["content-type"], first.headers["accept"]) == ("application/json", "text/json")
    assert b'{"query": "query { me { b } }", "team": ["a/b c", 1.50, true], "id": "' in first.body
    assert first.body != second.body  # a new {uuid} each time


@pytest.mark.parametrize(
    "value", ["../x", "a/../b", "%2f", "%2e%2e", "?x=1", "#f", "a&b=c", "a+b", "a;b", "a\\b", "..."]
)
async def test_a_variable_cannot_leave_its_place_on_the_wire(ask: Any, value: str) -> None:
    toml = "url = 'https://api.example.com/v1/{x}/b?x={x}&y=1'\nbalance = 'b'\nunit = 'USD'\n"
    _, (request,) = await ask(toml, Reply(200, b'{"b":1}'), variables={"x": value})
    path, _, query = request.path.partition("?")
    assert [unquote(part) for part in path.split("/")] == ["", "v1", value, "b"]
    assert parse_qs(query) == {"x": [value], "y": ["1"]}


async def test_a_form_has_its_own_escaping(ask: Any) -> None:
    toml = PLAIN + "method = 'POST'\nauth = 'none'\nform = { apikey = '{key}', action = 'get balance', n = 5 }"
    _, (request,) = await ask(toml, Reply(200, b'{"b":1}'), api_key="a&b=c+d")
    assert request.body == b"apikey=a%26b%3Dc%2Bd&action=get+balance&n=5"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("value", ["a\nb", "é", "a:b"])
async def test_a_variable_that_no_request_can_hold_is_a_mistake(described_by: Any, value: str) -> None:
    access = Access(
        base_url="http://127.0.0.1:9",
        api_key="k",
        generation=Generation.V1,
        rate_limit=RateLimit(1, SECOND),
        deadline=SECOND,
        description=described_by(PLAIN + "auth = { basic = '{sid}' }"),
        variables={"sid": value},
    )
    with pytest.raises(ConfigError, match=r"vars\.sid"):
        open_provider(access)


async def test_nothing_is_asked_again_before_every_min_is_over(ask: Any) -> None:
    came, requests = await ask(PLAIN + "every_min = '1s'", Reply(200, b'{"b":1}'), times=2)
    assert came[0].credits == 1
    assert requests[1].at - requests[0].at >= 0.99
    failure, again = await ask(PLAIN + "every_min = '1h'", Reply(500, b"{}"))
    assert isinstance(failure, ProviderUnavailable)
    assert len(again) == 3  # with the two above: no retry within the hour
    for reply in (Reply(200, b'{"b":7}'), Reply(401, b"{}")):
        came, _ = await ask(PLAIN + "every_min = '1h'", reply, times=2)
        assert isinstance(came, CredentialRejected) or came[0].credits == 7
    assert len(again) == 5  # the second time there was the last answer

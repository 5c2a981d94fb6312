"""Described vendors over real HTTP: each answers its sample to who has its key in the right place."""

import asyncio
import base64
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

from monitor.config.descriptions import read_description
from monitor.config.vendors import built_in_names, built_in_text
from monitor.errors import (
    AccessDenied,
    CredentialRejected,
    FetchError,
    NoCredits,
    ProviderUnavailable,
    RateLimited,
    UnexpectedAnswer,
)
from monitor.providers.description import Description, Place
from monitor.sandbox.loopback import HTML, JSON, TEXT, Loopback, Misbehaviour, Reply, Request

CATALOGUE: Mapping[str, Description] = {
    name: read_description(name, tomllib.loads(built_in_text(name), parse_float=Decimal)["providers"][name])[0]
    for name in built_in_names()
}
ORGANIZATION = "org-7"


def variables_of(made: Description) -> dict[str, str]:
    """A value for every variable of a description."""
    return {name: "sms.example.com" if name == "host" else f"{name}-1" for name in made.variables}


def key_of(name: str) -> str:
    """The key of the one account at a vendor, no two alike."""
    return f"key/{name}+CANARYcanary=="


@dataclass
class Vendors:
    """Serves every vendor of the catalogue below a path of its own: an account's base URL is `url(name)`.

    `fault`: what is answered instead of the sample.  `wrong` has what a request had that it should not have.
    """

    fault: Callable[[str, Request], Reply | Misbehaviour] | None = None
    own_organizations: bool = False  # each vendor lists one of its own

    def __post_init__(self) -> None:
        self.requests: dict[str, list[Request]] = {}
        self.wrong: list[str] = []
        self._servers: dict[str, Loopback] = {}

    async def __aenter__(self) -> Self:
        for name in CATALOGUE:
            self._servers[name] = Loopback(lambda request, name=name: self._answer(name, request))  # type: ignore[misc]
            await self._servers[name].start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers.values():
            await server.stop()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].port}"

    def _organization(self, made: Description) -> str:
        return organization_of(made) if self.own_organizations else ORGANIZATION

    def _answer(self, name: str, request: Request) -> Reply | Misbehaviour:
        self.requests.setdefault(name, []).append(request)
        made = CATALOGUE[name]
        if problem := misplaced_key(made, request, key_of(name)):
            self.wrong.append(f"{name}: {problem}")
            return Reply(401, b"{}")
        if self.fault is not None:
            return self.fault(name, request)
        if made.organizations and urlsplit(request.path).path == made.organizations.url.fill(
            {}, "http://x"
        ).removeprefix("http://x"):
            return Reply(body=json.dumps(listing(made, self._organization(made))).encode())
        expected = path_of(made, self._organization(made))
        if request.path.partition("?")[0] != expected.partition("?")[0]:
            self.wrong.append(f"{name}: asked for {request.path} instead of {expected}")
        if request.method != made.method:
            self.wrong.append(f"{name}: {request.method}")
        return Reply(body=made.samples[0].body.encode(), headers=JSON if made.pattern is None else TEXT)


def organization_of(made: Description) -> str:
    """An id that no two vendors have."""
    return f"{ORGANIZATION}-{list(CATALOGUE).index(made.name)}"


def path_of(made: Description, organization: str = ORGANIZATION) -> str:
    """Path and query of the request for a balance, without the key."""
    assert made.url is not None
    return made.url.fill({**variables_of(made), "organization": organization}, "http://x").removeprefix("http://x")


def listing(made: Description, organization: str = ORGANIZATION) -> dict[str, Any]:
    """What a vendor lists: one organization."""
    assert made.organizations is not None
    entry = {made.organizations.id: organization}
    if made.organizations.name:
        entry[made.organizations.name] = "Seven"
    return {made.organizations.each: [entry]}


def misplaced_key(made: Description, request: Request, key: str) -> str | None:
    """Why the key is not where it belongs, or somewhere else, too; None when all is well."""
    places = _places(made, request)
    wanted = _wanted(made, key)
    found = {place for place, text in places.items() if _holds(text, key)}
    if wanted not in found:
        return f"no key in {wanted}: {places}"
    return f"the key is also in {found - {wanted}}" if found - {wanted} else None


def _wanted(made: Description, key: str) -> str:
    return {
        Place.BEARER: "authorization",
        Place.BASIC: "authorization",
        Place.HEADER: made.auth.name.lower(),
        Place.QUERY: f"?{made.auth.name}",
        Place.NONE: "body",
    }[made.auth.place]


def _places(made: Description, request: Request) -> dict[str, str]:
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    places = dict(request.headers) | {f"?{name}": value for name, values in query.items() for value in values}
    places["path"] = urlsplit(request.path).path
    body = request.body.decode()
    if body.startswith("{"):
        body = " ".join(map(str, json.loads(body).values()))
    elif body:
        body = " ".join(value for values in parse_qs(body).values() for value in values)
    places["body"] = body
    authorization = places.get("authorization", "")
    if authorization.startswith("Basic "):
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        places["authorization"] = password if user in variables_of(made).values() else ""
    return places


def _holds(text: str, key: str) -> bool:
    return key in text or quote(key, safe="") in text


# --- refusals ---------------------------------------------------------------------------------------------------------


def of_one(name: str) -> type[FetchError]:
    return CredentialRejected if CATALOGUE[name].is_one_balance else AccessDenied


ECHO = "CANARY"  # replaced by the key
PAGE = b"<!DOCTYPE html><html><body>CANARY</body></html>"


async def _truncated(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"credits": 12')
    await writer.drain()


REFUSALS: dict[str, tuple[Reply | Misbehaviour, type[FetchError] | None, str]] = {
    "401": (Reply(401, b'{"error":{"message":"no such key CANARY"}}'), CredentialRejected, "rejects the API key"),
    "402": (Reply(402, b'{"detail":"empty CANARY"}'), NoCredits, "no credits are left"),
    "403 of the vendor": (Reply(403, b'{"message":"not for CANARY"}'), None, "refuses access"),
    "403 of any JSON": (Reply(403, b"{}"), None, "refuses access"),
    "403 of a gateway": (Reply(403, PAGE, HTML), ProviderUnavailable, "a gateway before the vendor"),
    "404": (Reply(404, b'{"error":"nothing at CANARY"}'), AccessDenied, "is not there"),
    "429": (
        Reply(429, b'{"message":"slow down CANARY"}', {**JSON, "Retry-After": "90"}),
        RateLimited,
        "waiting for 90 s",
    ),
    "500": (Reply(500, b'{"message":"fault CANARY"}'), ProviderUnavailable, "the vendor has a fault"),
    "502": (Reply(502, PAGE, HTML), ProviderUnavailable, "behind its gateway"),
    "a page": (Reply(200, PAGE, HTML), ProviderUnavailable, "a gateway's page"),
    "truncated": (_truncated, ProviderUnavailable, "ended too early"),
    "cut short": (Reply(200, b'{"data":{"CANARY'), UnexpectedAnswer, ""),
    "empty": (Reply(200, b""), UnexpectedAnswer, "is empty"),
    "an empty object": (Reply(200, b"{}"), UnexpectedAnswer, ""),
    "an error in a 200": (Reply(200, b'{"error":{"message":"bad CANARY"},"code":7}'), UnexpectedAnswer, ""),
    "a redirect": (
        Reply(302, b"", {"Location": "https://example.com/?k=CANARY"}),
        UnexpectedAnswer,
        "redirects elsewhere",
    ),
}


def echoing(reply: Reply | Misbehaviour, name: str) -> Reply | Misbehaviour:
    """The reply with the vendor's own key in it."""
    if not isinstance(reply, Reply):
        return reply
    headers = {header: value.replace(ECHO, key_of(name)) for header, value in reply.headers.items()}
    return Reply(reply.status, reply.body.replace(ECHO.encode(), key_of(name).encode()), headers)

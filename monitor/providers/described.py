"""A vendor that is described and not programmed: requests as its description says, one answer for all its balances."""

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx

from monitor import __version__
from monitor.errors import AccessDenied, ConfigError, CredentialRejected, Mistake, UnexpectedAnswer
from monitor.model import Balance, VendorOrganization
from monitor.providers.answers import Meaning
from monitor.providers.asker import Asker, require_key
from monitor.providers.balances import read_answer, read_listing
from monitor.providers.base import Access, Trial
from monitor.providers.command import CommandClient, Run
from monitor.providers.description import Description, Place
from monitor.providers.http import Answer, Request
from monitor.providers.templates import Unusable, UrlTemplate, fill, fill_all, header_value, user, variables

_ANSWER_BYTES: Final = 256 * 1024
_PRINTED_BYTES: Final = 64 * 1024
_LISTING_BYTES: Final = 1024 * 1024
Listed = tuple[tuple[VendorOrganization, ...], tuple[str, ...]]


class Described:
    """One account at a vendor that a description says all about."""

    def __init__(self, access: Access, made: Description) -> None:
        if made.uses_key or (made.command and access.api_key):
            require_key(access.api_key)
        self._made = made
        self._secret = access.api_key if made.uses_key or made.command else ""
        self._values = {**access.variables, "organization": ""}
        self._base_url = access.base_url or None
        forbidden = CredentialRejected if made.is_one_balance else AccessDenied
        self._meaning = Meaning(made.status, forbidden, is_text=made.pattern is not None, key_help=made.key_help or "")
        self._unusable: tuple[str, ...] = ()
        self._requests: dict[str | None, Request] = {}  # by organization: to make one costs a third of a check
        if made.command:
            client = CommandClient(made.command[0], key_help=made.key_help or "")
            self._asker = Asker(access, client=client, every_min=made.every_min)
        else:
            self._asker = Asker(replace(access, base_url=self._try_out()), every_min=made.every_min)

    def _try_out(self) -> str:
        """Return scheme, host and port; raise `ConfigError` for a variable that cannot stand where it is used."""
        try:
            self._made.try_out(self._values, self._base_url)
            return self._url.origin(self._values, self._base_url)
        except Unusable as error:
            raise ConfigError([Mistake(f"vars.{error.name}", str(error))]) from None

    @property
    def _url(self) -> UrlTemplate:
        if self._made.url is None:
            raise AssertionError
        return self._made.url

    async def fetch(self, organization: str | None = None) -> tuple[Balance, ...]:
        """Return every balance of one answer; of `organization`, where each has a request of its own."""
        request, max_bytes = self._request_for(organization), self._max_bytes
        retries = not self._made.command  # a program that fails is not run again at once
        return await self._asker.ask(
            request, lambda answer: self._read(answer, organization), max_bytes=max_bytes, retries=retries
        )

    async def try_once(self, organization: str | None = None) -> Trial:
        """Ask for the same, once and without retries; return what came, whatever it was."""
        request = self._request_for(organization)
        return await self._asker.try_once(
            request, lambda answer: self._read(answer, organization), secret=self._secret, max_bytes=self._max_bytes
        )

    @property
    def _max_bytes(self) -> int:
        return _PRINTED_BYTES if self._made.command else _ANSWER_BYTES

    def _read(self, answer: Answer, organization: str | None) -> tuple[Balance, ...]:
        balances = read_answer(self._made, answer, secret=self._secret, meaning=self._meaning)
        if organization is None or not self._made.asks_each:
            return balances
        return tuple(replace(balance, id=organization) for balance in balances)

    async def fetch_organizations(self) -> tuple[VendorOrganization, ...]:
        """Return every organization the key sees, in the vendor's order."""
        listed = self._made.organizations
        if self._made.command:
            return ()  # the configuration names them
        if listed is None:
            raise UnexpectedAnswer("this vendor has no list of organizations")
        request = self._request(listed.url, self._values)
        organizations, self._unusable = await self._asker.ask(request, self._read_listing, max_bytes=_LISTING_BYTES)
        return organizations

    def _read_listing(self, answer: Answer) -> Listed:
        return read_listing(self._made, answer, secret=self._secret, meaning=self._meaning)

    def unusable(self) -> tuple[str, ...]:
        """Return a line for each organization of the last listing that cannot be watched."""
        return self._unusable

    def vendor_time(self) -> datetime | None:
        """Return the vendor's clock at its last answer, in whole seconds; None when the answer had no date."""
        return self._asker.vendor_time()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _request_for(self, organization: str | None) -> Request | Run:
        if self._made.command:
            return self._run(organization or "")
        if organization in self._requests:
            return self._requests[organization]
        if organization is not None and not organization.isprintable():
            raise UnexpectedAnswer("the organization's id is no plain text")
        try:
            request = self._request(self._url, {**self._values, "organization": organization or ""})
        except Unusable:
            what = "its id" if organization else "an organization, and has none: list it with its id"
            raise UnexpectedAnswer(f"the request has to name {what}") from None
        if not self._made.is_never_alike:
            self._requests[organization] = request
        return request

    def _run(self, organization: str) -> Run:
        values = {**self._values, "organization": organization, "uuid": str(uuid.uuid4())}
        arguments = tuple(fill(argument, values) for argument in self._made.command)
        return Run("RUN", " ".join(arguments), arguments, organization, self._secret)

    def _request(self, url: UrlTemplate, values: Mapping[str, str]) -> Request:
        made, auth = self._made, self._made.auth
        values = {**values, "uuid": str(uuid.uuid4())}
        address = url.fill(values, self._base_url)
        if auth.place is Place.QUERY:
            address += ("&" if url.query is not None else "?") + f"{auth.name}={quote(self._secret, safe='')}"
        headers = self._headers(values)
        body_values = {**values, "key": self._secret}
        is_listing = url is not self._url
        content = b""
        if made.json is not None and not is_listing:
            headers.setdefault("Content-Type", "application/json")
            content = _json(fill_all(made.json, body_values)).encode()
        elif made.form is not None and not is_listing:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
            content = urlencode(fill_all(made.form, body_values)).encode()
        return Request("GET" if is_listing else made.method, httpx.URL(address), headers, content)

    def _headers(self, values: Mapping[str, str]) -> httpx.Headers:
        headers = httpx.Headers(
            {
                "Accept": "*/*" if self._made.pattern is not None else "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"credit-monitor/{__version__}",
            }
        )
        for name, text in self._made.headers.items():
            names = variables(text)
            if all(values[used] for used in names):
                headers[name] = fill(text, values, escape=header_value)
        if authorization := self._authorization(values):
            headers.update(authorization)
        return headers

    def _authorization(self, values: Mapping[str, str]) -> dict[str, str]:
        auth = self._made.auth
        if auth.place is Place.BEARER:
            return {"Authorization": f"Bearer {self._secret}"}
        if auth.place is Place.HEADER:
            return {auth.name: fill(auth.prefix, values, escape=header_value) + self._secret}
        if auth.place is Place.BASIC:
            login = f"{fill(auth.name, values, escape=user)}:{self._secret}"
            return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        return {}


def _json(value: Any) -> str:
    """Return JSON in which numbers have the digits they were written with."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value)

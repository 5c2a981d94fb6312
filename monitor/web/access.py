"""Who may look: this machine where there is no token, who shows the token, and whom a trusted proxy vouches for.

A request that a proxy passed on is none of this machine, or a proxy beside the daemon would open it to the world.
"""

import base64
import binascii
import hmac
import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from monitor.config import Web
from monitor.web.answer import plain

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_WRONG: Final = 20  # passwords ...
WITHIN: Final = 60.0  # seconds, from one address
ADDRESSES: Final = 1000  # that are remembered
OPEN: Final = ("/healthz", "/readyz")
FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
BASIC: Final = 'Basic realm="credit-monitor", charset="UTF-8"'
BEARER: Final = "Bearer"


@dataclass(slots=True)
class Wrong:
    """Wrong passwords of late, by address."""

    clock: Callable[[], float] = time.monotonic
    _by_address: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def are_too_many(self, address: str) -> bool:
        """Return whether an address has to wait."""
        given = self._by_address.get(address)
        while given and self.clock() - given[0] > WITHIN:
            given.popleft()
        return bool(given) and len(given or ()) >= MOST_WRONG

    def add(self, address: str) -> None:
        """Count one more."""
        self._by_address.setdefault(address, deque(maxlen=MOST_WRONG)).append(self.clock())
        self._by_address.move_to_end(address)
        if len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Decides of each request whether it is answered."""

    web: Web
    token: str | None
    wrong: Wrong = field(default_factory=Wrong)

    def refusal(self, scope: Scope, path: str) -> Response | None:
        """Return the answer to who may not look; None for the others."""
        if path in OPEN:
            return None
        headers, peer = Headers(scope=scope), _address((scope.get("client") or ("", 0))[0])
        is_trusted = self._is_trusted(peer)
        if is_trusted and self.web.user_header:
            if headers.get(self.web.user_header, "").strip():
                return None
            return plain(403, f"the proxy does not say who asks: {self.web.user_header} (web.user_header) is missing")
        if self.token is None:
            return self._without_token(headers, peer)
        return self._with_token(headers, self._client(headers, peer), path)

    def _without_token(self, headers: Headers, peer: Address | None) -> Response | None:
        is_forwarded = any(name in headers for name in FORWARDED)
        if self.web.is_loopback and not is_forwarded and (peer is None or peer.is_loopback):
            return None
        return plain(
            403, "only this machine may look; others need web.token_file, or web.trusted_proxies and user_header"
        )

    def _with_token(self, headers: Headers, client: str, path: str) -> Response | None:
        if self.wrong.are_too_many(client):
            return plain(429, "too many wrong passwords; wait a minute", {"Retry-After": f"{WITHIN:.0f}"})
        given = headers.get("authorization", "")
        if given and self._is_right(given):
            return None
        if given:
            self.wrong.add(client)
        scheme = BEARER if path == "/metrics" else BASIC
        hint = "the token of web.token_file is needed" + ("" if path == "/metrics" else ", as the password of any user")
        return plain(401, hint, {"WWW-Authenticate": scheme})

    def _is_right(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.web.trusted_proxies)

    def _client(self, headers: Headers, peer: Address | None) -> str:
        """Return who is behind the trusted proxies: the right-most address that is none of them; IPv6 by its /64."""
        client = peer
        if self._is_trusted(peer):
            for written in reversed(_forwarded_for(headers)):
                address = _address(written)
                if address is None:
                    break
                client = address
                if not self._is_trusted(address):
                    break
        if isinstance(client, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((client, 64), strict=False))
        return str(client)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _forwarded_for(headers: Headers) -> Sequence[str]:
    """Return the addresses of a request's way, the nearest last, without their ports."""
    listed = [part.strip() for value in headers.getlist("x-forwarded-for") for part in value.split(",")]
    if not listed:
        parts = (part for value in headers.getlist("forwarded") for part in value.split(","))
        pairs = (pair.strip().partition("=") for part in parts for pair in part.split(";"))
        listed = [value.strip('"') for name, _, value in pairs if name.strip().lower() == "for"]
    return [_without_port(written) for written in listed]


def _without_port(written: str) -> str:
    if written.startswith("["):
        return written[1:].partition("]")[0]
    return written.partition(":")[0] if written.count(":") == 1 else written

"""The simulated vendor: organizations with credits, keys that see them, both endpoints of both generations.

Real HTTP on loopback for the demo and the tests.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from monitor.model import Generation
from monitor.sandbox.faults import Fault, answer, error
from monitor.sandbox.loopback import Loopback, Misbehaviour, Reply, Request

Trouble = Fault | Reply | None  # a `Reply` sends the bytes that a test needs
_ROUTES: Mapping[str, tuple[Generation, str]] = {
    f"/{generation.value}/user/{endpoint}": (generation, endpoint)
    for generation in Generation
    for endpoint in ("account", "balance")
}
_KEPT_REQUESTS = 10_000


@dataclass(slots=True)
class SandboxOrganization:
    """An organization of the simulated vendor; change it at any time."""

    id: str
    name: str
    credits: Decimal | Callable[[], Decimal]
    fault: Trouble = None

    def balance(self) -> bytes:
        """Return the body of a balance answer."""
        credits_now = self.credits() if callable(self.credits) else self.credits
        return b'{"credits": %b}' % format(credits_now, "f").encode()


@dataclass(frozen=True, slots=True)
class Limit:
    """The vendor's rate limit: more than `requests` in `window` seconds earns 429 for `timeout` seconds, per key."""

    requests: int = 150
    window: float = 10
    timeout: float = 60


class Vendor:
    """`keys` maps each API key to the ids it sees, the default organization first."""

    def __init__(
        self,
        keys: Mapping[str, Sequence[str]],
        organizations: Iterable[SandboxOrganization],
        *,
        limit: Limit | None = None,
    ) -> None:
        self.keys = dict(keys)
        self.organizations = {organization.id: organization for organization in organizations}
        self.fault: Trouble = None  # of every answer ...
        self.account_fault: Trouble = None  # ... and of the account endpoint alone
        self.requests: deque[Request] = deque(maxlen=_KEPT_REQUESTS)
        self.elsewhere = "http://127.0.0.1:9/elsewhere"  # where a redirect leads
        self._limit = limit
        self._recent: dict[str, deque[float]] = {}
        self._timeouts: dict[str, float] = {}
        self._loopback = Loopback(self._answer)

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self._loopback.port}"

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes any free port."""
        await self._loopback.start(port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self._loopback.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _answer(self, request: Request) -> Reply | Misbehaviour:
        self.requests.append(request)
        generation, endpoint = _ROUTES.get(request.path, (Generation.V1, None))
        key = _key(request, generation)
        if self.fault is not None:
            return self._misbehave(self.fault, generation, key=key)
        if endpoint is None:
            return error(generation, Fault.NOT_FOUND, key=key)
        if key not in self.keys:
            return error(generation, Fault.UNAUTHORIZED, key=key)
        if self._limit and self._is_over(self._limit, key, now=request.at):
            return error(generation, Fault.RATE_LIMITED, key=key)
        if endpoint == "account":
            return self._account(generation, key)
        return self._balance(request, generation, key=key)

    def _misbehave(self, trouble: Fault | Reply, generation: Generation, *, key: str) -> Reply | Misbehaviour:
        if isinstance(trouble, Reply):
            return trouble
        return answer(trouble, generation, key=key, elsewhere=self.elsewhere)

    def _account(self, generation: Generation, key: str) -> Reply | Misbehaviour:
        if self.account_fault is not None:
            return self._misbehave(self.account_fault, generation, key=key)
        listed = [
            {"id": id_, "name": self.organizations[id_].name, "role": "MEMBER", "is_default": place == 0}
            for place, id_ in enumerate(self.keys[key])
        ]
        user = {"email": "someone@example.org", "id": "user-1234", "profile_picture": "https://example.org/someone.png"}
        return Reply(body=json.dumps({**user, "organizations": listed}).encode())

    def _balance(self, request: Request, generation: Generation, *, key: str) -> Reply | Misbehaviour:
        seen = self.keys[key]
        id_ = request.headers.get("organization", seen[0] if seen else "")
        if id_ not in seen:
            return error(generation, Fault.FORBIDDEN, key=key)
        organization = self.organizations[id_]
        if organization.fault is not None:
            return self._misbehave(organization.fault, generation, key=key)
        return Reply(body=organization.balance())

    def _is_over(self, limit: Limit, key: str, *, now: float) -> bool:
        recent = self._recent.setdefault(key, deque())
        recent.append(now)
        while recent[0] <= now - limit.window:
            recent.popleft()
        if len(recent) > limit.requests:
            self._timeouts[key] = now + limit.timeout
        return now < self._timeouts.get(key, 0)


def _key(request: Request, generation: Generation) -> str:
    """Return the key that was sent, or what was sent instead of one: v1 takes `Bearer KEY`, v1alpha the key alone."""
    sent = request.headers.get("authorization", "")
    if generation is Generation.V1ALPHA:
        return sent
    return sent.removeprefix("Bearer ") if sent.startswith("Bearer ") else f"(no bearer) {sent}"

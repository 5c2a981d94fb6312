import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from canary import KEY, Open

from monitor.config.descriptions import read_description
from monitor.model import Generation
from monitor.providers import Access, Provider, open_provider
from monitor.providers.description import Description
from monitor.providers.rate_limit import RateLimiter
from monitor.sandbox import SandboxOrganization, Vendor


@pytest.fixture(params=list(Generation), ids=lambda generation: generation.value)
def generation(request: pytest.FixtureRequest) -> Generation:
    return Generation(request.param)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    organizations = [
        SandboxOrganization("org-1", "Render Farm", Decimal("1500.25")),
        SandboxOrganization("org-2", "Playground", Decimal("7.25")),
    ]
    async with Vendor({KEY: ["org-1", "org-2"], "sk-other": ["org-2"]}, organizations) as vendor:
        yield vendor


@pytest.fixture
async def open_(vendor: Vendor) -> AsyncIterator[Open]:
    """Opens providers on the vendor and closes them in the end."""
    opened: list[Provider] = []

    def open_one(generation: Generation = Generation.V1, *, seconds: float = 30, **changes: Any) -> Provider:
        defaults: dict[str, Any] = {"base_url": vendor.url, "api_key": KEY, "rate_limit": None}
        access = Access(**{**defaults, **changes}, generation=generation, deadline=timedelta(seconds=seconds))
        opened.append(open_provider(access))
        return opened[-1]

    yield open_one
    for provider in opened:
        await provider.aclose()


@pytest.fixture
def described_by() -> Callable[[str], Description]:
    """Makes a description of its TOML."""

    def make(toml: str) -> Description:
        values = tomllib.loads(f"[providers.odd]\n{toml}", parse_float=Decimal)["providers"]["odd"]
        made, problems = read_description("odd", values)
        assert problems == []
        return made

    return make


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each request was let go by a limiter, in the loop's seconds."""
    let_go: list[float] = []
    turn = RateLimiter.turn

    async def keep(limiter: RateLimiter) -> None:
        await turn(limiter)
        let_go.append(asyncio.get_running_loop().time())

    monkeypatch.setattr(RateLimiter, "turn", keep)
    return let_go

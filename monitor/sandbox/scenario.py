"""What happens at the simulated vendor during the demo: credits fall, one is topped up, one answers with errors.

Credits fall in the shape of a real usage series.  A lap can be played any number of times.
"""

import asyncio
import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Self

from monitor.sandbox.faults import Fault
from monitor.sandbox.loopback import Loopback, Reply, Request
from monitor.sandbox.vendor import SandboxOrganization, Vendor

_TICK = 0.2  # seconds
_PLACES = Decimal("0.000001")
DEMO_V1_KEY = "sk-demo0000000000000000000000000000000000000000000001"
DEMO_V1ALPHA_KEY = "sk-demo0000000000000000000000000000000000000000000002"
DEMO_WALLET_KEY = "sk-or-demo"


@dataclass(frozen=True, slots=True)
class Phase:
    """From `begin` to `end` (shares of a lap) an organization's credits fall by the usage series, or it has a fault."""

    organization: str
    begin: float
    end: float
    credits_from: Decimal = Decimal(0)
    credits_to: Decimal = Decimal(0)
    fault: Fault | None = None

    def covers(self, progress: float) -> bool:
        """Return whether a point of the lap is in this phase."""
        return self.begin <= progress < self.end

    def credits_at(self, progress: float) -> Decimal:
        """Return the balance at a point of the lap."""
        share = (progress - self.begin) / (self.end - self.begin)
        return balance(self.credits_from, self.credits_to, progress=share)


DEMO: tuple[Phase, ...] = (
    Phase("org-1001", 0.0, 0.35, Decimal(1600), Decimal(180)),  # through both default levels ...
    Phase("org-1001", 0.35, 0.45, Decimal(180), Decimal(60)),
    Phase("org-1001", 0.45, 0.6, Decimal(560), Decimal(420)),  # ... topped up halfway ...
    Phase("org-1001", 0.6, 1.0, Decimal(5420), Decimal(4900)),  # ... and for good
    Phase("org-1002", 0.0, 1.0, Decimal(3200), Decimal(2300)),
    Phase("org-1002", 0.5, 0.85, fault=Fault.SERVER_ERROR),
    Phase("org-2001", 0.0, 1.0, Decimal(1250), Decimal(640)),
)


class Wallet:
    """A second vendor, whose answer is in dollars: OpenRouter, as `credit-monitor providers show openrouter` has it."""

    def __init__(self) -> None:
        self.dollars = Decimal(30)
        self._loopback = Loopback(self._answer)

    @property
    def url(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self._loopback.port}"

    def _answer(self, _: Request) -> Reply:
        return Reply(body=b'{"data": {"total_credits": 100, "total_usage": %b}}' % f"{100 - self.dollars:f}".encode())

    async def __aenter__(self) -> Self:
        await self._loopback.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._loopback.stop()

    async def run(self, seconds: float) -> None:
        """Spend dollars for one lap of `seconds`: through both levels of the demo, and full again in the next."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while (progress := (loop.time() - began_at) / seconds) < 1:
            self.dollars = balance(Decimal(30), Decimal(4), progress=progress)
            await asyncio.sleep(min(_TICK, seconds / 20))


def demo_vendor() -> Vendor:
    """Return the demo's vendor before its first lap: one key for each generation, three organizations."""
    names = {"org-1001": "Render Farm", "org-1002": "Playground", "org-2001": "Archive"}
    organizations = [SandboxOrganization(id_, name, Decimal(0)) for id_, name in names.items()]
    vendor = Vendor({DEMO_V1_KEY: ["org-1001", "org-1002"], DEMO_V1ALPHA_KEY: ["org-2001"]}, organizations)
    set_scene(vendor, DEMO, progress=0.0)
    return vendor


def set_scene(vendor: Vendor, phases: tuple[Phase, ...], *, progress: float) -> None:
    """Set the vendor's organizations to their state at a point of the lap."""
    current = [phase for phase in phases if phase.covers(progress)]
    failing = {phase.organization: phase.fault for phase in current if phase.fault}
    for phase in current:
        if phase.fault is None:
            vendor.organizations[phase.organization].credits = phase.credits_at(progress)
    for organization in {phase.organization for phase in phases}:
        vendor.organizations[organization].fault = failing.get(organization)


async def run_scenario(vendor: Vendor, seconds: float, *, phases: tuple[Phase, ...] = DEMO) -> None:
    """Play one lap of `seconds`; the vendor stays as it is at the end."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while (progress := (loop.time() - began_at) / seconds) < 1:
        set_scene(vendor, phases, progress=progress)
        await asyncio.sleep(min(_TICK, seconds / 20))


# --- a real usage series, scaled to any span and fall -----------------------------------------------------------------


@cache
def spent_shares() -> tuple[float, ...]:
    """Return the share of all use that is spent after each row of the series: rises from above 0 to 1."""
    text = (files(__package__) / "usage.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    spent = list(accumulate(float(row["rate"]) for row in rows))
    return tuple(share / spent[-1] for share in spent)


def spent(progress: float) -> float:
    """Return the share spent at a point of the series (0 to 1), linear between two rows."""
    shares = (0.0, *spent_shares())
    position = min(max(progress, 0.0), 1.0) * (len(shares) - 1)
    row = min(int(position), len(shares) - 2)
    return shares[row] + (shares[row + 1] - shares[row]) * (position - row)


def balance(start: Decimal, end: Decimal, *, progress: float) -> Decimal:
    """Return the balance at a point of the series (0 to 1) when it falls from `start` to `end` over all of it."""
    return (start - (start - end) * Decimal(spent(progress))).quantize(_PLACES)

"""What happens at the simulated vendor during the demo: credits fall, one is topped up, one answers with errors.

A lap can be played again and again.  Refuses to start or watch the monitor: that is the demo's business.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from monitor.sandbox.faults import Fault
from monitor.sandbox.usage import balance
from monitor.sandbox.vendor import SandboxOrganization, Vendor

_TICK = 0.2  # seconds
DEMO_V1_KEY = "sk-demo0000000000000000000000000000000000000000000001"
DEMO_V1ALPHA_KEY = "sk-demo0000000000000000000000000000000000000000000002"


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `begin` to `end` (shares of a lap) an organization's credits fall by the usage series, or it has a fault."""

    organization: str
    begin: float
    end: float
    credits_from: Decimal = Decimal(0)
    credits_to: Decimal = Decimal(0)
    fault: Fault | None = None

    def covers(self, progress: float) -> bool:
        """Whether this stretch rules at a point of the lap."""
        return self.begin <= progress < self.end

    def credits_at(self, progress: float) -> Decimal:
        """The balance at a point of the lap."""
        share = (progress - self.begin) / (self.end - self.begin)
        return balance(self.credits_from, self.credits_to, progress=share)


DEMO: tuple[Stretch, ...] = (
    Stretch("org-1001", 0.0, 0.35, Decimal(1600), Decimal(180)),  # through both default levels ...
    Stretch("org-1001", 0.35, 0.45, Decimal(180), Decimal(60)),
    Stretch("org-1001", 0.45, 0.6, Decimal(560), Decimal(420)),  # ... topped up halfway ...
    Stretch("org-1001", 0.6, 1.0, Decimal(5420), Decimal(4900)),  # ... and for good
    Stretch("org-1002", 0.0, 1.0, Decimal(3200), Decimal(2300)),
    Stretch("org-1002", 0.5, 0.85, fault=Fault.SERVER_ERROR),
    Stretch("org-2001", 0.0, 1.0, Decimal(1250), Decimal(640)),
)


def demo_vendor() -> Vendor:
    """The demo's vendor before its first lap: one key for each generation, three organizations."""
    names = {"org-1001": "Render Farm", "org-1002": "Playground", "org-2001": "Archive"}
    organizations = [SandboxOrganization(id_, name, Decimal(0)) for id_, name in names.items()]
    vendor = Vendor({DEMO_V1_KEY: ["org-1001", "org-1002"], DEMO_V1ALPHA_KEY: ["org-2001"]}, organizations)
    set_scene(vendor, DEMO, progress=0.0)
    return vendor


def set_scene(vendor: Vendor, stretches: tuple[Stretch, ...], *, progress: float) -> None:
    """Make the vendor's organizations what they are at a point of the lap."""
    current = [stretch for stretch in stretches if stretch.covers(progress)]
    failing = {stretch.organization: stretch.fault for stretch in current if stretch.fault}
    for stretch in current:
        if stretch.fault is None:
            vendor.organizations[stretch.organization].credits = stretch.credits_at(progress)
    for organization in {stretch.organization for stretch in stretches}:
        vendor.organizations[organization].fault = failing.get(organization)


async def run_scenario(vendor: Vendor, seconds: float, *, stretches: tuple[Stretch, ...] = DEMO) -> None:
    """Play one lap of `seconds`; what stands at its end stays."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while (progress := (loop.time() - began_at) / seconds) < 1:
        set_scene(vendor, stretches, progress=progress)
        await asyncio.sleep(min(_TICK, seconds / 20))

"""A simulated vendor that a TOML file describes, for tests and benchmarks that run it in a process of its own.

```toml
[keys]
"sk-…" = ["org-1"]                # the default organization first

[organizations.org-1]
name = "Render Farm"
credits = "1500.25"

[[steps]]                         # seconds after the start
at = 2.5
organization = "org-1"            # left out: every answer of the vendor
credits = "150"
fault = "server_error"            # "none" ends it
```
"""

import asyncio
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from monitor.sandbox.faults import Fault
from monitor.sandbox.vendor import SandboxOrganization, Vendor


@dataclass(frozen=True, slots=True)
class Step:
    """One change, `at` seconds after the start."""

    at: float
    organization: str | None = None
    credits: str | None = None
    fault: str | None = None

    def apply(self, vendor: Vendor) -> None:
        """Make the change."""
        target = vendor if self.organization is None else vendor.organizations[self.organization]
        if self.fault is not None:
            target.fault = None if self.fault == "none" else Fault(self.fault)
        if self.credits is not None and isinstance(target, SandboxOrganization):
            target.credits = Decimal(self.credits)


@dataclass(frozen=True, slots=True)
class Script:
    """A vendor and the changes to come."""

    vendor: Vendor
    steps: tuple[Step, ...]

    async def play(self) -> None:
        """Apply every step at its time."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        for step in sorted(self.steps, key=lambda step: step.at):
            await asyncio.sleep(began_at + step.at - loop.time())
            step.apply(self.vendor)


def read_script(path: Path) -> Script:
    """Return the script of a file; any mistake in it is an ordinary exception."""
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    organizations = [
        SandboxOrganization(id_, settings.get("name", id_), Decimal(str(settings["credits"])))
        for id_, settings in content["organizations"].items()
    ]
    steps = tuple(Step(**step) for step in content.get("steps", ()))
    return Script(Vendor(content["keys"], organizations), steps)

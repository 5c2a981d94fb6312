"""Inside the machine: a vendor on port 8081 and a receiver on port 8082, steered by files.

`credits` is the balance; `deaf` in `mode` makes the receiver hang, `hang` both.  What the receiver takes becomes a line
of `received`.
"""

import asyncio
import json
import sys
from decimal import Decimal
from pathlib import Path

from monitor.sandbox import Behaviour, Fault, Received, Receiver, SandboxOrganization, Vendor

HERE = Path(sys.argv[1])


def keep(message: Received) -> None:
    with (HERE / "received").open("a") as lines:
        lines.write(json.dumps({"title": message.title, "path": message.path}) + "\n")


async def main() -> None:
    organization = SandboxOrganization("org-1", "Render Farm GmbH", lambda: Decimal((HERE / "credits").read_text()))
    vendor = Vendor({(HERE / "key").read_text(): ["org-1"]}, [organization])
    receiver = Receiver(keep)
    await vendor.start(8081)
    await receiver.start(8082)
    while True:
        mode = (HERE / "mode").read_text()
        vendor.fault = Fault.HANG if mode == "hang" else None
        receiver.behaviour = Behaviour.HANG if mode else Behaviour.TAKE
        await asyncio.sleep(0.1)


asyncio.run(main())

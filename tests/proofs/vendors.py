"""Every vendor of the catalogue in one run of the real daemon: exact figures, then every refusal, and no key anywhere.

`make vendors-proof`; about two minutes.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from vendor_stage import Stage, expected, running, settled, vendor_of
from vendors import CATALOGUE, REFUSALS, echoing, key_of, of_one
from wait import until


async def refuse(stage: Stage, refusal: str) -> None:
    """Let all refuse alike, until each has the right kind and words; then all answer again."""
    reply, kind, words = REFUSALS[refusal]
    stage.vendors.fault = lambda name, _: echoing(reply, name)

    def wrong() -> list[object]:
        rows = stage.rows().items()
        wanted = {name: (kind or of_one(vendor_of(name))).kind.value for name, _ in rows}
        return [(name, row[2:]) for name, row in rows if row[2] != wanted[name] or words not in row[3]]

    await until(lambda: not wrong(), why=lambda: f"{refusal}: {wrong()}")
    if refusal != "429":  # whose keys pause
        stage.vendors.fault = None
        await settled(stage)


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cm-vendors-") as folder:
        async with running(Path(folder)) as stage:
            await settled(stage)
            print(f"{len(CATALOGUE)} vendors, {len(expected())} balances: exact, each in its unit")
            for refusal in sorted(REFUSALS, key=lambda each: each == "429"):
                began = time.monotonic()
                await refuse(stage, refusal)
                print(f"{refusal}: right kind and words of all ({time.monotonic() - began:.1f} s)")
            seen = stage.everything()
            told = [name for name in CATALOGUE if key_of(name) in seen]
            print(f"keys in log, database or messages: {told or 'none'}; misplaced: {stage.vendors.wrong or 'none'}")
            return int(bool(told or stage.vendors.wrong or "CANARY" in seen))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

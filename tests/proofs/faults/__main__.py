"""`python -m tests.proofs.faults [--only NAME] [--database …] [--combinations N] [--seed N] [--list]`."""

import argparse
import asyncio
import sys
import time

from tests.proofs.faults.fault import BOTH, Fault
from tests.proofs.faults.scene import Scene
from tests.proofs.faults.suite import FAULTS, SCENES, Row, combinations, run, run_scenes

HEAD = (
    "| fault | database | said | doubles | back after | log lines (distinct) | memory MiB | descriptors | held |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---|"
)


def line(row: Row) -> str:
    """One row; what could not be shown says why."""
    if row.cannot:
        return f"| {row.name} | {row.database} | | | | | | | cannot be shown here: {row.cannot} |"
    if row.logged is None:
        return f"| {row.name} | {row.database} | | | | | | | **no** |"
    back = f"{row.recovered:.1f} s" if row.before else ""
    memory = f"{row.before.memory:.0f} → {row.after.memory:.0f}" if row.before and row.after else ""
    open_ = f"{row.before.descriptors} → {row.after.descriptors}" if row.before and row.after else ""
    held = "**no**" if row.problems else "yes"
    if row.waits_for:
        held = f"waits for {row.waits_for}"
    return (
        f"| {row.name} | {row.database} | {row.demanded} | {row.doubles or ''} | {back} "
        f"| {row.logged.lines} ({row.logged.distinct}) | {memory} | {open_} | {held} |"
    )


async def run_all(
    faults: list[Fault], scenes: list[Scene], kinds: tuple[str, ...], *, count: int, seed: int
) -> list[Row]:
    """Every row, printed as it comes."""
    rows = []
    print(HEAD, flush=True)
    for kind in kinds:
        mine = [*faults, *combinations(count, kind, seed=seed)]
        for some in (run(mine, kind, seed=seed), run_scenes(scenes, kind)):
            async for row in some:
                rows.append(row)
                print(line(row), flush=True)
                for problem in row.problems:
                    print(f"  {row.name} ({row.database}): {problem}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.proofs.faults", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="faults whose name holds this")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--database", choices=(*BOTH, "both"), default="both")
    parser.add_argument("--combinations", type=int, metavar="N", help="on each database; 12, with --only none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="name the faults")
    arguments = parser.parse_args()

    def is_wanted(one: Fault | Scene) -> bool:
        named = not arguments.only or any(word.lower() in one.name.lower() for word in arguments.only)
        return named and (one.quick or not arguments.quick)

    chosen, scenes = list(filter(is_wanted, FAULTS)), list(filter(is_wanted, SCENES))
    if arguments.list:
        print(*(one.name for one in (*chosen, *scenes)), sep="\n")
        return
    kinds = BOTH if arguments.database == "both" else (arguments.database,)
    began = time.monotonic()
    count = arguments.combinations if arguments.combinations is not None else 0 if arguments.only else 12
    rows = asyncio.run(run_all(chosen, scenes, kinds, count=count, seed=arguments.seed))
    wrong = [row for row in rows if row.problems and not row.waits_for]
    print(f"\n{len(rows)} faults in {time.monotonic() - began:.0f} s, seed {arguments.seed}")
    print("held" if not wrong else f"{len(wrong)} DID NOT HOLD")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

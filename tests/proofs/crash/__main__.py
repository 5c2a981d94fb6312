"""`python -m tests.proofs.crash [--kills 200] [--database sqlite|postgresql|both] [--seed N]`."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.proofs.crash.proof import prove
from tests.proofs.crash.verdict import FAULTS, Counts
from tests.support.server import running_server, upgraded


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty, migrated database."""
    if kind == "sqlite":
        yield upgraded(f"sqlite:///{folder / 'monitor.db'}")
        return
    with running_server() as server:
        yield upgraded(server.new())


def run(kind: str, *, kills: int, seed: int) -> Counts:
    folder = Path(tempfile.mkdtemp(prefix="crash-proof-"))
    with database(kind, folder) as url:
        counts = asyncio.run(prove(folder, url, kills=kills, seed=seed))
    if counts.faults():
        print(f"the daemon's logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def show(kind: str, counts: Counts) -> None:
    print(f"\n{kind}")
    for name, value in vars(counts).items():
        if name == "notes":
            print(*value[:20], sep="\n")
        elif name == "kills_by_way":
            print(f"  {'':26}" + ", ".join(f"{count} {way}" for way, count in sorted(value.items())))
        else:
            shown = f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
            must = "  (must be 0)" if name in FAULTS else ""
            print(f"  {name.replace('_', ' '):26}{shown:>10}{must}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.proofs.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    kinds = ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,)
    faults: dict[str, int] = {}
    for kind in kinds:
        counts = run(kind, kills=arguments.kills, seed=arguments.seed)
        show(kind, counts)
        faults |= {f"{kind}: {name}": count for name, count in counts.faults().items()}
    print("\nproven" if not faults else f"\nFAULTS: {faults}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

"""`python -m benchmarks.history`: see --help."""

import argparse
import os
from pathlib import Path

from benchmarks.history import commands, pruning, questions, sizes
from benchmarks.history.fill import newest
from benchmarks.history.stage import Stage, stage
from benchmarks.history.year import Year
from benchmarks.measure import more

PARTS = ("questions", "sizes", "commands", "pruning")
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL (from a wheel, with fsync and synchronous_commit off)"}


def print_parts(filled: Stage, year: Year, parts: list[str]) -> None:
    print(f"\n## {TITLES[filled.kind]}: {year.snapshots:,} balances of {year.organizations:,} organizations in a year")
    last = newest(filled.url)
    if "questions" in parts:
        questions.print_questions(filled.kind, filled.url, filled.plain_url, last)
    if "sizes" in parts:
        sizes.print_sizes(filled, year)
    if "commands" in parts:
        commands.print_commands(filled, year)
    if "pruning" in parts:
        pruning.print_pruning(filled, last)
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.history", description="Ten million balances, asked.")
    parser.add_argument("--snapshots", type=int, default=10_000_000)
    parser.add_argument("--organizations", type=int, default=1_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the databases there, or use those there again")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; may be given several times")
    arguments = parser.parse_args()
    year = Year.of(arguments.snapshots, arguments.organizations)
    kinds = ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,)
    for kind in kinds:
        took: list[str] = []

        def tell(what: str, seconds: float, took: list[str] = took) -> None:
            took.append(f"{what}: {seconds:.0f} s")
            more(took[-1])

        with stage(kind, arguments.keep, year, tell) as filled:
            print_parts(filled, year, arguments.part or list(PARTS))
            print(*(f"- {line}" for line in took), sep="\n")


if __name__ == "__main__":
    main()

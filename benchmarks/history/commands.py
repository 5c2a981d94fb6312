"""The real commands, in processes of their own: export and import of a million rows, with their peak memory."""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import launch as launcher
from benchmarks.history.stage import Stage
from benchmarks.history.year import BEGIN, END, Year
from benchmarks.measure import table
from monitor.store import migrate
from monitor.store.engines import open_writer

ROWS = 1_000_000
AIM = 80  # MiB


@dataclass(frozen=True)
class Ran:
    """What a command cost: seconds, processor seconds, peak resident MiB."""

    seconds: float
    cpu: float
    peak: float


def run(arguments: Sequence[str | Path], output: Path) -> Ran:
    costs = output.with_suffix(".costs")
    launch = [sys.executable, "-I", "-S", launcher.__file__, costs]
    with output.open("wb") as target:
        began = time.monotonic()
        subprocess.run([*launch, sys.executable, "-m", "monitor", *arguments], stdout=target, check=True)
        seconds = time.monotonic() - began
    code, cpu, peak = map(float, costs.read_text().split())
    assert code == 0, arguments
    return Ran(seconds, cpu, peak / 1024)


def config(folder: Path, url: str) -> Path:
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "{url}"\n[accounts.studio]\nbase_url = "https://x.test"\n')
    return path


def print_commands(stage: Stage, year: Year) -> None:
    folder = stage.folder / "commands"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    until = BEGIN + (END - BEGIN) * min(ROWS / year.snapshots, 1)
    period = ("--since", f"{BEGIN:%Y-%m-%dT%H:%M:%SZ}", "--until", f"{until:%Y-%m-%dT%H:%M:%SZ}")
    lines = []
    for style in ("csv", "json"):
        arguments = ("history", *period, "--format", style, "--config", config(folder, stage.url))
        ran = run(arguments, folder / f"export.{style}")
        lines.append(_line(f"`history --format {style}`", _count(folder / "export.csv"), ran))
    year_of_all = ("usage", "--by", "day", "--since", f"{BEGIN:%Y-%m-%d}", "--until", f"{END:%Y-%m-%d}")
    arguments = (*year_of_all, "--format", "csv", "--config", config(folder, stage.url))
    lines.append(_line("`usage --by day` of all", year.organizations * 365, run(arguments, folder / "usage.csv")))
    lines += _import(stage, folder)
    table(("command", "rows", "seconds", "rows a second", "CPU s", "peak memory", "aim"), lines)
    shutil.rmtree(folder)


def _line(what: str, rows: int, ran: Ran) -> tuple[str, ...]:
    aim = "-" if "import" in what else f"{AIM} MiB" + ("" if ran.peak <= AIM else ", missed")
    figures = (f"{ran.seconds:.1f}", f"{rows / ran.seconds:,.0f}", f"{ran.cpu:.1f}", f"{ran.peak:.1f} MiB", aim)
    return (what, f"{rows:,}", *figures)


def _count(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines) - 1


def _import(stage: Stage, folder: Path) -> list[tuple[str, ...]]:
    """The same million into an empty database."""
    with stage.empty() as url:
        engine = open_writer(url)
        migrate.upgrade(engine)
        engine.dispose()
        file = folder / "export.csv"
        rows = _count(file)
        arguments = ("db", "import", file, "--config", config(folder, url))
        return [_line("`db import`", rows, run(arguments, folder / "import.txt"))]

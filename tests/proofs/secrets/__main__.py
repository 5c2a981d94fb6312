"""`python -m tests.proofs.secrets`: every secret through every fault and every form, and all that was left, searched.

On the installed wheel: the tests that SECURITY.md names, then the real daemon and every command on both databases; at
last once more without redaction, to see whether the search would notice.  Exit 1 when anything leaked, or did not.
"""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import sqlalchemy as sa

from tests.proofs.secrets.forms import SECRETS, forms, leaks
from tests.proofs.secrets.scene import COMMANDS, DATABASE, FAULTS, STATUSES, Scene
from tests.support.security import PAGE, named_tests
from tests.support.server import running_server
from tests.support.wheel import REPOSITORY, build_wheel

SOURCES = ("monitor", "migrations", ".git", ".venv", "dist", "*_cache", "__pycache__", ".hypothesis")


def main() -> int:
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # the mail server's, of its own options
    warnings.simplefilter("ignore", DeprecationWarning)
    with tempfile.TemporaryDirectory(prefix="secrets-proof-") as name:
        folder = Path(name)
        site = build_wheel(folder)
        print("The tests that SECURITY.md names, on the installed wheel:", flush=True)
        is_good = _test(folder, site)
        ways = f"{len(forms('x'))} forms and {len(STATUSES)} statuses"
        tried = f"{len(SECRETS)} secrets, each in {ways}; {len(FAULTS)} broken answers"
        print(f"\n{tried}, {len(COMMANDS)} commands with and without the daemon\n", flush=True)
        print("| where | sqlite | postgresql | sqlite, without redaction |\n|---|---|---|---|", flush=True)
        with running_server() as server:
            url = sa.make_url(server.new()).set(password=DATABASE).render_as_string(hide_password=False)
            scenes = asyncio.run(_play_all(folder, site, url))
        for where in dict.fromkeys(place for scene in scenes for place in scene.left):
            print(f"| {where} |", " | ".join(_cell(scene, where) for scene in scenes), "|")
        leaked = [[found for content in scene.left.values() for found in leaks(content)] for scene in scenes]
        for scene, found in zip(scenes[:2], leaked, strict=False):
            print(*(f"LEAKED in {scene.folder.name}: {piece}" for piece in sorted(set(found))[:20]), sep="\n")
    return 0 if is_good and leaked[2] and not leaked[0] and not leaked[1] else 1


def _test(folder: Path, site: Path) -> bool:
    """Run the tests from a copy of the repository that has none of the program's sources."""
    copy = folder / "repository"
    shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(*SOURCES))
    # The acceptance tests are left out: they run on the wheel anyway.
    names = [name for name in dict.fromkeys(named_tests(PAGE.read_text())) if "/acceptance/" not in name]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *names]
    done = subprocess.run(command, check=False, cwd=copy, env={**_environ(), "PYTHONPATH": str(site)})
    return done.returncode == 0


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CREDIT_MONITOR")}


async def _play_all(folder: Path, site: Path, url: str) -> list[Scene]:
    """SQLite, PostgreSQL, and without redaction, at the same time: they wait more than they work."""
    return await asyncio.gather(
        _play(folder / "sqlite", site),
        _play(folder / "postgresql", site, url),
        _play(folder / "open", site, open_=True),
    )


async def _play(folder: Path, site: Path, url: str | None = None, *, open_: bool = False) -> Scene:
    (folder / "state").mkdir(parents=True, mode=0o700)
    scene = Scene(folder, site, url or f"sqlite:///{folder}/state/cm.db", redacting=not open_)
    began = time.monotonic()
    await scene.play()
    print(f"{folder.name}: {scene.cases} answers, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return scene


def _cell(scene: Scene, where: str) -> str:
    content = scene.left.get(where)
    if content is None:
        return "-"
    found = leaks(content)
    return f"{len(found)} pieces of secrets" if found else f"nothing in {len(content):,} bytes"


if __name__ == "__main__":
    sys.exit(main())

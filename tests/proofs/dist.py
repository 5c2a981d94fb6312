"""`make test-dist`: wheel and sdist in empty environments of Python 3.11 and 3.13; the sdist's own tests.

A Python that is not on this machine is said in one line.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.proofs.debian import REPOSITORY

PYTHONS: Final = ("3.11", "3.13")
TESTS: Final = ("tests/unit",)  # those of the sdist that are run: the others take ten minutes


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CREDIT_MONITOR_"))}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ)


def promise(words: str, done: subprocess.CompletedProcess[str], *, holds: bool = True) -> bool:
    """Print whether a program ended well, and whether what it said `holds`."""
    is_kept = done.returncode == 0 and holds
    print(f"{'ok    ' if is_kept else 'not ok'}  {words}", flush=True)
    if not is_kept:
        print(*(f"          {line}" for line in (done.stdout + done.stderr).splitlines()[-15:]), sep="\n", flush=True)
    return is_kept


def install(python: str, archive: Path, pins: Path, folder: Path) -> bool:
    """Install one of them into a new environment, and ask the program something."""
    made = run(python, "-m", "venv", folder)
    if made.returncode:
        return promise(f"{Path(python).name}: an environment", made)
    pip = [folder / "bin/pip", "--quiet", "--disable-pip-version-check", "install", "-c", pins]
    name = f"{Path(python).name}: {archive.name}"
    if not promise(f"{name} is installed", run(*pip, f"credit-monitor[postgres] @ {archive.as_uri()}")):
        return False
    program = folder / "bin/credit-monitor"
    version = run(program, "--version", cwd=folder)
    example = run(program, "config", "init", "example.toml", cwd=folder)
    database = run(program, "db", "upgrade", "--config", write_config(folder), cwd=folder)
    return all(
        [
            promise(f"{name}: {version.stdout.strip()}", version),
            promise(f"{name}: the example is in it", example, holds=(folder / "example.toml").exists()),
            promise(f"{name}: the migrations are in it", database, holds=(folder / "monitor.db").exists()),
        ]
    )


def write_config(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "sqlite:///{folder}/monitor.db"\n[accounts.studio]\n')
    return path


def run_tests(python: str, sdist: Path, folder: Path) -> bool:
    """Unpack the sdist, install it with its tools, and run its tests there."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = (path for path in folder.iterdir() if path.is_dir())
    made = run("make", f"PYTHON={python}", ".venv/installed", cwd=tree)
    if made.returncode:
        return promise("the sdist's own set-up", made)
    tests = run(tree / ".venv/bin/pytest", "-q", "-n", "2", *TESTS, cwd=tree)
    return promise(f"the sdist's tests: {(tests.stdout.splitlines() or ['none'])[-1].strip('= ')}", tests)


def main() -> int:
    kept = []
    with tempfile.TemporaryDirectory(prefix="cm-dist-") as name:
        folder = Path(name)
        built = run(sys.executable, REPOSITORY / ".ci/dist.py", folder / "dist")
        kept.append(promise("they are built", built))
        (wheel,), (sdist,), (pins,) = (
            folder.glob(f"dist/{ending}") for ending in ("*.whl", "*.tar.gz", "*-constraints.txt")
        )
        for minor in PYTHONS:
            python = shutil.which(f"python{minor}")
            if python is None or run(python, "-c", "").returncode:
                print(f"test-dist cannot run with Python {minor} on this machine: there is no python{minor}")
                continue
            kept += [install(python, archive, pins, folder / f"{minor}-{archive.suffix}") for archive in (wheel, sdist)]
        kept.append(run_tests(sys.executable, sdist, folder / "sdist"))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())

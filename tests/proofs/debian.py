"""Minimal Debian trees and a copy of this checkout in them, for proofs that need another machine than this one."""

import argparse
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "credit-monitor"
CHECKOUT: Final = "/root/checkout"  # inside
NAMES: Final = {12: "bookworm", 13: "trixie"}
TOOLS: Final = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}


def chosen_releases(proof: str, about: str | None, *, default: Sequence[int] = tuple(NAMES)) -> list[int]:
    """Return the releases that the command line names.

    Not by `choices`: of an optional list argparse looks whether the default is one of them.
    """
    parser = argparse.ArgumentParser(prog=f"tests.proofs.{proof}", description=about)
    parser.add_argument("release", nargs="*", type=int, help=" or ".join(map(str, NAMES)))
    named = parser.parse_args().release or list(default)
    if unknown := set(named) - NAMES.keys():
        parser.error(f"no such release: {', '.join(map(str, unknown))}")
    return named


class CannotRun(Exception):
    """This machine cannot run another one; says why."""


def require_tools(more: Mapping[str, str] | None = None) -> None:
    """Raise `CannotRun` without root or the programs that make and enter a tree, installed here where apt can do it.

    `more` maps further programs to their packages.
    """
    if os.geteuid() != 0:
        raise CannotRun("root is needed to run a Debian in a container")
    tools = TOOLS | dict(more or {})
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing and shutil.which("apt-get"):
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if missing := [package for tool, package in tools.items() if shutil.which(tool) is None]:
        raise CannotRun(f"{' and '.join(missing)} cannot be had here")


def bare_tree(release: int, packages: str) -> Path:
    """A minimal tree with these packages; made once (a minute or two) and kept in the user's cache directory."""
    tree = CACHE / f"debian-{release}-{sha256(packages.encode()).hexdigest()[:8]}"
    if tree.exists():
        return tree
    part = tree.with_suffix(".part")
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", NAMES[release], str(part)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise CannotRun(f"debootstrap failed: {(made.stdout.splitlines() or ['without a word'])[-1]}")
    return part.rename(tree)


def copy_tree(release: int, packages: str, target: Path) -> None:
    """A copy of such a tree that may be changed, with the checkout in it."""
    subprocess.run(["cp", "-a", "--reflink=auto", bare_tree(release, packages), target], check=True)
    _copy_checkout(target / CHECKOUT.lstrip("/"))


def _copy_checkout(target: Path) -> None:
    """What a clone would have, with what is not committed yet."""
    command = ["git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (source := REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)

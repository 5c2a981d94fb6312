"""`python -m tests.proofs.bare [12] [13]`: `make test` in a bare Debian, which has `make` and `python3-venv` alone.

As root.  The container shares this machine's network, for pip; what pip needs to reach its index is taken from the
environment.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.proofs.debian import CHECKOUT, CannotRun, chosen_releases, copy_tree, require_tools

PACKAGES: Final = "make,python3-venv,ca-certificates"
FOR_PIP: Final = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
AUTHORITIES: Final = "/run/authorities.crt"


def run_tests(release: int) -> int:
    """Run `make test` in a new tree; return its exit code."""
    folder = Path(tempfile.mkdtemp(prefix="credit-monitor-bare-"))
    try:
        copy_tree(release, PACKAGES, folder / "tree")
        options = ["--quiet", "--register=no", "--keep-unit", "--resolv-conf=copy-host", f"--chdir={CHECKOUT}"]
        command = ["systemd-nspawn", *options, f"--directory={folder / 'tree'}", *_for_pip(), "make", "test"]
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    finally:
        shutil.rmtree(folder)


def _for_pip() -> Iterator[str]:
    for name in FOR_PIP:
        if name in os.environ:
            yield f"--setenv={name}"
    authorities = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if authorities:
        yield f"--bind-ro={authorities}:{AUTHORITIES}"
        yield f"--setenv=PIP_CERT={AUTHORITIES}"


def main() -> int:
    codes = {}
    try:
        require_tools()
        for release in chosen_releases("bare", __doc__):
            print(f"\nDebian {release}", flush=True)
            codes[release] = run_tests(release)
    except CannotRun as reason:
        print(f"test-bare cannot run on this machine: {reason}")
        return 0
    print(*(f"Debian {number}: {'FAILED' if code else 'passed'}" for number, code in codes.items()), sep="\n")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())

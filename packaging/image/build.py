"""Build the container image with whichever of docker, podman and buildah is here, and its bill of materials.

`python packaging/image/build.py [--base IMAGE] [--tag NAME]`; the base is `$IMAGE_BASE`, else the Containerfile's
own, the engine `$IMAGE_ENGINE`, else the first that works.
Wheels are fetched here, so that the build itself needs Debian's packages alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
WHEELS: Final = REPOSITORY / "dist/image"
PYTHONS: Final = ("3.11", "3.13")  # of Debian 12 and 13
GLIBC: Final = ("2_28", "2_17")
MACHINE: Final = os.uname().machine
ENGINES: Final = ("docker", "podman", "buildah")
STATUS: Final = "pathlib.Path('/var/lib/dpkg/status.d').iterdir()"
PACKAGES: Final = f"import pathlib; print(*(path.read_text() for path in {STATUS}), sep='\\n')"
SUITE: Final = "import platform; print(platform.freedesktop_os_release()['VERSION_CODENAME'])"


def run(*command: str | Path, **options: Any) -> str:
    """Run a program; end with what it said last when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"make image: {Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return str(done.stdout)


def fetch_wheels() -> str:
    """Fill `dist/image` with our wheel and all it needs, for each Python; return the version."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    beside = REPOSITORY / "dist"
    run(sys.executable, REPOSITORY / ".ci/dist.py", beside)
    version = run(sys.executable, "-c", "import monitor; print(monitor.__version__)", cwd=REPOSITORY).strip()
    pins = beside / f"credit_monitor-{version}-constraints.txt"
    platforms = [f"--platform=manylinux_{glibc}_{MACHINE}" for glibc in GLIBC]
    for python in PYTHONS:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        run(*pip, "--only-binary=:all:", f"--python-version={python}", *platforms, "-d", WHEELS, "-r", pins)
    shutil.copy(beside / f"credit_monitor-{version}-py3-none-any.whl", WHEELS)
    return version


def build_command(engine: str, tag: str, version: str, base: str | None) -> list[str]:
    """Return the engine's command; docker's format keeps the health check."""
    arguments = ["--file", "Containerfile", "--tag", tag, "--build-arg", f"VERSION={version}"]
    if base:
        arguments += ["--build-arg", f"BASE={base}"]
    if engine == "docker":
        return ["docker", "build", *arguments, "."]
    isolation = ["--isolation=chroot"] if os.geteuid() == 0 else []
    return [engine, "build", "--format", "docker", "--timestamp", "0", *isolation, *arguments, "."]


def bill_of_materials(status: str, suite: str) -> str:
    """Return the bill of the Python part, with Debian's packages added."""
    bill = json.loads(run(sys.executable, REPOSITORY / ".ci/sbom.py"))
    for paragraph in sorted(filter(str.strip, status.split("\n\n"))):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        purl = f"pkg:deb/debian/{fields['Package']}@{fields['Version']}?distro={suite}"
        known = {"type": "library", "bom-ref": purl, "purl": purl}
        bill["components"].append(known | {"name": fields["Package"], "version": fields["Version"]})
    return json.dumps(bill, indent=1) + "\n"


def printed(engine: str, tag: str, code: str) -> str:
    """Return what a line of Python prints in the image."""
    python = ["--entrypoint", "/opt/credit-monitor/bin/python"]
    return run(engine, "run", "--rm", "--network=none", *python, tag, "-c", code).strip()


def build(tag: str, base: str | None) -> str:
    """Build the image; return the engine."""
    wanted = os.environ.get("IMAGE_ENGINE")
    engine = next((name for name in ([wanted] if wanted else ENGINES) if _works(name)), None)
    if engine is None:
        raise SystemExit("make image cannot run on this machine: there is no docker, podman or buildah")
    version = fetch_wheels()
    run(*build_command(engine, tag, version, base), cwd=REPOSITORY)
    if engine != "buildah":
        bill = bill_of_materials(printed(engine, tag, PACKAGES), printed(engine, tag, SUITE))
        (REPOSITORY / f"dist/credit-monitor-{version}-image.sbom.json").write_text(bill)
    return engine


def _works(engine: str) -> bool:
    """Whether it is here, and has its daemon where it needs one."""
    if shutil.which(engine) is None:
        return False
    return subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=os.environ.get("IMAGE_BASE"))
    parser.add_argument("--tag", default="credit-monitor")
    options = parser.parse_args()
    print(f"{options.tag}: built with {build(options.tag, options.base)}")


if __name__ == "__main__":
    main()

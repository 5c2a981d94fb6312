"""Build wheel and sdist into a directory, the same bytes twice, with the tested versions and the release notes beside.

`python .ci/dist.py [DIRECTORY]`; the directory is `dist` by default.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from sbom import closure, normal

REPOSITORY: Final = Path(__file__).parents[1]
EPOCH: Final = "1580601600"  # of every file inside, whoever builds
UNRELEASED: Final = "Unreleased"


def version() -> str:
    (found,) = re.findall(r'^__version__ = "(.+)"$', (REPOSITORY / "monitor/__init__.py").read_text(), re.MULTILINE)
    return str(found)


def constraints() -> str:
    """Return the pins of what is shipped, without the development tools."""
    shipped = closure().keys()
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return "".join(f"{pin}\n" for pin in pins if normal(pin.partition("==")[0]) in shipped)


def release_notes(changelog: str, number: str) -> str:
    """Return the section of a version, else that of what is not released yet."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    by_title = {section.split()[0].strip("[]"): section for section in sections}
    section = by_title.get(number) or by_title.get(UNRELEASED)
    if section is None:
        raise SystemExit(f"CHANGELOG.md has neither a section {number} nor {UNRELEASED}")
    return f"# credit-monitor {number}\n{section.partition(chr(10))[2].rstrip()}\n"


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").absolute()
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, env={"SOURCE_DATE_EPOCH": EPOCH})
    name = f"credit_monitor-{version()}"
    (target / f"{name}-constraints.txt").write_text(constraints())
    (target / f"{name}-release.md").write_text(release_notes((REPOSITORY / "CHANGELOG.md").read_text(), version()))
    for path in sorted(target.glob(f"{name}[-.]*")):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

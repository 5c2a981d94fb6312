"""What SECURITY.md names as the test of each of its lines."""

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "SECURITY.md"
NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`|`make ([\w-]+)`")


def named_tests(text: str) -> list[str]:
    """The tests that a text names, as pytest takes them."""
    return [f"{file}::{test}" if test else file for file, test, _ in NAMED.findall(text) if file]


def named_targets(text: str) -> list[str]:
    """The targets of `make` that it names."""
    return [target for _, _, target in NAMED.findall(text) if target]


def missing(text: str, repository: Path) -> list[str]:
    """What of these is not there."""
    makefile = (repository / "Makefile").read_text()
    gone = [f"make {target}" for target in named_targets(text) if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    for name in named_tests(text):
        file, _, test = name.partition("::")
        path = repository / file
        if not path.exists() or (test and not re.search(rf"^(?:async )?def {test}\(", path.read_text(), re.MULTILINE)):
            gone.append(name)
    return gone

"""The commands of docs/operations.md, by the name in the comment above each block."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/operations.md"
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)


def commands() -> dict[str, str]:
    """Every block that is to be run."""
    return dict(BLOCK.findall(PAGE.read_text()))

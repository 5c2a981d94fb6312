"""The page about the rooms names files that are there, and the rooms in the order in which they may import."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/architecture.md").read_text()


def test_every_file_it_names_is_there():
    walks = [step for step in re.findall(r"`([a-z_/]+)`", PAGE) if "/" in step]
    files = re.findall(r"`([a-z_/]+\.py)`", PAGE)
    missing = [name for name in files if not any((REPOSITORY / place / name).exists() for place in ("monitor", "."))]
    missing += [step for step in walks if not _is_there(step)]
    assert (len(files) > 15, missing) == (True, [])


def _is_there(step: str) -> bool:
    room = REPOSITORY / "monitor" / step
    return room.exists() or room.with_suffix(".py").exists() or (REPOSITORY / step).exists()


def test_the_rooms_stand_in_the_order_of_the_contract():
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rooms = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    wanted = [set(re.findall(r"\w+", layer)) for layer in layers if layer != "__main__"]
    assert [set(re.findall(r"\w+", row)) for row in rooms] == wanted

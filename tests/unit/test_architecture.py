"""The page about the rooms names files that are there, and the rooms in the order in which they may import."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/architecture.md").read_text()
SMALL = 40  # lines; a smaller file with one importer belongs into that one


def test_every_file_it_names_is_there():
    walks = [step for step in re.findall(r"`([a-z_/]+)`", PAGE) if "/" in step]
    files = re.findall(r"`([a-z_/]+\.py)`", PAGE)
    missing = [name for name in files if not any((REPOSITORY / place / name).exists() for place in ("monitor", "."))]
    missing += [step for step in walks if not _is_there(step)]
    assert (len(files) > 15, missing) == (True, [])


def _is_there(step: str) -> bool:
    room = REPOSITORY / "monitor" / step
    return room.exists() or room.with_suffix(".py").exists() or (REPOSITORY / step).exists()


def layers() -> list[str]:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return found


def test_the_rooms_stand_in_the_order_of_the_contract():
    rooms = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    wanted = [set(re.findall(r"\w+", layer)) for layer in layers() if layer != "__main__"]
    assert [set(re.findall(r"\w+", row)) for row in rooms] == wanted


def test_there_are_eleven_layers_and_ten_modules_at_the_root_at_most():
    modules = [path.stem for path in (REPOSITORY / "monitor").glob("*.py") if not path.stem.startswith("__")]
    assert (len(layers()) <= 11, len(modules) <= 10) == (True, True)


def test_no_fragment_has_a_file_of_its_own():
    modules = {_name(path): path for path in (REPOSITORY / "monitor").rglob("*.py")}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, path in modules.items():
        for imported in _imports(path):
            importers[imported].add(name)
    fragments = [
        name
        for name, path in modules.items()
        if len(importers[name]) == 1 and not path.stem.startswith("__") and len(path.read_text().splitlines()) < SMALL
    ]
    assert [name for name in fragments if not name.startswith("monitor.cli.")] == []  # a command has its own file


def _name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, and whatever else it takes from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names

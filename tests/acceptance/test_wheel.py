"""What is built has what the tree has, whoever added it; the same bytes twice."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMPILED = "__pycache__"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, REPOSITORY / ".ci/dist.py", folder], check=True, capture_output=True)
    return folder


def tree(room: str, *, below: str = "") -> set[str]:
    """The files of a room as the wheel has them; what only a running program leaves is none of it."""
    root = REPOSITORY / room
    paths = [path for path in root.rglob("*") if path.is_file() and COMPILED not in path.parts]
    return {f"{below or room}/{path.relative_to(root)}" for path in paths if path.suffix not in {".db", ".pyc"}}


def test_the_wheel_has_every_file_of_the_rooms_and_of_the_migrations(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("monitor/")}
    wanted = tree("monitor") | tree("migrations", below="monitor/migrations") | {"monitor/config.example.toml"}
    assert (wanted - names, names - wanted) == (set(), set())


def test_the_sdist_has_what_its_tests_need(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    rooms = ("monitor", "migrations", "tests", "docs", "systemd", "deploy", "packaging", "benchmarks", ".ci")
    wanted = set().union(*(tree(room) for room in rooms))
    wanted |= {"pyproject.toml", "constraints.txt", "Makefile", "config.example.toml", "CHANGELOG.md", "README.md"}
    assert wanted - names == set()
    assert not [name for name in names if COMPILED in name or name.startswith((".venv", "dist/"))]


def test_it_is_the_same_twice(built, tmp_path):
    subprocess.run([sys.executable, REPOSITORY / ".ci/dist.py", tmp_path], check=True, capture_output=True)
    first, second = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (built, tmp_path)
    )
    assert first == second
    assert len(first) == 4  # wheel, sdist, constraints, release notes


def test_the_tested_versions_and_the_release_notes_lie_beside(built):
    (pins,) = built.glob("*-constraints.txt")
    pinned = dict(line.split("==") for line in pins.read_text().split())
    assert {"apprise", "SQLAlchemy", "psycopg-binary"} <= pinned.keys()
    assert not {"pytest", "ruff", "mypy"} & pinned.keys()
    (notes,) = built.glob("*-release.md")
    assert notes.read_text().startswith("# credit-monitor ")
    assert "\n## " not in notes.read_text()

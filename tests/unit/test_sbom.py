"""The bill of materials names what is shipped, at the pinned versions, and nothing of this machine."""

import json
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def written() -> str:
    command = [sys.executable, str(REPOSITORY / ".ci/sbom.py")]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout


def test_everything_shipped_is_named_at_its_pinned_version():
    bill = json.loads(written())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    found = {one["name"]: one["version"] for one in bill["components"]}
    lines = (REPOSITORY / "constraints.txt").read_text().split()
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}
    assert {"apprise", "sqlalchemy", "psycopg", "psycopg-binary", "httpx", "aiohttp"} <= found.keys()
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & found.keys()
    assert {name: pinned.get(name) for name in found} == found
    refs = {one["bom-ref"] for one in (*bill["components"], bill["metadata"]["component"])}
    assert {edge["ref"] for edge in bill["dependencies"]} == refs
    assert {ref for edge in bill["dependencies"] for ref in edge["dependsOn"]} <= refs


def test_it_is_the_same_twice_and_names_no_path_and_no_host():
    first = written()
    assert first == written()
    assert "://" not in first
    assert str(REPOSITORY) not in first
    assert sys.prefix not in first

"""The bill of materials names what is shipped, at the pinned versions, and nothing of this machine."""

import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]


def written(*arguments: str) -> str:
    command = [sys.executable, str(REPOSITORY / ".ci/sbom.py"), *arguments]
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


def test_every_extra_but_that_of_the_developers_is_shipped():
    extras = set(distribution("credit-monitor").metadata.get_all("Provides-Extra", [])) - {"dev"}
    assert extras
    found = {one["name"] for one in json.loads(written())["components"]}
    for text in distribution("credit-monitor").requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            assert re.sub(r"[-_.]+", "-", requirement.name).lower() in found


def test_of_a_tree_what_is_in_it_is_named(tmp_path):
    site = tmp_path / "opt/credit-monitor/lib/python3.11/site-packages"
    for name, version in (("credit_monitor", "1.2"), ("httpx", "9.9"), ("Surprise.Guest", "0.1")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: httpx\n"
        )
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    status = "Package: {}\nStatus: {}\nArchitecture: amd64\nVersion: 3.0\nDescription: a\n b\n\n"
    packages = ("openssl", "install ok installed"), ("gone", "deinstall ok config-files")
    (tmp_path / "var/lib/dpkg/status").write_text("".join(status.format(*package) for package in packages))
    bill = json.loads(written(str(tmp_path)))
    assert {one["purl"] for one in bill["components"]} == {
        "pkg:pypi/httpx@9.9",
        "pkg:pypi/surprise-guest@0.1",
        "pkg:deb/debian/openssl@3.0?arch=amd64",
    }
    assert bill["metadata"]["component"]["version"] == "1.2"
    assert str(tmp_path) not in json.dumps(bill)

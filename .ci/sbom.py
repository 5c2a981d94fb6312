"""Write the software bill of materials of what is shipped (CycloneDX 1.6, JSON) to standard output.

From the installed distributions, at the versions of `constraints.txt`: credit-monitor with all its extras and what they
need here, no development tools.  `python .ci/sbom.py TREE`: of an unpacked image or package, what is in it: every
distribution of Python's, and Debian's packages where it has a `dpkg/status`.  Names no machine, path or registry, and
is the same for the same versions.
"""

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = "credit-monitor"
DEVELOPMENT: Final = "dev"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, extras: tuple[str, ...]) -> set[tuple[str, tuple[str, ...]]]:
    """Return what a distribution needs on this machine, with the extras that it asks for."""
    wanted = map(Requirement, distribution(name).requires or [])
    return {
        (normal(requirement.name), tuple(sorted(requirement.extras)))
        for requirement in wanted
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    }


def closure() -> dict[str, set[str]]:
    """Return every distribution that is shipped, with those it needs."""
    shipped: dict[str, set[str]] = {}
    extras_of_ours = tuple(set(distribution(ROOT).metadata.get_all("Provides-Extra", [])) - {DEVELOPMENT})
    waiting, seen = [(ROOT, extras_of_ours)], set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) not in seen:
            seen.add((name, extras))
            below = needed(name, extras)
            shipped.setdefault(name, set()).update(other for other, _ in below)
            waiting += below
    return shipped


def licences(about: Distribution) -> list[dict[str, Any]]:
    """As the distribution says; a whole text is no name."""
    if expression := about.metadata.get("License-Expression"):
        return [{"expression": expression}]
    text = (about.metadata.get("License") or "").strip()
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in about.metadata.get_all("Classifier", [])
        if "License ::" in classifier
    ]
    name = text if text and "\n" not in text else ", ".join(classifiers)
    return [{"license": {"name": name}}] if name else []


def component(about: Distribution, kind: str = "library") -> dict[str, Any]:
    name = normal(about.metadata["Name"])
    purl = f"pkg:pypi/{name}@{about.version}"
    known = {"type": kind, "bom-ref": purl, "name": name, "version": about.version, "purl": purl}
    return known | ({"licenses": named} if (named := licences(about)) else {})


def bill(shipped: dict[str, set[str]], found: dict[str, Distribution], debian: list[dict[str, Any]]) -> dict[str, Any]:
    components = [component(found[name]) for name in sorted(shipped) if name != ROOT]
    root = component(found[ROOT], "application")
    refs = {one["name"]: one["bom-ref"] for one in (*components, root)}
    edges = [
        {"ref": refs[name], "dependsOn": sorted(refs[other] for other in shipped[name])} for name in sorted(shipped)
    ]
    made_of = json.dumps([edges, debian]) if debian else json.dumps(edges)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, made_of)}",
        "version": 1,
        "metadata": {"component": root},
        "components": [*components, *debian],
        "dependencies": edges,
    }


# --- an unpacked image or package -------------------------------------------------------------------------------------


def found_in(tree: Path) -> dict[str, Distribution]:
    """Return what is installed anywhere in a tree, by name; the same in two Pythons' folders counts once."""
    folders = sorted({str(path.parent) for path in tree.rglob("*.dist-info")})
    return {normal(about.metadata["Name"]): about for about in distributions(path=folders)}


def needed_among(found: dict[str, Distribution]) -> dict[str, set[str]]:
    """Return each of these with those of the others that it may need."""
    return {
        name: {other for text in about.requires or [] if (other := normal(Requirement(text).name)) in found} - {name}
        for name, about in found.items()
    }


def debian_packages(tree: Path) -> list[dict[str, Any]]:
    components = []
    for status in sorted(tree.rglob("dpkg/status")):
        for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
            fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.MULTILINE))
            if "installed" in fields.get("Status", ""):
                purl = f"pkg:deb/debian/{fields['Package']}@{fields['Version']}?arch={fields['Architecture']}"
                known = {"type": "library", "bom-ref": purl, "name": fields["Package"]}
                components.append(known | {"version": fields["Version"], "purl": purl})
    return components


def main(arguments: list[str]) -> None:
    if arguments:
        tree = Path(arguments[0])
        found, debian = found_in(tree), debian_packages(tree)
        if ROOT not in found:
            raise SystemExit(f"{tree}: there is no {ROOT} in it")
        shipped = needed_among(found)
    else:
        shipped, debian = closure(), []
        found = {name: distribution(name) for name in shipped}
    json.dump(bill(shipped, found, debian), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])

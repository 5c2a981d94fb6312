"""Write the software bill of materials of what is shipped (CycloneDX 1.6, JSON) to standard output.

From the installed distributions, at the versions of `constraints.txt`: credit-monitor with PostgreSQL and what that
needs here, no development tools.  Names no machine, path or registry, and is the same for the same versions.
"""

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distribution
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = "credit-monitor"
EXTRAS: Final = ("postgres",)


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
    waiting, seen = [(ROOT, EXTRAS)], set()
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


def component(name: str, kind: str) -> dict[str, Any]:
    about = distribution(name)
    purl = f"pkg:pypi/{name}@{about.version}"
    known = {"type": kind, "bom-ref": purl, "name": name, "version": about.version, "purl": purl}
    return known | ({"licenses": named} if (named := licences(about)) else {})


def bill() -> dict[str, Any]:
    shipped = closure()
    refs = {name: component(name, "library")["purl"] for name in shipped}
    edges = [
        {"ref": refs[name], "dependsOn": sorted(refs[other] for other in shipped[name])} for name in sorted(shipped)
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(edges))}",
        "version": 1,
        "metadata": {"component": component(ROOT, "application")},
        "components": [component(name, "library") for name in sorted(shipped) if name != ROOT],
        "dependencies": edges,
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
    sys.stdout.write("\n")

"""What containers and clusters are given, as far as it can be judged without any: the rest is in `make test-image`."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import load
from monitor.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
BASE = REPOSITORY / "deploy/kubernetes/base"
FILES = sorted((REPOSITORY / "deploy").rglob("*.yaml"))
COMPOSE = sorted(REPOSITORY.glob("compose*.yaml"))
CONTAINERFILE = (REPOSITORY / "Containerfile").read_text()


@pytest.mark.parametrize("file", [*FILES, *COMPOSE], ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_each_file_is_one_document_of_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text()), dict)


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "kustomization.yaml"], ids=str)
def test_each_file_that_a_kustomization_names_is_there(file: Path) -> None:
    told = yaml.safe_load(file.read_text())
    named = [*told.get("resources", []), *told.get("components", []), *told.get("configurations", [])]
    named += [patch["path"] for patch in told.get("patches", []) if "path" in patch]
    for generator in (*told.get("configMapGenerator", []), *told.get("secretGenerator", [])):
        named += [entry.partition("=")[2] or entry for entry in generator["files"]]
    assert named
    assert [name for name in named if not (file.parent / name).exists()] == []


def container() -> tuple[dict[str, Any], dict[str, Any]]:
    pod = yaml.safe_load((BASE / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_the_pod_is_as_strict_as_the_unit() -> None:
    pod, one = container()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= one.keys()


def test_its_configuration_is_valid_with_its_secrets(tmp_path: Path) -> None:
    for entry in yaml.safe_load((BASE / "kustomization.yaml").read_text())["secretGenerator"][0]["files"]:
        name, path = entry.split("=")
        (tmp_path / name).write_text((BASE / path).read_text())
    settings = load(BASE / "config.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (list(settings.accounts), list(settings.channels)) == (["studio"], ["ops"])
    assert settings.database.url.startswith("postgresql")


def test_service_links_are_no_settings() -> None:
    links = {"CREDIT_MONITOR_PORT": "tcp://10.0.0.1:9100", "CREDIT_MONITOR_SERVICE_PORT_HTTP": "9100"}
    with pytest.raises(ConfigError) as found:
        load(None, links)
    assert "CREDIT_MONITOR_PORT" not in str(found.value)


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_a_compose_file_gives_secrets_as_files_alone(file: Path) -> None:
    told = yaml.safe_load(file.read_text())
    for name, service in told["services"].items():
        assert set(service["secrets"]) <= told["secrets"].keys()
        if name != "database":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert "API_KEY" not in str(service.get("environment"))


def test_the_image_runs_as_a_number_without_a_shell() -> None:
    final = CONTAINERFILE.rpartition("FROM scratch")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["65532:0"]
    assert re.findall(r"^STOPSIGNAL (.+)$", final, re.MULTILINE) == ["SIGTERM"]
    assert 'CMD ["/opt/credit-monitor/bin/credit-monitor", "healthy"]' in final
    assert (REPOSITORY / ".containerignore").read_text() == (REPOSITORY / ".dockerignore").read_text()

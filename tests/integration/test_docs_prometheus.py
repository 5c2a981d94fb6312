"""`docs/prometheus.md` names every metric with its labels; promtool takes the rules, their tests and the excerpt."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from given import HOME
from story import NOON

from monitor.config import load
from monitor.counters import Counters
from monitor.query import OrganizationStatus
from monitor.web.metrics import Scrape, _Families
from monitor.web.reader import Figures

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "prometheus.md").read_text()
RULES = DOCS / "prometheus"


def told(tmp_path: Path) -> dict[str, set[str]]:
    """Every metric with its labels, from a scrape in which each has a series."""
    (tmp_path / "c.toml").write_text("[accounts.studio]\norganizations = 'all'\n[channels.ops]")
    farm = OrganizationStatus(7, "farm", "org-1", None, "studio", True, 1, NOON, None, NOON, None, None, None, ())  # type: ignore[arg-type]
    figures = Figures("0001", [farm], {7: 1.0}, [], {"studio": NOON}, [])
    scrape = Scrape(load(tmp_path / "c.toml", HOME), Counters(), figures, leads=True, now=NOON)
    found = {}
    for family in _Families(scrape).collect():
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        found[name] = set(family.samples[0].labels) - {"le"}
    return found


def test_every_metric_is_in_the_document_with_its_labels(tmp_path: Path) -> None:
    rows = re.findall(r"^\| (`credit_monitor_[^|]*) \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    named = {
        name: set() if labels == "\u2013" else set(labels.split(", "))
        for names, labels in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert named == told(tmp_path)


def test_the_rules_ask_for_nothing_that_is_not_told(tmp_path: Path) -> None:
    rules = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"credit_monitor_\w+", rule["expr"])}
    assert asked <= set(told(tmp_path))
    tested = (RULES / "alerts_test.yml").read_text()
    for rule in rules:
        assert len(re.findall(rf"alertname: {rule['alert']}\b", tested)) >= 2  # quiet when all is well, and firing


def test_the_settings_in_the_document_are_settings(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    for text in (toml, re.sub(r"(?m)^#|^listen = 9464", "", toml)):
        tomllib.loads(text)
        (tmp_path / "c.toml").write_text(text)
        assert load(tmp_path / "c.toml", HOME).web is not None


@pytest.mark.parametrize(
    "command",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml"), ("check", "config", "prometheus.yml")],
)
def test_promtool_takes_rules_their_tests_and_the_excerpt(command: tuple[str, ...]) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    ran = subprocess.run(["promtool", *command], cwd=RULES, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_asks_for_nothing_that_is_not_told(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana/credit-monitor.json").read_text())
    known = told(tmp_path)
    panels = dashboard["panels"]
    targets = [target for panel in panels for target in panel["targets"]]
    queries = [variable["definition"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    asked = set()
    for expression in (*(target["expr"] for target in targets), *queries):
        names = {re.sub(r"_bucket$", "", name) for name in re.findall(r"credit_monitor_\w+", expression)}
        labels = {label for name in names for label in known.get(name, ())} | {"le"}
        given = re.findall(r"(\w+)\s*=~?\s*\"", expression) + re.findall(r"label_values\(\w+, (\w+)\)", expression)
        given += [label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")]
        assert (names - set(known), set(given) - labels) == (set(), set()), expression
        asked |= names
    for target in targets:
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= {label for of in known.values() for label in of}
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert {"credit_monitor_balance_credits", "credit_monitor_runway_seconds", "credit_monitor_incidents_open"} <= asked
    assert {"credit_monitor_deliveries_total", "credit_monitor_leader"} <= asked


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: apt install prometheus)")
def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana/credit-monitor.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    plain = (each.replace("$__rate_interval", "5m").replace("$organization", ".*") for each in expressions)
    rules = [{"record": f"dashboard:{number}", "expr": each} for number, each in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=True)

"""What stands in k8s/monitoring/: alerts and dashboards of metrics that exist, each alert with a page and a test."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshline.cli.main import main
from tests.unit.exported_metrics import faults

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "k8s" / "monitoring"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "README.md")


def page_of(alert: str) -> str:
    """``FreshlineLagOverTarget`` ▸ ``docs/runbooks/lag-over-target.md``."""
    words = re.findall(r"[A-Z][a-z]*", alert.removeprefix("Freshline"))
    return f"docs/runbooks/{'-'.join(words).lower()}.md"


def cases() -> Iterator[tuple[str, bool]]:
    """Each alert that the tests of alerts look for, and whether it is to fire there."""
    for file in sorted((ROOT / "tests" / "k8s" / "alerts").glob("*.yaml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                yield case["alertname"], bool(case["exp_alerts"])


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each panel's title, expressions and legends."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_asks_for_what_exists_and_names_its_page(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    shown = frozenset(re.findall(r"\$labels\.(\w+)", annotations["summary"] + annotations["description"]))
    assert faults(rule["expr"], shown) == []
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert annotations["runbook_url"] == page_of(rule["alert"])


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    alerts = {page_of(rule["alert"]): rule["alert"] for rule in RULES}
    assert {str(page.relative_to(ROOT)) for page in PAGES} == set(alerts)
    contents = (RUNBOOKS / "README.md").read_text()
    for page in PAGES:
        assert page.read_text().splitlines()[0] == f"# {alerts[str(page.relative_to(ROOT))]}"
        assert f"]({page.name})" in contents


def test_every_alert_is_made_to_fire_and_to_stay_silent() -> None:
    found = set(cases())
    assert {name for name, _ in found} == {rule["alert"] for rule in RULES}
    assert found == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_names_commands_that_exist(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    named = list(commands(page.read_text()))
    assert named
    for command in named:
        words = shlex.split(command)
        assert main([*(word for word in words if not word.startswith("--")), "--help"]) == 0, command
        told = capsys.readouterr().out
        assert [word for word in words if word.startswith("--") and word not in told] == [], command


def commands(page: str) -> Iterator[str]:
    """What a page has people type of ours."""
    code = [*re.findall(r"`([^`\n]+)`", page), *re.findall(r"^ {4}(.+)$", page, flags=re.MULTILINE)]
    for each in code:
        if each.startswith("freshline "):
            yield each.removeprefix("freshline ").partition(" #")[0]


@pytest.mark.parametrize("file", DASHBOARDS, ids=[file.stem for file in DASHBOARDS])
def test_a_dashboard_shows_what_exists(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    assert dashboard["uid"] == f"freshline-{file.stem}"
    wrong = {
        title: found
        for title, expression, legend in queries(dashboard)
        if (found := faults(expression, frozenset(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))))
    }
    assert wrong == {}


@pytest.mark.parametrize("file", DASHBOARDS, ids=[file.stem for file in DASHBOARDS])
def test_a_dashboard_can_be_used_anywhere(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = [*dashboard["panels"], *(target for panel in dashboard["panels"] for target in panel.get("targets", ()))]
    sources = {each["datasource"]["uid"] for each in asked if "datasource" in each}
    assert sources == {"${datasource}"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_every_dashboard_is_shipped() -> None:
    (generated,) = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["configMapGenerator"]
    assert sorted(generated["files"]) == [f"dashboards/{file.name}" for file in DASHBOARDS]
    assert generated["options"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('max by (group) (freshline_group_status{status="stalled"})', []),
        ("freshline_group_lag_second", ["no metric freshline_group_lag_second"]),
        ("freshline_freshness_seconds", ["no metric freshline_freshness_seconds"]),
        ('freshline_records_total{role="x"}', ["no label role of freshline_records_total"]),
        ('freshline_group_status{status="stuck"}', ["status of freshline_group_status is never stuck"]),
        ("sum by (topik) (freshline_records_total)", ["no label topik"]),
        ("vector(0)", ["no metric at all"]),
    ],
)
def test_what_does_not_exist_is_found(expression: str, expected: list[str]) -> None:
    assert faults(expression) == expected

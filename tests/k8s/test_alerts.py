"""Alerts and dashboards as Prometheus itself reads them: each alert fires where it should, and only there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.programs import Programs

MONITORING = Path(__file__).parents[2] / "k8s" / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules alone, as Prometheus reads them from a file."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]))
    return file


# Building takes minutes, once.
@pytest.mark.timeout(2_400)
def test_prometheus_has_nothing_against_the_rules(programs: Programs, rules: Path) -> None:
    promtool(programs, "check", "rules", "--lint=all", "--lint-fatal", str(rules))


@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("cases", CASES, ids=[each.stem for each in CASES])
def test_alerts_fire_and_stay_silent(programs: Programs, rules: Path, cases: Path) -> None:
    # They name the rules as a file beside them.
    promtool(programs, "test", "rules", str(shutil.copy(cases, rules.with_name("cases.yaml"))))


@pytest.mark.timeout(2_400)
def test_prometheus_can_read_what_dashboards_ask(programs: Programs, tmp_path: Path) -> None:
    asked = [
        target["expr"].replace("$__rate_interval", "1m")
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    # The tool reads rules alone.
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool(programs, "check", "rules", str(file))


def promtool(programs: Programs, *arguments: str) -> None:
    ended = subprocess.run(
        [programs.path("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr

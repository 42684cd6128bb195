"""What stands in k8s/: roles, settings and metrics that exist, and nothing that Pod Security refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from freshline.lag.demand import Demand
from freshline.lag.metrics import LagMetrics
from freshline.lag.report import GroupLag
from freshline.roles import COALESCING, LAG, ROLES
from infra.settings import Settings, TopicSettings

K8S = Path(__file__).parents[2] / "k8s"
# Coalescing does not say how fast it is.
SCALED = [role for role in ROLES if role not in {LAG, COALESCING}]


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(K8S.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield str(path.relative_to(K8S)), document


def known_first(series: str, before: str, after: str) -> str:
    """The query of demand that takes whoever knows first. ``before`` and ``after`` are matchers beside the reason's."""
    asked = ",".join(each for each in (before, 'reason!="unknown"', after) if each)
    return f"max by (group) ({series}{{{asked}}}) or max by (group) ({series}{{{before or after}}})"


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    found = {d["metadata"]["name"]: d for _, d in documents() if d.get("kind") == kind}
    found.pop("any", None)
    return found


def settings_of(folder: Path) -> list[dict[str, Any]]:
    """What a folder's kustomization says of our settings."""
    found = yaml.safe_load((folder / "kustomization.yaml").read_text()).get("configMapGenerator", [])
    return [each for each in found if each["name"] == "freshline-settings"]


def test_every_role_has_a_deployment_that_runs_it() -> None:
    deployments = of_kind("Deployment")
    assert set(deployments) == set(ROLES)
    for role, deployment in deployments.items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["run", role]
        assert container["resources"].keys() == {"requests", "limits"}


def test_every_worker_but_coalescing_is_scaled_by_the_demand_of_its_group() -> None:
    scalers = of_kind("HorizontalPodAutoscaler")
    deployments = of_kind("Deployment")
    assert set(scalers) == set(SCALED)
    for role, scaler in scalers.items():
        (metric,) = scaler["spec"]["metrics"]
        assert metric["external"]["metric"]["selector"]["matchLabels"] == {"group": Settings().group(role)}
        assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
        # Or each apply would take the autoscaler's number back.
        assert "replicas" not in deployments[role]["spec"]
    labels = {name: each["metadata"]["labels"] for name, each in deployments.items()}
    assert {name for name in labels if labels[name]["freshline.dev/scaled"] == "true"} == set(SCALED)


def test_keda_asks_for_the_same_demand_and_takes_what_is_missing_for_an_error() -> None:
    scaled = of_kind("ScaledObject")
    assert set(scaled) == set(SCALED)
    for role, each in scaled.items():
        assert each["spec"]["scaleTargetRef"] == {"name": role}
        (trigger,) = each["spec"]["triggers"]
        group = Settings().group(role)
        asked = trigger["metadata"]
        assert asked["query"] == known_first("freshline_demand_replicas", f'group="{group}"', "")
        assert (trigger["metricType"], asked["threshold"], asked["activationThreshold"]) == ("AverageValue", "1", "0")
        # Or the watcher's absence would be taken for nothing to do.
        assert asked["ignoreNullValues"] == "false"


def test_keda_is_as_fast_as_the_moderate_components() -> None:
    keda = yaml.safe_load((K8S / "components" / "keda" / "scaled-object.yaml").read_text())
    behavior = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    for name, way in (("scale-up-moderate", "scaleUp"), ("scale-down-moderate", "scaleDown")):
        component = yaml.safe_load((K8S / "components" / name / "kustomization.yaml").read_text())
        patch = yaml.safe_load(component["patches"][0]["patch"])
        assert behavior[way] == patch["spec"]["behavior"][way]


def test_the_vertical_autoscaler_only_recommends_and_for_everything_that_runs() -> None:
    assert set(of_kind("VerticalPodAutoscaler")) == set(ROLES)
    common = yaml.safe_load((K8S / "components" / "vpa-recommend" / "vertical-pod-autoscaler.yaml").read_text())
    assert common["spec"]["updatePolicy"] == {"updateMode": "Off"}


@pytest.mark.parametrize(
    ("choice", "percent"), [("usual", 70), ("bursty", 60), ("cost-sensitive", 80), ("critical", 50)]
)
def test_thresholds_of_cpu_are_the_guides(choice: str, percent: int) -> None:
    component = yaml.safe_load((K8S / "components" / f"cpu-{choice}" / "kustomization.yaml").read_text())
    (patch,) = component["patches"]
    (added,) = yaml.safe_load(patch["patch"])
    assert patch["target"]["name"] in of_kind("HorizontalPodAutoscaler")
    assert added["value"]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent},
    }


def test_faust_never_has_more_replicas_than_partitions() -> None:
    spec = of_kind("Deployment")[COALESCING]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    # One that is told to leave is a member until it has.
    assert spec["replicas"] + 1 <= TopicSettings().partitions


def test_the_metrics_of_autoscalers_and_of_the_adapter_are_exported() -> None:
    registry = CollectorRegistry()
    metrics = LagMetrics(registry)
    metrics.report = [GroupLag("freshline.write-through", [], members=1, demand=Demand(1, "load"))]
    exported = {metric.name for metric in registry.collect()}
    rules = yaml.safe_load((K8S / "prometheus" / "adapter-rules.yaml").read_text())
    offered = {rule["seriesQuery"] for rule in rules["externalRules"]}
    asked_for = {
        s["spec"]["metrics"][0]["external"]["metric"]["name"] for s in of_kind("HorizontalPodAutoscaler").values()
    }
    assert asked_for <= offered <= exported


def test_a_watcher_that_is_blind_is_asked_last() -> None:
    rules = yaml.safe_load((K8S / "prometheus" / "adapter-rules.yaml").read_text())
    (rule,) = (rule for rule in rules["externalRules"] if rule["seriesQuery"] == "freshline_demand_replicas")
    # A comma at the end is PromQL, one at the beginning is not.
    assert rule["metricsQuery"] == known_first("<<.Series>>", "", "<<.LabelMatchers>>")


def test_every_setting_is_one() -> None:
    (base,) = settings_of(K8S / "base")
    told = (K8S / "base" / base["envs"][0]).read_text().splitlines()
    for folder in (*(K8S / "overlays").iterdir(), *(K8S / "components").iterdir()):
        told += [each for generator in settings_of(folder) for each in generator["literals"]]
    for name in (each.partition("=")[0] for each in told if not each.startswith("#")):
        section, *fields = name.removeprefix("FRESHLINE_").lower().split("__")
        model: Any = Settings.model_fields[section].annotation
        for field in fields:
            assert field in model.model_fields, name
            model = model.model_fields[field].annotation


@pytest.mark.parametrize(("patch", "kind"), [("pod.yaml", "Deployment"), ("job.yaml", "Job")])
def test_every_pod_is_as_restricted_as_pod_security_asks(patch: str, kind: str) -> None:
    (document,) = yaml.safe_load_all((K8S / "base" / patch).read_text())
    assert document["kind"] == kind
    pod = document["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("overlay", ["dev", "staging", "production"])
def test_every_overlay_says_how_fast_replicas_come_and_go(overlay: str) -> None:
    found = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())
    paces = [each for each in found["components"] if Path(each).name.startswith("scale-")]
    kinds = sorted(Path(each).name.rsplit("-", 1)[0] for each in paces)
    assert kinds == ["scale-down", "scale-up"]
    for each in (*found["components"], *found["resources"]):
        assert (K8S / "overlays" / overlay / each / "kustomization.yaml").exists()

"""Every manifest of every overlay, as the API server itself sees it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshline.cli.main import main
from tests.k8s.control_plane import ControlPlane
from tests.k8s.crds import SOURCES, define

OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"
# What production may have beside what it has.
CHOICES = ["vpa-recommend", "cpu-usual", "cpu-bursty", "cpu-cost-sensitive", "cpu-critical"]


@pytest.fixture(scope="module", autouse=True)
def _ground(control_plane: ControlPlane, go: Path) -> None:
    """What can be tried only where there is something else: objects in a namespace, and of kinds that others define."""
    control_plane.kubectl("apply", "--filename", str(OVERLAYS.parent / "base" / "namespace.yaml"))
    for source in SOURCES:
        define(control_plane, go, source)


def accepted(control_plane: ControlPlane, rendered: str) -> list[str]:
    """The kinds of what was rendered, all of which the API server took, and warned of nothing."""
    told = control_plane.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "--filename=-",
        given=rendered,
    )
    kinds = [each["kind"] for each in yaml.safe_load_all(rendered)]
    assert len(told.splitlines()) == len(kinds)
    assert all("serverside-applied (server dry run)" in line for line in told.splitlines())
    return kinds


def rendered_with(control_plane: ControlPlane, folder: Path, more: dict[str, list[Any]]) -> str:
    """Production with more beside it, as an overlay of one's own has it; components by their folders below k8s."""
    k8s = os.path.relpath(OVERLAYS.parent, folder.resolve())
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{k8s}/overlays/production"],
        **more,
        "components": [f"{k8s}/{each}" for each in more.get("components", [])],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return control_plane.kubectl("kustomize", str(folder))


# Building takes minutes, once.
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("overlay", sorted(each.name for each in OVERLAYS.iterdir()))
def test_every_manifest_is_accepted_and_nothing_is_warned_of(control_plane: ControlPlane, overlay: str) -> None:
    accepted(control_plane, control_plane.kubectl("kustomize", str(OVERLAYS / overlay)))


@pytest.mark.parametrize("choice", CHOICES)
def test_what_production_may_have_beside_is_accepted(control_plane: ControlPlane, choice: str, tmp_path: Path) -> None:
    kinds = accepted(control_plane, rendered_with(control_plane, tmp_path, {"components": [f"components/{choice}"]}))
    without = accepted(control_plane, control_plane.kubectl("kustomize", str(OVERLAYS / "production")))
    more = ["VerticalPodAutoscaler"] * 5 if choice == "vpa-recommend" else []
    assert sorted(kinds) == sorted([*without, *more])


def test_other_settings_are_another_name_so_pods_begin_anew(control_plane: ControlPlane, tmp_path: Path) -> None:
    more = {
        "configMapGenerator": [
            {
                "name": "freshline-settings",
                "namespace": "freshline",
                "behavior": "merge",
                "literals": ["FRESHLINE_REDIS__URL=redis://elsewhere:6379/0"],
            }
        ]
    }
    rendered = {each.name: control_plane.kubectl("kustomize", str(each)) for each in OVERLAYS.iterdir()}
    rendered["own"] = rendered_with(control_plane, tmp_path, more)
    names = set()
    for each in rendered.values():
        documents = list(yaml.safe_load_all(each))
        (settings,) = (
            document["metadata"]["name"]
            for document in documents
            if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith("freshline-settings")
        )
        pods = [document["spec"]["template"] for document in documents if document["kind"] in {"Deployment", "Job"}]
        assert {pod["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"] for pod in pods} == {settings}
        names.add(settings)
    assert len(names) == len(rendered)


def test_keda_scales_what_autoscalers_scaled(control_plane: ControlPlane) -> None:
    kinds = accepted(control_plane, control_plane.kubectl("kustomize", str(OVERLAYS / "keda")))
    before = accepted(control_plane, control_plane.kubectl("kustomize", str(OVERLAYS / "production")))
    assert kinds.count("ScaledObject") == before.count("HorizontalPodAutoscaler")
    assert "HorizontalPodAutoscaler" not in kinds


def test_advice_on_resources_is_a_patch_that_is_accepted(
    control_plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patches = ""
    for role in ("write-through", "invalidation"):
        assert main(["resources", "advise", role, "--cpu-p95", "450m", "--memory-max", "600Mi", "--patch"]) == 0
        patches += f"---\n{capsys.readouterr().out}"
    (tmp_path / "advice.yaml").write_text(patches)
    rendered = rendered_with(control_plane, tmp_path, {"patches": [{"path": "advice.yaml"}]})
    accepted(control_plane, rendered)
    requested = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        for each in yaml.safe_load_all(rendered)
        if each["kind"] == "Deployment"
    }
    assert requested["write-through"] == requested["invalidation"] == "750m"
    assert requested["coalescing"] == "500m"


@pytest.mark.parametrize(
    ("overlay", "right", "wrong"),
    [
        ("production", "averageValue", "averageValu"),
        ("production", "runAsNonRoot: true", "runAsNonRoot: maybe"),
        ("production", "podMetricsEndpoints", "podMetricsEndpoint"),
        ("production", "interval: 15s", "interval: sometimes"),
        ("keda", "currentReplicasIfHigher", "asBefore"),
        ("keda", "cooldownPeriod", "coolDownPeriod"),
    ],
)
def test_what_is_wrong_is_refused(control_plane: ControlPlane, overlay: str, right: str, wrong: str) -> None:
    rendered = control_plane.kubectl("kustomize", str(OVERLAYS / overlay))
    assert right in rendered
    with pytest.raises(AssertionError, match="kubectl apply"):
        accepted(control_plane, rendered.replace(right, wrong))


def test_monitoring_is_in_the_overlays_that_ask_for_it(control_plane: ControlPlane) -> None:
    found = {
        overlay: list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(OVERLAYS / overlay))))
        for overlay in ("dev", "production")
    }
    kinds = {overlay: {each["kind"] for each in each_of} for overlay, each_of in found.items()}
    assert kinds["production"] - kinds["dev"] == {"PodMonitor", "PrometheusRule"}
    (monitor,) = (each for each in found["production"] if each["kind"] == "PodMonitor")
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    ports = {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
    for deployment in (each for each in found["production"] if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]
        assert selected <= pod["metadata"]["labels"].items()
        assert ports == {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        # Or whoever also scrapes by annotations would count twice.
        assert not any(name.startswith("prometheus.io/") for name in pod["metadata"].get("annotations") or {})


def test_pod_security_has_nothing_against_our_pods(control_plane: ControlPlane) -> None:
    rendered = control_plane.kubectl("kustomize", str(OVERLAYS / "production"))
    for each in yaml.safe_load_all(rendered):
        if each["kind"] in {"Deployment", "Job"}:
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": each["metadata"]["name"], "namespace": "freshline"},
                "spec": each["spec"]["template"]["spec"],
            }
            told = control_plane.kubectl("create", "--dry-run=server", "--filename=-", given=yaml.safe_dump(pod))
            assert "created (server dry run)" in told

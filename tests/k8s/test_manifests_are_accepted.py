"""Every manifest of every overlay, as the API server itself sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.k8s.control_plane import ControlPlane
from tests.k8s.crds import SOURCES, define

OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"


@pytest.fixture(scope="module", autouse=True)
def _ground(control_plane: ControlPlane, go: Path) -> None:
    """What can be tried only where there is something else: objects in a namespace, and of kinds that others define."""
    control_plane.kubectl("apply", "--filename", str(OVERLAYS.parent / "base" / "namespace.yaml"))
    for source in SOURCES:
        define(control_plane, go, source)


# Building takes minutes, once.
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("overlay", sorted(each.name for each in OVERLAYS.iterdir()))
def test_every_manifest_is_accepted_and_nothing_is_warned_of(control_plane: ControlPlane, overlay: str) -> None:
    rendered = control_plane.kubectl("kustomize", str(OVERLAYS / overlay))
    told = control_plane.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "--filename=-",
        given=rendered,
    )
    assert len(told.splitlines()) == len(list(yaml.safe_load_all(rendered)))
    assert all("serverside-applied (server dry run)" in line for line in told.splitlines())


def test_what_is_wrong_is_refused(control_plane: ControlPlane) -> None:
    rendered = control_plane.kubectl("kustomize", str(OVERLAYS / "production"))
    for right, wrong in (
        ("averageValue", "averageValu"),
        ("runAsNonRoot: true", "runAsNonRoot: maybe"),
        ("podMetricsEndpoints", "podMetricsEndpoint"),
        ("interval: 15s", "interval: sometimes"),
    ):
        assert right in rendered
        with pytest.raises(AssertionError, match="kubectl apply"):
            control_plane.kubectl(
                "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-",
                given=rendered.replace(right, wrong),
            )  # fmt: skip


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

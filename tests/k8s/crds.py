"""Kinds of objects that Kubernetes does not have by itself: their definitions, from the Go modules of who made them.

A module is fetched once, by version and checksum, and kept where Go keeps modules; nothing of it is built.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from tests.k8s.control_plane import ControlPlane

_TIMEOUT_S: Final = 300.0


class Source(NamedTuple):
    """Where definitions come from.

    Attributes:
        module: of Go.
        version: of it.
        checksum: of all of its files, as in a ``go.sum``.
        glob: its files that are definitions.
    """

    module: str
    version: str
    checksum: str
    glob: str


# ServiceMonitor, PodMonitor, PrometheusRule.
PROMETHEUS_OPERATOR: Final = Source(
    "github.com/prometheus-operator/prometheus-operator",
    "v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
    "example/prometheus-operator-crd/*.yaml",
)
# ScaledObject, TriggerAuthentication.
KEDA: Final = Source(
    "github.com/kedacore/keda/v2",
    "v2.21.0",
    "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
    "config/crd/bases/keda.sh_*.yaml",
)
# VerticalPodAutoscaler.
VERTICAL_POD_AUTOSCALER: Final = Source(
    "k8s.io/autoscaler/vertical-pod-autoscaler",
    "v1.8.1",
    "h1:Pe8bV1wozN4gOKO1rleiIY5alIyAXN+DnXDbXQcL4fI=",
    "deploy/vpa-v1-crd-gen.yaml",
)
SOURCES: Final = (PROMETHEUS_OPERATOR, KEDA, VERTICAL_POD_AUTOSCALER)


def definitions(go: Path, source: Source) -> list[Path]:
    """The files of a source, fetched if they are not here yet.

    Raises:
        AssertionError: the module can't be had, or is another than was meant, or has no such files.
    """
    ended = subprocess.run(
        [go, "mod", "download", "-json", f"{source.module}@{source.version}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GOTOOLCHAIN": "local"},
        timeout=_TIMEOUT_S,
    )
    assert ended.stdout, ended.stderr
    told = json.loads(ended.stdout)
    assert "Error" not in told, told["Error"]
    assert told["Sum"] == source.checksum, f"{source.module}@{source.version} has the checksum {told['Sum']}"
    found = sorted(Path(told["Dir"]).glob(source.glob))
    assert found, f"{source.module}@{source.version} has no {source.glob}"
    return found


def define(control_plane: ControlPlane, go: Path, source: Source) -> None:
    """Have the API server know the kinds of a source, and wait until it does."""
    files = [f"--filename={each}" for each in definitions(go, source)]
    # Some are too large for the annotation in which a client-side apply remembers them.
    control_plane.kubectl("apply", "--server-side", *files)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)

"""The way of a metric to an autoscaler: Prometheus ▸ prometheus-adapter ▸ the API server's aggregation layer.

The adapter runs the rules of ``k8s/prometheus/adapter-rules.yaml``. A Service of type ExternalName leads the API server
to it, since nobody routes addresses of services here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from infra.local.ports import HOST, free_port
from tests.k8s.control_plane import EXTENSION, ControlPlane
from tests.k8s.processes import Processes
from tests.k8s.programs import Programs

RULES: Final = Path(__file__).parents[2] / "k8s" / "prometheus" / "adapter-rules.yaml"
EXTERNAL: Final = "/apis/external.metrics.k8s.io/v1beta1"


class Chain:
    """What was started."""

    def __init__(self, prometheus_url: str) -> None:
        self.prometheus_url = prometheus_url

    def value(self, query: str) -> float | None:
        """What Prometheus says now; None where it says nothing."""
        results = self._results(query)
        return float(results[0]["value"][1]) if results else None

    def labels(self, query: str, name: str) -> list[str]:
        """What the label of this name says in what Prometheus finds now."""
        return sorted(result["metric"][name] for result in self._results(query))

    def _results(self, query: str) -> list[dict[str, Any]]:
        found = httpx.get(f"{self.prometheus_url}/api/v1/query", params={"query": query}, trust_env=False)
        results: list[dict[str, Any]] = found.json()["data"]["result"]
        return results


@contextmanager
def open_chain(programs: Programs, control_plane: ControlPlane, folder: Path, *, scraped: int) -> Iterator[Chain]:
    """The chain, with what is served on this port at its beginning."""
    processes = Processes(folder)
    try:
        prometheus = _start_prometheus(programs, processes, scraped)
        _start_adapter(programs, processes, control_plane, prometheus)
        yield Chain(prometheus)
    finally:
        processes.end_all()


def _start_prometheus(programs: Programs, processes: Processes, scraped: int) -> str:
    port = free_port()
    configuration = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "lag", "static_configs": [{"targets": [f"{HOST}:{scraped}"]}]}],
    }
    file = processes.folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration))
    processes.start(
        "prometheus",
        str(programs.path("prometheus")),
        f"--config.file={file}",
        f"--storage.tsdb.path={processes.folder / 'tsdb'}",
        f"--web.listen-address={HOST}:{port}",
    )
    url = f"http://{HOST}:{port}"
    processes.wait("prometheus", lambda: httpx.get(f"{url}/-/ready", trust_env=False).is_success)
    return url


def _start_adapter(programs: Programs, processes: Processes, control_plane: ControlPlane, prometheus: str) -> None:
    port = free_port()
    for manifest in _registration(control_plane, port):
        control_plane.kubectl("apply", "--filename=-", given=yaml.safe_dump(manifest))
    certificates, kubeconfig = control_plane.certificates, control_plane.kubeconfig
    processes.start(
        "adapter",
        str(programs.path("adapter")),
        f"--secure-port={port}",
        f"--bind-address={HOST}",
        f"--tls-cert-file={certificates / 'extension.crt'}",
        f"--tls-private-key-file={certificates / 'extension.key'}",
        f"--lister-kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--prometheus-url={prometheus}",
        f"--config={RULES}",
        "--metrics-relist-interval=2s",
        "--metrics-max-age=30s",
    )
    # That it is said to be available proves nothing of trust: what is asked for through it does.
    processes.wait("adapter", lambda: bool(control_plane.get(EXTERNAL)["resources"]))


def _registration(control_plane: ControlPlane, port: int) -> list[dict[str, Any]]:
    service, namespace, _ = EXTENSION.split(".")
    authority = base64.b64encode((control_plane.certificates / "ca.crt").read_bytes()).decode()
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": namespace},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": authority,
                "service": {"name": service, "namespace": namespace, "port": port},
            },
        },
    ]

"""Advice on resources from a real Prometheus, which scraped what kubelets and kube-state-metrics say of pods."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import httpx
import pytest
import yaml

from freshline.cli.main import EXIT_ERROR, main
from freshline.resources.advice import Given, Resources
from freshline.resources.quantities import MIB
from freshline.resources.seen import seen
from infra.local.ports import HOST, free_port
from tests.k8s.processes import Processes
from tests.k8s.programs import Programs

# Each scrape is told what was a minute after the one before, up to now: most of an hour passes in seconds.
MINUTES: Final = 45
# Of each pod's container how many cores it takes, and how much memory at first; it grows by half.
PODS: Final = {
    ("freshline", "write-through-5d9c7b8f6d-abcde", "freshline"): (0.2, 100 * MIB),
    ("freshline", "write-through-5d9c7b8f6d-fghij", "freshline"): (0.9, 300 * MIB),
    ("freshline", "write-through-5d9c7b8f6d-fghij", "neighbour"): (3.0, 900 * MIB),
    ("freshline", "semantic-refresh-7c8d9f-klmno", "freshline"): (0.5, 800 * MIB),
    ("freshline", "topics-pqrst", "freshline"): (2.0, 100 * MIB),
    ("without-requests", "write-through-5d9c7b8f6d-abcde", "freshline"): (0.2, 100 * MIB),
}
GIVEN: Final = {("requests", "cpu"): 0.5, ("limits", "cpu"): 1.5,
                ("requests", "memory"): 512 * MIB, ("limits", "memory"): 1536 * MIB}  # fmt: skip


class Kubelet(BaseHTTPRequestHandler):
    """What is scraped, and kube-state-metrics in one."""

    began_s = 0.0
    scrapes = 0

    def do_GET(self) -> None:
        """Tell the next minute."""
        if not Kubelet.scrapes:
            # Not before it is asked: Prometheus takes nothing that is older than an hour.
            Kubelet.began_s = time.time() - MINUTES * 60
        minute = min(Kubelet.scrapes, MINUTES)
        Kubelet.scrapes += 1
        at_ms = round((Kubelet.began_s + minute * 60) * 1000)
        told = "".join(f"{series} {at_ms}\n" for series in _series(minute)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _series(minute: int) -> Iterator[str]:
    for (namespace, pod, container), (cores, memory) in PODS.items():
        labels = f'namespace="{namespace}",pod="{pod}",container="{container}"'
        yield f"container_cpu_usage_seconds_total{{{labels}}} {cores * 60 * minute}"
        yield f"container_memory_working_set_bytes{{{labels}}} {memory * (1 + 0.5 * minute / MINUTES)}"
        for (kind, resource), amount in GIVEN.items() if namespace == "freshline" else ():
            yield f'kube_pod_container_resource_{kind}{{{labels},resource="{resource}"}} {amount}'


@pytest.fixture(scope="module")
def prometheus(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that has scraped most of an hour."""
    processes = Processes(tmp_path_factory.mktemp("prometheus"))
    with ThreadingHTTPServer((HOST, 0), Kubelet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield _scraped(programs, processes, server.server_address[1])
        finally:
            processes.end_all()
            server.shutdown()


def _scraped(programs: Programs, processes: Processes, scraped: int) -> str:
    port = free_port()
    url = f"http://{HOST}:{port}"
    job = {"job_name": "kubelet", "scrape_interval": "200ms", "scrape_timeout": "200ms"}
    file = processes.folder / "prometheus.yaml"
    file.write_text(
        yaml.safe_dump({"scrape_configs": [job | {"static_configs": [{"targets": [f"{HOST}:{scraped}"]}]}]})
    )
    processes.start(
        "prometheus",
        str(programs.path("prometheus")),
        f"--config.file={file}",
        f"--storage.tsdb.path={processes.folder / 'tsdb'}",
        f"--web.listen-address={HOST}:{port}",
    )

    def is_up_to_now() -> bool:
        query = {"query": 'max(container_memory_working_set_bytes{container="freshline"})'}
        found = httpx.get(f"{url}/api/v1/query", params=query, trust_env=False).json()["data"]["result"]
        return bool(found) and float(found[0]["value"][1]) == 1.5 * 800 * MIB

    processes.wait("prometheus", is_up_to_now)
    return url


# Building takes minutes, once.
@pytest.mark.timeout(2_400)
def test_of_each_role_the_pod_that_used_most_counts(prometheus: str) -> None:
    found = {each.role: each for each in seen(prometheus, namespace="freshline", days=1)}
    assert found.keys() == {"write-through", "semantic-refresh"}
    of_writers = found["write-through"]
    assert of_writers.present == Resources(Given(500, 1500), Given(512 * MIB, 1536 * MIB))
    assert of_writers.observed.cpu.usual == pytest.approx(900, rel=0.01)
    assert of_writers.observed.cpu.most == pytest.approx(900, rel=0.01)
    assert of_writers.observed.memory.most == 450 * MIB
    assert 430 * MIB < of_writers.observed.memory.usual < 450 * MIB


@pytest.mark.timeout(2_400)
def test_advice_follows_from_what_prometheus_knows(prometheus: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resources", "advise", "--prometheus", prometheus, "--days", "1", "--json"]) == 0
    told = {each["role"]: each["advice"] for each in json.loads(capsys.readouterr().out)}
    assert told["write-through"]["verdict"] == "under-provisioned"
    assert told["write-through"]["resources"]["cpu"] == {"request": 1130, "limit": 3380}
    assert main(["resources", "advise", "lag", "--prometheus", prometheus]) == EXIT_ERROR
    assert "does not know the role lag. It knows: semantic-refresh, write-through" in capsys.readouterr().err


@pytest.mark.timeout(2_400)
def test_what_is_not_scraped_is_named(prometheus: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["resources", "advise", "--prometheus", prometheus, "--namespace", "without-requests"]
    assert main(arguments) == EXIT_ERROR
    told = capsys.readouterr().err
    assert "missing: CPU's request, CPU's limit, memory's request, memory's limit" in told
    assert "kube-state-metrics" in told

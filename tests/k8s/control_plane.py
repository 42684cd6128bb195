"""A real control plane of Kubernetes on this machine.

    etcd ▸ kube-apiserver ▸ kube-controller-manager (deployments and autoscalers)

It is for tests alone, on the loopback interface, with a token that everybody knows. There is no kubelet and no
scheduler: whoever needs pods to run looks after them himself (``pods.py``).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final, Self

import httpx

from infra.local.ports import HOST, free_port
from tests.k8s.processes import Processes

_TOKEN: Final = "test"
_CONTROLLERS: Final = (
    "deployment-controller",
    "replicaset-controller",
    "horizontal-pod-autoscaler-controller",
    "garbage-collector-controller",
)
# The names under which an extension of the API is asked for: of its service.
EXTENSION: Final = "adapter.monitoring.svc"


class ControlPlane:
    """Runs within a ``with`` block. Everything of it lies in one folder."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Nothing is started yet."""
        self._program = program
        self._processes = Processes(folder)
        self._etcd_port = free_port()
        self._peer_port = free_port([self._etcd_port])
        self._port = free_port([self._etcd_port, self._peer_port])
        self.certificates = folder / "certificates"
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {_TOKEN}"},
            verify=False,  # noqa: S501 - on the loopback interface
            trust_env=False,
            timeout=10,
        )

    def __enter__(self) -> Self:
        """Start it, and wait until it is ready."""
        try:
            self._start_etcd()
            self._start_apiserver()
            self._start_controllers()
        except BaseException:
            self._processes.end_all()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it."""
        self.client.close()
        self._processes.end_all()

    @property
    def url(self) -> str:
        """Of the API server."""
        return f"https://{HOST}:{self._port}"

    @property
    def kubeconfig(self) -> Path:
        """How to reach it, as a file."""
        file = self._processes.folder / "kubeconfig"
        named = {
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        }
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "test", **named}))
        return file

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What ``kubectl`` prints.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        ended = subprocess.run(
            [self._program, "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self._processes.folder)},
        )
        assert ended.returncode == 0, f"kubectl {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout

    def get(self, path: str) -> Any:
        """What the API server has under a path.

        Raises:
            AssertionError: it has nothing there.
        """
        response = self.client.get(path)
        assert response.is_success, f"{path}: {response.text}"
        return response.json()

    def _start_etcd(self) -> None:
        url, peer = f"http://{HOST}:{self._etcd_port}", f"http://{HOST}:{self._peer_port}"
        self._processes.start(
            "etcd",
            str(self._program),
            "etcd",
            f"--data-dir={self._processes.folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # What is lost with the machine is a test's.
            "--unsafe-no-fsync",
        )
        self._processes.wait("etcd", lambda: httpx.get(f"{url}/health", trust_env=False).is_success)

    def _start_apiserver(self) -> None:
        self.certificates.mkdir()
        subprocess.run([self._program, "certificates", self.certificates, EXTENSION], check=True)
        tokens = self._processes.folder / "tokens.csv"
        tokens.write_text(f"{_TOKEN},admin,admin,system:masters\n")
        self._processes.start(
            "kube-apiserver",
            str(self._program),
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{self._etcd_port}",
            f"--bind-address={HOST}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._processes.folder / 'apiserver'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.certificates / 'service-accounts.key'}",
            f"--service-account-signing-key-file={self.certificates / 'service-accounts.key'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            # Its controller makes service accounts, and does not run here.
            "--disable-admission-plugins=ServiceAccount",
            # How extensions of the API know that it is the API server that asks, and for whom.
            f"--requestheader-client-ca-file={self.certificates / 'ca.crt'}",
            "--requestheader-allowed-names=aggregator",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self.certificates / 'aggregator.crt'}",
            f"--proxy-client-key-file={self.certificates / 'aggregator.key'}",
        )
        self._processes.wait("kube-apiserver", lambda: self.client.get("/readyz").is_success)

    def _start_controllers(self) -> None:
        port = free_port([self._etcd_port, self._peer_port, self._port])
        self._processes.start(
            "kube-controller-manager",
            str(self._program),
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--bind-address={HOST}",
            f"--secure-port={port}",
            f"--cert-dir={self._processes.folder / 'controllers'}",
            "--leader-elect=false",
            # 15 s in a cluster; what a test waits for is the same, sooner.
            "--horizontal-pod-autoscaler-sync-period=1s",
        )
        self._processes.wait(
            "kube-controller-manager",
            lambda: httpx.get(f"https://{HOST}:{port}/healthz", verify=False, trust_env=False).is_success,  # noqa: S501
        )

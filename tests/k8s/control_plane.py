"""A real control plane of Kubernetes on this machine: etcd and the API server, built from their Go modules.

    go build (once, minutes) ▸ etcd ▸ kube-apiserver ▸ kubectl

It is for tests alone, on the loopback interface, with a token that everybody knows. There is no kubelet: pods are
accepted and never run.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

import httpx

from infra.local.ports import HOST, free_port

_SOURCES: Final = Path(__file__).parent / "controlplane"
_TOKEN: Final = "test"
_BUILD_TIMEOUT_S: Final = 1_800.0
_START_TIMEOUT_S: Final = 120.0
_LINKED: Final = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in {"gitVersion": "v1.34.4", "gitMajor": "1", "gitMinor": "34"}.items()
)


def build(go: Path, cache: Path) -> Path:
    """The program, built if that was not done before; it is named after its sources.

    Args:
        go: the toolchain.
        cache: where programs are kept.
    """
    digest = sha256(b"".join((_SOURCES / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()
    program = cache / f"controlplane-{digest[:16]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(".unfinished")
        command = [str(go), "build", "-trimpath", "-ldflags", f"-s -w {_LINKED}", "-o", str(unfinished), "."]
        subprocess.run(
            command, cwd=_SOURCES, check=True, timeout=_BUILD_TIMEOUT_S, env=os.environ | {"GOTOOLCHAIN": "local"}
        )
        unfinished.rename(program)
    return program


class ControlPlane:
    """Runs within a ``with`` block. Everything of it lies in one folder."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Nothing is started yet."""
        self._program = program
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._etcd_port = free_port()
        self._peer_port = free_port([self._etcd_port])
        self._port = free_port([self._etcd_port, self._peer_port])

    def __enter__(self) -> Self:
        """Start it, and wait until it is ready."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start_etcd()
            self._start_apiserver()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it."""
        self._stop()

    @property
    def url(self) -> str:
        """Of the API server."""
        return f"https://{HOST}:{self._port}"

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What ``kubectl`` prints.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        command = [str(self._program), "kubectl", f"--server={self.url}", "--insecure-skip-tls-verify"]
        ended = subprocess.run(
            [*command, f"--token={_TOKEN}", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self._folder), "KUBECONFIG": "/dev/null"},
        )
        assert ended.returncode == 0, f"kubectl {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout

    def _start_etcd(self) -> None:
        url, peer = f"http://{HOST}:{self._etcd_port}", f"http://{HOST}:{self._peer_port}"
        self._start(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # What is lost with the machine is a test's.
            "--unsafe-no-fsync",
        )
        self._wait(lambda: httpx.get(f"{url}/health", trust_env=False).is_success, "etcd")

    def _start_apiserver(self) -> None:
        key = self._folder / "service-accounts.key"
        key.write_bytes(subprocess.run([str(self._program), "key"], check=True, capture_output=True).stdout)
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{_TOKEN},admin,admin,system:masters\n")
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://{HOST}:{self._etcd_port}",
            f"--bind-address={HOST}",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'certificates'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            # Its controller makes service accounts, and does not run here.
            "--disable-admission-plugins=ServiceAccount",
        )
        self._wait(
            lambda: (
                httpx.get(
                    f"{self.url}/readyz",
                    headers={"Authorization": f"Bearer {_TOKEN}"},
                    verify=False,  # noqa: S501 - on the loopback interface
                    trust_env=False,
                ).is_success
            ),
            "kube-apiserver",
        )

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen([str(self._program), name, *arguments], stdout=log, stderr=log, cwd=self._folder)
            )

    def _wait(self, is_ready: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                if is_ready():
                    return
            except httpx.HTTPError:
                pass
            log = self._folder / f"{name}.log"
            assert self._running[-1].poll() is None, f"{name} ended: {log.read_text()[-2_000:]}"
            assert time.monotonic() < deadline, f"{name} is not ready: {log.read_text()[-2_000:]}"
            time.sleep(0.1)

    def _stop(self) -> None:
        running: Sequence[subprocess.Popen[bytes]] = list(reversed(self._running))
        for process in running:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

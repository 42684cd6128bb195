"""What a kubelet would do for the pods of one Deployment: run them, say that they are ready, end them.

A pod's command and its settings are those of its manifest; only the addresses of stores are the test's. No scheduler
gives these pods a node, so one that is deleted is gone at once: its process is then told to stop, as it would be.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.k8s.control_plane import ControlPlane
from tests.k8s.processes import Processes

_LOOK_EVERY_S: Final = 0.25


class Pods:
    """Looks after them. Made by ``open_pods``."""

    def __init__(
        self, control_plane: ControlPlane, namespace: str, name: str, folder: Path, addresses: Mapping[str, str]
    ) -> None:
        self._control_plane = control_plane
        self._path = f"/api/v1/namespaces/{namespace}"
        self._name = name
        self._processes = Processes(folder)
        self._addresses = addresses
        self._stopping = asyncio.Event()
        self.running: set[str] = set()
        self.started = 0

    async def run(self) -> None:
        """Until stopped; then all are ended."""
        while not self._stopping.is_set():
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.to_thread(self._processes.end_all)

    def stop(self) -> None:
        """Look after them no more."""
        self._stopping.set()

    def _look(self) -> None:
        found = self._control_plane.get(f"{self._path}/pods?labelSelector=app.kubernetes.io/name%3D{self._name}")
        pods = {pod["metadata"]["name"]: pod for pod in found["items"]}
        for name in self.running - pods.keys():
            self._processes.end(name)
            self.running.discard(name)
        for name in pods.keys() - self.running:
            self._start(name, pods[name])

    def _start(self, name: str, pod: Mapping[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        settings: dict[str, str] = {}
        for source in container["envFrom"]:
            settings |= self._control_plane.get(f"{self._path}/configmaps/{source['configMapRef']['name']}")["data"]
        arguments = [*container["args"], "--port", "0"]
        self._processes.start(
            name, sys.executable, "-m", "freshline", *arguments, environment=settings | dict(self._addresses)
        )
        self.running.add(name)
        self.started += 1
        conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "PodScheduled")]
        response = self._control_plane.client.patch(
            f"{self._path}/pods/{name}/status",
            json={"status": {"phase": "Running", "conditions": conditions}},
            headers={"Content-Type": "application/strategic-merge-patch+json"},
        )
        assert response.is_success, response.text


@asynccontextmanager
async def open_pods(
    control_plane: ControlPlane, namespace: str, name: str, folder: Path, addresses: Mapping[str, str]
) -> AsyncIterator[Pods]:
    """The pods of a Deployment, run.

    Args:
        control_plane: that knows of them.
        namespace: theirs.
        name: the Deployment's.
        folder: for their logs.
        addresses: settings that are the test's.
    """
    pods = Pods(control_plane, namespace, name, folder, addresses)
    running = asyncio.create_task(pods.run())
    try:
        yield pods
    finally:
        pods.stop()
        await running

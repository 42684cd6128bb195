"""Everything that a test of scaling needs, running: a log, a slow store, the way of metrics, an autoscaler, pods."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from bench.scaling.real import PARTITIONS, RECOVERY_S
from infra.cancellation import cancel
from infra.local.ports import HOST, free_port
from infra.settings import DemandSettings, LagSettings, Settings
from tests.conftest import MakeSettings
from tests.faults.processes import environment
from tests.integration.worker_ground import Ground, open_ground
from tests.k8s.chain import open_chain
from tests.k8s.control_plane import ControlPlane
from tests.k8s.events import Events
from tests.k8s.pods import open_pods
from tests.k8s.processes import Processes
from tests.k8s.programs import Programs
from tests.k8s.slow_store import SlowStore, open_slow_store
from tests.k8s.timeline import Timeline

NAMESPACE: Final = "freshline"
ROLE: Final = "write-through"
OVERLAY: Final = Path(__file__).parent / "overlay"


class ScaledBy(msgspec.Struct, frozen=True):
    """A metric, and what each replica is to have of it."""

    metric: str
    each: float


class Rise(msgspec.Struct, frozen=True):
    """By how many percent within how many seconds replicas may become more."""

    percent: int
    period_s: int


DOUBLE: Final = Rise(100, 15)
DEMAND: Final = ScaledBy("freshline_demand_replicas", 1)


class World(msgspec.Struct):
    """Everything that runs."""

    ground: Ground
    events: Events
    store: SlowStore
    timeline: Timeline
    control_plane: ControlPlane

    def scale(self, replicas: int) -> None:
        """Let there be so many, where no autoscaler decides."""
        self.control_plane.kubectl("scale", "deployment", ROLE, f"--namespace={NAMESPACE}", f"--replicas={replicas}")

    async def nothing_is_wrong(self) -> None:
        """Send no more, wait until all is applied, and compare every entry with what was said last."""
        self.events.per_s = 0
        await self.timeline.reaches("everything is applied", lambda s: s.lag_messages == 0, 600)
        await self.ground.all_applied()
        assert await self.events.wrong() == []


class Makes(msgspec.Struct, frozen=True):
    """What a world is made of."""

    programs: Programs
    control_plane: ControlPlane
    make_settings: MakeSettings
    folder: Path

    @asynccontextmanager
    async def open(
        self,
        *,
        latency_s: float,
        connection_bytes_per_s: float = math.inf,
        scaled_by: ScaledBy | None = DEMAND,
        up: Rise = DOUBLE,
    ) -> AsyncIterator[World]:
        """A world.

        Args:
            latency_s: how far away its store is, in each direction.
            connection_bytes_per_s: what it takes of each connection.
            scaled_by: what the autoscaler asks for; None for a world without one.
            up: how fast it may rise.
        """
        lag = LagSettings(every_s=1.0, demand=DemandSettings(ceiling=PARTITIONS, recovery_s=RECOVERY_S)).model_dump()
        settings = self.make_settings(topics={"partitions": PARTITIONS}, lag=lag)
        folder = self.folder / settings.namespace
        folder.mkdir()
        host, port = settings.redis.url.removeprefix("redis://").split("/")[0].split(":")
        async with (
            open_ground(settings) as ground,
            open_slow_store(host, int(port), latency_s, connection_bytes_per_s) as store,
        ):
            with (
                _watcher(settings, folder / "lag") as scraped,
                open_chain(self.programs, self.control_plane, folder / "chain", scraped=scraped) as chain,
                _deployed(self.control_plane, settings, scaled_by, up),
            ):
                addresses = _addresses(settings, store, folder)
                async with (
                    open_pods(self.control_plane, NAMESPACE, ROLE, folder / "pods", addresses) as pods,
                    _sending(ground) as events,
                ):
                    timeline = Timeline(
                        self.control_plane,
                        chain,
                        pods,
                        events,
                        deployment=f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{ROLE}",
                        group=settings.group(ROLE),
                    )
                    sampling = asyncio.create_task(timeline.run())
                    try:
                        yield World(ground, events, store, timeline, self.control_plane)
                    finally:
                        await cancel(sampling)


@contextmanager
def _deployed(control_plane: ControlPlane, settings: Settings, scaled_by: ScaledBy | None, up: Rise) -> Iterator[None]:
    """What the overlay says, with the metric of this test's own group."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(OVERLAY))
    if scaled_by is None:
        control_plane.kubectl("delete", "hpa", ROLE, f"--namespace={NAMESPACE}")
    else:
        patch = json.dumps(_scaling(settings.group(ROLE), scaled_by, up))
        control_plane.kubectl("patch", "hpa", ROLE, f"--namespace={NAMESPACE}", "--type=json", f"--patch={patch}")
    try:
        yield
    finally:
        # The namespace stays: nobody here ends what is in one.
        kinds = "horizontalpodautoscalers,deployments,jobs"
        control_plane.kubectl("delete", kinds, "--all", f"--namespace={NAMESPACE}", "--cascade=foreground")


def _scaling(group: str, scaled_by: ScaledBy, up: Rise) -> list[dict[str, Any]]:
    external = {
        "metric": {"name": scaled_by.metric, "selector": {"matchLabels": {"group": group}}},
        "target": {"type": "AverageValue", "averageValue": f"{scaled_by.each:g}"},
    }
    policies = [{"type": "Percent", "value": up.percent, "periodSeconds": up.period_s}]
    return [
        {"op": "replace", "path": "/spec/metrics/0/external", "value": external},
        {"op": "replace", "path": "/spec/behavior/scaleUp/policies", "value": policies},
    ]


@asynccontextmanager
async def _sending(ground: Ground) -> AsyncIterator[Events]:
    events = Events(ground, PARTITIONS)
    running = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        await cancel(running)


@contextmanager
def _watcher(settings: Settings, folder: Path) -> Iterator[int]:
    """``freshline run lag``, and the port that it is scraped at."""
    processes, port = Processes(folder), free_port()
    command = (sys.executable, "-m", "freshline", "run", "lag", "--port", str(port))
    processes.start("lag", *command, environment=environment(settings))
    try:
        processes.wait("lag", lambda: httpx.get(f"http://{HOST}:{port}/ready", trust_env=False).is_success)
        yield port
    finally:
        processes.end_all()


def _addresses(settings: Settings, store: SlowStore, folder: Path) -> dict[str, str]:
    """What a pod's settings can't know: where the test's stores are, and by which names."""
    password = folder / "postgres-password"
    password.write_text(settings.postgres.password_text() or "")
    ours = ("FRESHLINE_KAFKA__", "FRESHLINE_POSTGRES__", "FRESHLINE_TOPIC_PREFIX", "FRESHLINE_NAMESPACE")
    found = {name: value for name, value in environment(settings).items() if name.startswith(ours)}
    database = settings.redis.url.rpartition("/")[2]
    return found | {
        "FRESHLINE_REDIS__URL": f"redis://{HOST}:{store.port}/{database}",
        "FRESHLINE_POSTGRES__PASSWORD_FILE": str(password),
        "FRESHLINE_WORKER__HOST": HOST,
    }

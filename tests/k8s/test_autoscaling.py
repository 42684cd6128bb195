"""Kubernetes's own autoscaler, fed through Prometheus and its adapter, scales real workers by demand."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from infra.cancellation import cancel
from infra.local.ports import HOST, free_port
from infra.settings import DemandSettings, LagSettings, Settings
from tests.conftest import ROOT, MakeSettings
from tests.faults.processes import environment
from tests.integration.worker_ground import Ground, open_ground
from tests.k8s.chain import Chain, open_chain
from tests.k8s.control_plane import ControlPlane
from tests.k8s.events import Events
from tests.k8s.pods import Pods, open_pods
from tests.k8s.processes import Processes
from tests.k8s.programs import Programs
from tests.k8s.slow_store import SlowStore, open_slow_store

NAMESPACE: Final = "freshline"
ROLE: Final = "write-through"
GROUP: Final = f"{NAMESPACE}.{ROLE}"
OVERLAY: Final = Path(__file__).parent / "overlay"
TIMELINES: Final = ROOT / ".local" / "k8s"
PARTITIONS: Final = 8
LATENCY_S: Final = 0.25
LOW_PER_S, HIGH_PER_S = 150.0, 1_500.0


class Sample(msgspec.Struct, frozen=True):
    """One second of a timeline. None is what Prometheus does not know."""

    at_s: float
    load_per_s: float
    lag_messages: float | None
    lag_s: float | None
    demand: float | None
    replicas: int
    running: int


class Timeline:
    """Takes a sample a second, and knows what happened."""

    def __init__(self, control_plane: ControlPlane, chain: Chain, pods: Pods, events: Events) -> None:
        self._control_plane = control_plane
        self._chain = chain
        self._pods = pods
        self._events = events
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.samples.append(await asyncio.to_thread(self._sample))
            await asyncio.sleep(1)

    def _sample(self) -> Sample:
        def of_group(name: str) -> float | None:
            return self._chain.value(f'max({name}{{group="{GROUP}"}})')

        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{ROLE}"
        return Sample(
            time.monotonic() - self._began,
            self._events.per_s,
            of_group("freshline_group_lag_messages"),
            of_group("freshline_group_lag_seconds"),
            of_group("freshline_demand_replicas"),
            self._control_plane.get(path)["spec"]["replicas"],
            len(self._pods.running),
        )

    async def reaches(self, what: str, holds: Callable[[Sample], bool], timeout_s: float) -> None:
        """Wait until the newest sample is so."""
        deadline = time.monotonic() + timeout_s
        while not (self.samples and holds(self.samples[-1])):
            assert time.monotonic() < deadline, f"{what}: {self.samples[-1] if self.samples else 'no sample'}"
            await asyncio.sleep(0.5)

    @property
    def reversals(self) -> int:
        """How often the number of replicas went the other way."""
        moves = [b.replicas - a.replicas for a, b in pairwise(self.samples) if a.replicas != b.replicas]
        return sum(a * b < 0 for a, b in pairwise(moves))

    def write(self, name: str) -> None:
        """Keep it, to be looked at."""
        TIMELINES.mkdir(parents=True, exist_ok=True)
        (TIMELINES / f"{name}.json").write_bytes(msgspec.json.encode(self.samples))


class World(msgspec.Struct):
    """Everything that runs."""

    ground: Ground
    events: Events
    store: SlowStore
    timeline: Timeline


@pytest.fixture
async def world(
    programs: Programs, control_plane: ControlPlane, make_settings: MakeSettings, tmp_path: Path
) -> AsyncIterator[World]:
    lag = LagSettings(every_s=1.0, demand=DemandSettings(ceiling=PARTITIONS)).model_dump()
    settings = make_settings(namespace=NAMESPACE, topics={"partitions": PARTITIONS}, lag=lag)
    host, port = settings.redis.url.removeprefix("redis://").split("/")[0].split(":")
    async with (
        open_ground(settings) as ground,
        open_slow_store(host, int(port), LATENCY_S) as store,
    ):
        with (
            _watcher(settings, tmp_path / "lag") as scraped,
            open_chain(programs, control_plane, tmp_path / "chain", scraped=scraped) as chain,
        ):
            control_plane.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(OVERLAY))
            addresses = _addresses(settings, store, tmp_path)
            async with (
                open_pods(control_plane, NAMESPACE, ROLE, tmp_path / "pods", addresses) as pods,
                _sending(ground) as events,
            ):
                timeline = Timeline(control_plane, chain, pods, events)
                sampling = asyncio.create_task(timeline.run())
                try:
                    yield World(ground, events, store, timeline)
                finally:
                    await cancel(sampling)
                    # The namespace stays: nobody here ends what is in one.
                    kinds = "horizontalpodautoscalers,deployments,jobs"
                    control_plane.kubectl("delete", kinds, "--all", f"--namespace={NAMESPACE}", "--wait=false")


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


@pytest.mark.timeout(3_600)
async def test_a_backlog_brings_workers_and_they_go_when_it_is_worked_off(world: World) -> None:
    timeline, events = world.timeline, world.events
    try:
        events.per_s = LOW_PER_S
        await timeline.reaches("one worker is enough", lambda s: s.replicas == s.running == 1 and s.demand == 1, 120)
        events.per_s = HIGH_PER_S
        await timeline.reaches("more come", lambda s: s.replicas > 2 and s.running == s.replicas, 120)
        events.per_s = 0
        await timeline.reaches("everything is applied", lambda s: s.lag_messages == 0, 300)
        await timeline.reaches("they go again", lambda s: s.replicas == s.running == 1, 300)
    finally:
        timeline.write("backlog")
    assert timeline.reversals == 1
    assert max(each.replicas for each in timeline.samples) <= max(each.demand or 0 for each in timeline.samples)
    await world.ground.all_applied()
    assert await events.wrong() == []

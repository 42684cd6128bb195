"""What happens to a Deployment that is scaled, second by second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bench.scaling.timelines import Sample
from tests.conftest import ROOT
from tests.k8s.chain import Chain
from tests.k8s.control_plane import ControlPlane
from tests.k8s.events import Events
from tests.k8s.pods import Pods

TIMELINES: Final = ROOT / ".local" / "k8s"
_SAMPLE_EVERY_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.5


class Timeline:
    """Takes a sample a second of a Deployment and of the group that its pods are."""

    def __init__(
        self, control_plane: ControlPlane, chain: Chain, pods: Pods, events: Events, *, deployment: str, group: str
    ) -> None:
        self._control_plane = control_plane
        self._chain = chain
        self._pods = pods
        self._events = events
        self._deployment = deployment
        self._group = group
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.samples.append(await asyncio.to_thread(self._sample))
            await asyncio.sleep(_SAMPLE_EVERY_S)

    async def reaches(
        self, what: str, holds: Callable[[Sample], bool], timeout_s: float, *, for_s: float = 0.0
    ) -> None:
        """Wait until the samples are so, and have been for so long."""
        began_s = self.now_s
        while True:
            newer = self.since(began_s)
            if newer and holds(newer[-1]):
                others = [sample.at_s for sample in newer if not holds(sample)]
                if newer[-1].at_s - max(others, default=began_s) >= for_s:
                    return
            assert self.now_s < began_s + timeout_s, f"{what}: {newer[-1] if newer else 'no sample'}"
            await asyncio.sleep(_LOOK_EVERY_S)

    async def goes_on(self, seconds: float, never: Callable[[Sample], bool] = lambda _: False) -> None:
        """Let so much of it pass, in which this is never so."""
        began_s = self.now_s
        while self.now_s < began_s + seconds:
            await asyncio.sleep(_LOOK_EVERY_S)
            for sample in self.since(began_s):
                assert not never(sample), sample

    def since(self, at_s: float) -> list[Sample]:
        """What was later than that."""
        return [sample for sample in self.samples if sample.at_s >= at_s]

    @property
    def now_s(self) -> float:
        """As samples count time."""
        return time.monotonic() - self._began

    def write(self, name: str) -> Path:
        """Keep it, to be looked at and drawn."""
        TIMELINES.mkdir(parents=True, exist_ok=True)
        file = TIMELINES / f"{name}.json"
        file.write_bytes(msgspec.json.encode(self.samples))
        return file

    def _sample(self) -> Sample:
        def of_group(name: str) -> float | None:
            return self._chain.value(f'max({name}{{group="{self._group}"}})')

        # An older reason stays for as long as Prometheus looks back.
        reasons = self._chain.labels(f'freshline_demand_replicas{{group="{self._group}"}}', "reason")
        return Sample(
            self.now_s,
            self._events.per_s,
            of_group("freshline_group_lag_messages"),
            of_group("freshline_group_lag_seconds"),
            of_group("freshline_demand_replicas"),
            ",".join(reasons) or None,
            self._control_plane.get(self._deployment)["spec"]["replicas"],
            len(self._pods.running),
        )

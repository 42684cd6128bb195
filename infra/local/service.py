"""One server of the local stack, whatever it is: the same anatomy for all. Adding one is copying a shape.

A start goes through these steps::

    fetch      what must be downloaded or unpacked (in a thread)
    prepare    what must lie there before a start
    launch     the command, spawned in a session of its own
    healthy    asked until it answers
    introduce  what must be made in the fresh server
"""

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psutil

from infra.local.artifacts import ArtifactStore
from infra.local.ports import POLL_INTERVAL_S, free_port, is_free
from infra.local.processes import Launch, ServiceFailedError, end, find, kill, log_tail, marked, spawn
from infra.local.progress import Progress
from infra.local.state import ServiceRecord, StateFile
from infra.settings import LocalSettings


@dataclass(frozen=True)
class Surroundings:
    """What every service of one stack shares: its folder, settings, state, artifacts, and how progress is shown."""

    folder: Path
    settings: LocalSettings
    state: StateFile
    artifacts: ArtifactStore
    progress: Progress


@dataclass(frozen=True)
class ServiceStatus:
    """How a service is, for people: ``running``, ``not answering`` or ``stopped``."""

    name: str
    state: str
    endpoint: str
    pid: int | None
    log_file: Path


class Service(ABC):
    """A server process of one stack. Nothing is held in memory that another process could not read from the state."""

    name: ClassVar[str]
    # The section of the settings that this service is the endpoint of.
    section: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    # For a server whose data go with it: nothing is worth waiting for.
    abandon_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings

    @property
    def folder(self) -> Path:
        """Where its data lie."""
        return self._around.folder / self.name

    @property
    def log_file(self) -> Path:
        """Where everything that it prints goes."""
        return self._around.folder / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The id of its process; ``None`` while it does not run."""
        process = self._process()
        return None if process is None else process.pid

    @property
    def ports(self) -> Mapping[str, int]:
        """Its ports by purpose; empty before its first start."""
        return self._record().ports

    @property
    def stop_timeout_s(self) -> float:
        """How long it may take to end in order, before it is killed."""
        return self._around.settings.stop_timeout_s

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Its address as a person would write it, without secrets."""

    @abstractmethod
    def endpoints(self) -> dict[str, Any]:
        """Its section of the settings, as another process needs it to connect."""

    @abstractmethod
    def fetch(self) -> None:
        """Bring what it runs. Blocks; does nothing where it is there already."""

    async def prepare(self) -> None:  # noqa: B027 - not every server needs it
        """Make what must lie in its folder before a start. Does nothing twice."""

    @abstractmethod
    def launch(self) -> Launch:
        """How it is started."""

    @abstractmethod
    async def healthy(self) -> bool:
        """Whether it answers as one that can be worked with. Never raises for a server that is not there."""

    async def introduce(self) -> None:  # noqa: B027 - not every server needs it
        """Make in the running server what its users expect. Does nothing twice."""

    async def start(self) -> None:
        """Start it, and return when it answers. Where it runs already, only wait for its answer.

        Raises:
            ServiceFailedError: it ended or did not answer in time; the message holds the end of its log.
        """
        process = self._process()
        if process is None:
            await self._end_forgotten()
            await asyncio.to_thread(self.fetch)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._settle_ports()
            await self.prepare()
            mark = spawn(self.launch(), self._around.folder, self.name)
            self._remember(msgspec.structs.replace(self._record(), process=mark))
        await self._wait_until_healthy()
        await self.introduce()
        state = self._around.state
        state.change(lambda found: found.with_service(self.name, self._record(), {self.section: self.endpoints()}))

    async def stop(self, *, in_order: bool = True) -> None:
        """End it in order; kill it where it does not end in time, or at once where its data go with it."""
        self._around.state.change(lambda found: found.without_endpoints({self.section}))
        process = self._process()
        if process is not None:
            await end(process, self.stop_signal if in_order else self.abandon_signal, self.stop_timeout_s)
        await self._end_forgotten()
        self._remember(msgspec.structs.replace(self._record(), process=None))

    async def kill(self) -> None:
        """End it as a crash would, and return when it is gone. Its endpoints stay where they were."""
        process = self._process()
        if process is not None:
            await kill(process, self._around.settings.stop_timeout_s)
        await self._end_forgotten()

    async def restart(self) -> None:
        """Stop it in order and start it again on the same ports."""
        await self.stop()
        await self.start()

    async def status(self) -> ServiceStatus:
        """How it is now."""
        process = self._process()
        if process is None:
            return ServiceStatus(self.name, "stopped", "", None, self.log_file)
        state = "running" if await self.healthy() else "not answering"
        return ServiceStatus(self.name, state, self.endpoint, process.pid, self.log_file)

    def _record(self) -> ServiceRecord:
        return self._around.state.read().services.get(self.name, ServiceRecord())

    def _remember(self, record: ServiceRecord) -> None:
        self._around.state.change(lambda state: state.with_service(self.name, record, {}))

    def _process(self) -> psutil.Process | None:
        mark = self._record().process
        return None if mark is None else find(mark, self._around.folder)

    async def _end_forgotten(self) -> None:
        """End what runs for this service without standing in the state: its starter died before writing it down."""
        for process in await asyncio.to_thread(marked, self._around.folder, self.name):
            await kill(process, self._around.settings.stop_timeout_s)

    def _settle_ports(self) -> None:
        """Keep the ports of the last start where they are still free; choose others where they are not."""
        record = self._record()
        ports: dict[str, int] = {}
        taken = [port for other in self._around.state.read().services.values() for port in other.ports.values()]
        for name in self.port_names:
            port = record.ports.get(name)
            ports[name] = port if port is not None and is_free(port) else free_port([*taken, *ports.values()])
        if ports != record.ports:
            self._remember(msgspec.structs.replace(record, ports=ports))

    async def _wait_until_healthy(self) -> None:
        timeout_s = self._around.settings.start_timeout_s
        deadline = time.monotonic() + timeout_s
        while not await self.healthy():
            if self._process() is None:
                raise ServiceFailedError(f"{self.name} ended while it started; {log_tail(self.log_file)}")
            if time.monotonic() > deadline:
                raise ServiceFailedError(
                    f"{self.name} did not answer at {self.endpoint} in {timeout_s:.0f} s; {log_tail(self.log_file)}",
                )
            await asyncio.sleep(POLL_INTERVAL_S)

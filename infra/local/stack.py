"""The local stack: five servers, started together, found again, and ended without a trace.

    postgres ─┐
    valkey   ─┤
    qdrant   ─┤ side by side
    kafka    ─┴─▶ connect (its first act is to read its topics)

Everything lies in one folder: data, logs, and the state with ports and processes, which any later process reads. So two
commands, or two test workers, that name the same folder share one stack.
"""

import asyncio
import fcntl
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local.artifacts import ArtifactStore
from infra.local.connect import ConnectService
from infra.local.kafka import KafkaService
from infra.local.ports import POLL_INTERVAL_S
from infra.local.postgres import PostgresService
from infra.local.processes import kill, marked
from infra.local.progress import Progress, silent
from infra.local.qdrant import QdrantService
from infra.local.service import Service, ServiceStatus, Surroundings
from infra.local.state import StateFile
from infra.local.valkey import ValkeyService
from infra.settings import LocalSettings
from schemas.errors import FreshlineError

SERVICES = ("postgres", "valkey", "qdrant", "kafka", "connect")
# Connect's topics lie in Kafka: it can't start without it, and ends before it.
NEEDS = {"connect": "kafka"}


class UnknownServiceError(FreshlineError):
    """A service was named that the stack does not have."""


class LocalStack:
    """The services of one folder. Making it does no work; nothing runs before `start`, and `stop` ends it."""

    def __init__(self, settings: LocalSettings, progress: Progress = silent) -> None:
        absolute = settings.model_copy(
            update={"folder": settings.folder.absolute(), "cache": settings.cache_folder.absolute()},
        )
        self.folder: Path = absolute.folder
        self.settings = absolute
        around = Surroundings(
            self.folder,
            absolute,
            StateFile(absolute.state_file),
            ArtifactStore(absolute, progress),
            progress,
        )
        self.postgres = PostgresService(around)
        self.valkey = ValkeyService(around)
        self.qdrant = QdrantService(around)
        self.kafka = KafkaService(around)
        self.connect = ConnectService(around)

    async def start(self, names: Collection[str] = SERVICES) -> None:
        """Start services, and return when all of them answer. What runs already is left alone.

        Raises:
            ServiceFailedError: one did not come up; those that did go on running, for a look at them and for `stop`.
            ArtifactError: something that they need can't be downloaded.
        """
        wanted = self._named(names)
        async with self._alone():
            done = {service.name: asyncio.Event() for service in wanted}

            async def start_in_turn(service: Service) -> None:
                await asyncio.to_thread(service.fetch)
                before = done.get(NEEDS.get(service.name, ""))
                if before is not None:
                    await before.wait()
                await service.start()
                done[service.name].set()

            first: FreshlineError | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    for service in wanted:
                        group.create_task(start_in_turn(service))
            except* FreshlineError as errors:
                # Raised in here, it would come out in a group.
                first = _first(errors)
            if first is not None:
                raise first

    async def stop(self, names: Collection[str] = SERVICES, *, data: bool = False) -> None:
        """Stop services in order, those that depend on others first. With ``data`` what they stored goes, too.

        Data that go need no orderly end: the servers are then ended at once.
        """
        wanted = self._named(names)
        async with self._alone():
            for service in wanted:
                if service.name in NEEDS:
                    await service.stop(in_order=not data)
            async with asyncio.TaskGroup() as group:
                for service in wanted:
                    if service.name not in NEEDS:
                        group.create_task(service.stop(in_order=not data))
            if len(wanted) == len(SERVICES):
                for process in await asyncio.to_thread(marked, self.folder):
                    await kill(process, self.settings.stop_timeout_s)
            if data:
                for service in wanted:
                    await asyncio.to_thread(shutil.rmtree, service.folder, ignore_errors=True)
            if data and len(wanted) == len(SERVICES):
                self.settings.state_file.unlink(missing_ok=True)

    async def status(self) -> list[ServiceStatus]:
        """How each service is now."""
        return list(await asyncio.gather(*[service.status() for service in self._named(SERVICES)]))

    @asynccontextmanager
    async def running(self, names: Collection[str] = SERVICES) -> AsyncIterator["LocalStack"]:
        """The stack while the block runs: started before it, stopped after it with its data gone."""
        try:
            await self.start(names)
            yield self
        finally:
            await self.stop(data=True)

    def _named(self, names: Collection[str]) -> list[Service]:
        services: dict[str, Service] = {
            service.name: service for service in (self.postgres, self.valkey, self.qdrant, self.kafka, self.connect)
        }
        unknown = sorted(set(names) - set(services))
        if unknown:
            raise UnknownServiceError(f"no service is called {', '.join(unknown)}: there are {', '.join(services)}")
        return [services[name] for name in services if name in names]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold the folder's lock: two commands that start or stop the same stack do so one after the other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stack.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(POLL_INTERVAL_S)
                else:
                    break
            yield


def _first(errors: ExceptionGroup[FreshlineError]) -> FreshlineError:
    found: Exception = errors
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, FreshlineError)  # noqa: S101 - `except*` sorted out all others
    return found

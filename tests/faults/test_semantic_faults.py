"""Everything that goes wrong with the index, within 10,000 edits; then every passage is compared with the database.

writers ─▶ Postgres ▸ Debezium ▸ Kafka ▸ two coalescing processes ▸ Kafka ▸ two refreshers ▸ Qdrant
faults: refreshers die after each of their steps, a zombie, kill -9 of coalescing, Qdrant away for a minute, kill -9 of
the broker; among the edits are deletions, moves to other owners, other primary keys and TRUNCATEs
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from freshline.reference.changes import Changed, Ground
from freshline.reference.load import Load, Plan
from freshline.reference.population import Population
from freshline.reference.reads import Violation
from freshline.semantic.verification import open_index_verification
from freshline.source.connector import apply_connector
from freshline.source.database import prepare_database
from freshline.source.topics import apply_topics
from infra.kafka.browser import open_browser
from infra.local.stack import LocalStack
from infra.postgres.migrate import migrate
from infra.postgres.pool import Pool, open_pool
from infra.settings import Settings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.faults.nursery import STEPS
from tests.faults.processes import ROOT, WorkerProcess, environment, supervised
from tests.faults.test_all_faults import eventually

EDITS = 10_000
EDITS_PER_S = 100
QDRANT_AWAY_S = 60
KINDS = {
    "insert_user": 1,
    "insert_document": 20,
    "rename_document": 30,
    "rewrite_document": 25,
    "move_document": 12,
    "change_key": 4,
    "delete_document": 9,
    "delete_user": 0.1,
    "rollback": 2,
    "truncate_documents": 0.01,
}


class NoReads:
    """Nobody reads here."""

    async def any(self, population: Population, random: Random) -> str:  # noqa: ARG002 - the reads' form
        """Nothing."""
        return "nothing"

    async def own_write(self, pool: Pool, ground: Ground) -> tuple[Changed, Violation | None]:
        """Nothing."""
        raise NotImplementedError


class Nursery:
    """A process whose children are refreshers that die."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery", str(folder)],
                cwd=ROOT,
                # A static member: a child that follows another one has its partitions at once.
                env=os.environ | environment(settings) | {"FRESHLINE_WORKER__INSTANCE": folder.name},
                stdout=log,
                stderr=log,
            )

    def lines(self, name: str) -> list[str]:
        """What stands in a file of the folder."""
        file = self._folder / name
        return file.read_text().splitlines() if file.exists() else []

    def send(self, number: signal.Signals) -> bool:
        """Send the present child a signal; False where it has just died of itself."""
        try:
            os.kill(int((self._folder / "child").read_text()), number)
        except (ProcessLookupError, FileNotFoundError, ValueError):
            return False
        return True

    def make_peace(self) -> None:
        """Let no child die from the next one on."""
        (self._folder / "peace").touch()
        self.send(signal.SIGKILL)

    def end(self) -> None:
        """End it, and its child."""
        self._process.terminate()
        self._process.wait()
        self.send(signal.SIGKILL)


class Scene:
    """The system under test, and what can be done to it."""

    def __init__(
        self, stack: LocalStack, settings: Settings, coalescing: list[WorkerProcess], nurseries: list[Nursery]
    ) -> None:
        self.stack = stack
        self.settings = settings
        self.coalescing = coalescing
        self.nurseries = nurseries
        self.done: list[str] = []

    async def refreshes(self) -> int:
        """How many records were put on the refresh's topic so far."""
        async with open_browser(self.settings.kafka.client_arguments()) as browser:
            partitions = await browser.partitions([self.settings.refresh_topic])
            return sum((await browser.ends(partitions)).values())

    def deaths(self) -> Counter[str]:
        """How often refreshers died, by step."""
        return Counter(step for nursery in self.nurseries for step in nursery.lines("deaths"))

    async def gets_on(self) -> None:
        """Wait until documents are coalesced and refreshed again."""
        before, deaths = await self.refreshes(), self.deaths().total()

        async def moves() -> bool:
            return await self.refreshes() > before and self.deaths().total() > deaths

        await eventually(moves, "edits are coalesced, and refreshers do enough to die of it")

    async def kill_coalescing(self) -> None:
        """While something is pending: there is no moment without."""
        for process in self.coalescing:
            process.kill()
            await self.gets_on()

    async def make_a_zombie(self) -> None:
        """Stop a refresher for longer than its session, and let it go on with what it had in hand."""
        while not self.nurseries[0].send(signal.SIGSTOP):  # noqa: ASYNC110 - a child that died tells nobody
            await asyncio.sleep(0.1)
        await asyncio.sleep(3 * self.settings.worker.session_timeout_s)
        self.nurseries[0].send(signal.SIGCONT)
        await self.gets_on()

    async def lose_qdrant(self) -> None:
        """For a minute. Whoever needs it waits."""
        await self.stack.qdrant.kill()
        await asyncio.sleep(QDRANT_AWAY_S)
        await self.stack.qdrant.start()
        await self.gets_on()

    async def kill_the_broker(self) -> None:
        """Kill and restart Kafka."""
        await self.stack.kafka.kill()
        await self.stack.kafka.start()
        await self.gets_on()


async def go_wrong(scene: Scene, load: Load) -> None:
    """One fault after another, spread over the edits."""
    faults = (scene.kill_coalescing, scene.make_a_zombie, scene.lose_qdrant, scene.kill_the_broker)
    for number, fault in enumerate(faults, start=1):

        async def is_due(share: float = EDITS * number / (len(faults) + 1)) -> bool:
            return load.counts.rows >= share

        await eventually(is_due, "enough was edited")
        await fault()
        scene.done.append(fault.__name__)

    async def are_enough() -> bool:
        return load.counts.rows >= EDITS and set(scene.deaths()) == set(STEPS)

    await eventually(are_enough, f"{EDITS} rows are edited, and refreshers died after every step")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_passage_is_missing_or_old_after_everything_went_wrong(
    stack: LocalStack, make_settings: MakeSettings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    settings = make_settings(worker={"session_timeout_s": 3}, topics={"partitions": 4})
    await migrate(settings.postgres.connect_arguments())
    await prepare_database(settings.postgres, VOICEASSIST)
    await apply_topics(settings, VOICEASSIST)
    await apply_connector(settings, VOICEASSIST)
    plan = Plan(
        seed=5,
        writers=4,
        readers=0,
        changes_per_s=EDITS_PER_S,
        weights=KINDS,
        own_writes=0,
        users=60,
        largest_document_bytes=700,
    )
    async with AsyncExitStack() as opened:
        coalescing = [WorkerProcess(settings, ("coalescing",), tmp_path / f"coalescing-{n}.log") for n in (1, 2)]
        for process in coalescing:
            opened.callback(process.kill)
        await opened.enter_async_context(supervised(*coalescing))
        nurseries = [Nursery(settings, tmp_path / f"nursery-{n}") for n in (1, 2)]
        for nursery in nurseries:
            opened.callback(nursery.end)
        pool = await opened.enter_async_context(
            open_pool(settings.postgres.connect_arguments(), application="voiceassist", max_size=6)
        )
        scene = Scene(stack, settings, coalescing, nurseries)
        load = Load(plan, pool, NoReads())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            try:
                await go_wrong(scene, load)
            finally:
                load.stop()
            counts = await running
        deaths = scene.deaths()
        for nursery in nurseries:
            nursery.make_peace()

        async def is_good() -> bool:
            async with open_index_verification(settings, VOICEASSIST, vectors=False) as verification:
                found = await verification.run()
            # What is wrong still, for whoever reads the error.
            assert found.is_good, f"{found.wrong}: {', '.join(map(str, found.examples[:5]))}"
            return True

        await eventually(is_good, "the index is as the database says")
        async with open_index_verification(settings, VOICEASSIST, vectors=True) as verification:
            report = await verification.run()
    embedded = Counter(digest for nursery in nurseries for digest in nursery.lines("embedded"))
    record_property("edits", counts.rows)
    record_property("refreshes", await scene.refreshes())
    record_property("deaths", dict(deaths))
    record_property("embedded", embedded.total())
    record_property("embedded_again", embedded.total() - len(embedded))
    record_property("passages", report.passages)
    assert counts.rows >= EDITS
    assert len(scene.done) == 4
    assert set(deaths) == set(STEPS)
    assert report.examples == []
    assert report.is_good
    assert report.passages > 0

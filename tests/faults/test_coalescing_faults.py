"""The coalescing of document edits while something goes wrong: nothing is lost, and nothing is sent for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import pytest

from infra.local.stack import LocalStack
from tests.conftest import MakeSettings
from tests.faults.processes import ROOT, WorkerProcess, environment, supervised
from tests.integration.coalescing_ground import PARTITIONS, DocumentsGround, event, open_documents_ground
from tests.integration.worker_ground import TIMEOUT_S, eventually

ROLE = "coalescing"
DOCUMENTS = 20


class Edits:
    """Edits of documents, each with a position after the one before."""

    def __init__(self, ground: DocumentsGround) -> None:
        self._ground = ground
        self._lsns = count(1)
        self.last: dict[int, int] = {}
        self.written = 0

    async def burst(self, edits: int = 60) -> None:
        """Edit some documents, over and over, and delete one now and then."""
        for _ in range(edits):
            lsn = next(self._lsns)
            number = lsn * 7 % DOCUMENTS
            if lsn % 11:
                await self._ground.change(number, lsn, owner=lsn % 3)
            else:
                deletion = event("d", {"id": number, "uploaded_by": lsn % 3}, lsn)
                await self._ground.send({"id": number}, deletion, partition=number % PARTITIONS)
            self.last[number] = lsn
            self.written += 1

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Edit until the end of the block."""
        stopping = asyncio.Event()

        async def edit() -> None:
            while not stopping.is_set():
                await self.burst(1)
                await asyncio.sleep(0.005)

        task = asyncio.create_task(edit())
        try:
            yield
        finally:
            stopping.set()
            await task

    async def are_all_sent(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the last change of each document is in a record, and nothing is pending any more."""
        await self._ground.until_refreshed(*self.last.items(), timeout_s=timeout_s)
        await self._ground.until_empty()
        # Everything is committed and the table is empty: there is nothing left that more records could come of.
        found = await self._ground.refreshes()
        assert len(found) <= self.written


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[DocumentsGround]:
    settings = make_settings(
        topics={"partitions": PARTITIONS},
        worker={"session_timeout_s": 1},
        stream={"quiet_ms": 200, "unrest_ms": 1_000},
    )
    async with open_documents_ground(settings) as ground:
        yield ground


@pytest.fixture
def edits(ground: DocumentsGround) -> Edits:
    return Edits(ground)


@contextmanager
def member(ground: DocumentsGround, log_file: Path) -> Iterator[WorkerProcess]:
    """A worker in a process of its own, started, and killed at the end."""
    process = WorkerProcess(ground.settings, (ROLE,), log_file)
    process.start()
    try:
        yield process
    finally:
        process.kill()


async def test_a_worker_that_is_killed_in_the_middle_of_bursts_loses_nothing(
    ground: DocumentsGround, edits: Edits, tmp_path: Path
) -> None:
    with member(ground, tmp_path / "log") as process:
        for kills in range(4):
            async with edits.going_on():
                sent = len(await ground.refreshes())

                async def sends_more(sent: int = sent + 5 * kills) -> bool:
                    return len(await ground.refreshes()) > sent

                await eventually(sends_more, "records are sent")
                process.kill()
            await edits.burst()
            process.start()
        await edits.are_all_sent()


# Where a process ends: a method, whether before or after it, and at which of its calls.
STEPS = {
    "before the table is written": ("streams.sources", "Sources", "store", "before", 2 + PARTITIONS),
    "before the table is acknowledged": ("streams.sources", "Sources", "store", "after", 2 + PARTITIONS),
    "before the first commit": ("streams.sources", "Sources", "commit", "before", 1),
    "before the commit of what the table has": ("streams.sources", "Sources", "commit", "before", 2),
    "after the commit of what the table has": ("streams.sources", "Sources", "commit", "after", 2),
    "before a record is sent": ("streams.sources", "Sources", "emit", "before", 3),
    "before a record is acknowledged": ("streams.sources", "Sources", "emit", "after", 3),
    "before it is removed from the table": ("streams.pending", "Backlog", "settle", "before", 3),
    "before its removal is sent": ("streams.pending", "Backlog", "settle", "after", 3),
    "before its removal is acknowledged": ("streams.sources", "Sources", "store", "after removing", 3),
}
CRASHING = """
import os, sys
from importlib import import_module

module, owner, name, moment, calls = sys.argv[1:6]
owner = getattr(import_module(module), owner)
whole, left = getattr(owner, name), [int(calls)]

def ends():
    left[0] -= 1
    if not left[0]:
        os._exit(9)

if name == "settle":
    def crashing(*arguments):
        if moment == "before":
            ends()
        result = whole(*arguments)
        if moment == "after":
            ends()
        return result
else:
    async def crashing(*arguments):
        if moment == "before":
            ends()
        result = await whole(*arguments)
        if moment == "after" or (moment == "after removing" and arguments[-1] is None):
            ends()
        return result

setattr(owner, name, crashing)
sys.argv[1:] = ["run", "coalescing"]
from freshline.cli.main import main
main()
"""


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_that_ends_at_any_step_loses_nothing(
    ground: DocumentsGround, edits: Edits, tmp_path: Path, step: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CRASHING,
        *map(str, STEPS[step]),
        cwd=ROOT,
        env=os.environ | environment(ground.settings),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with edits.going_on(), asyncio.timeout(60):
            assert await process.wait() == 9
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    with member(ground, tmp_path / "log"):
        await edits.are_all_sent()


async def test_members_come_and_go_and_nothing_is_lost(ground: DocumentsGround, edits: Edits, tmp_path: Path) -> None:
    with member(ground, tmp_path / "first") as first, member(ground, tmp_path / "second") as second:
        async with edits.going_on():
            for leaving in (first, second, first):
                sent = len(await ground.refreshes())

                async def sends_more(sent: int = sent) -> bool:
                    return len(await ground.refreshes()) > sent + 5

                await eventually(sends_more, "records are sent")
                leaving.send(signal.SIGTERM)

                async def is_gone(leaving: WorkerProcess = leaving) -> bool:
                    return not leaving.runs

                await eventually(is_gone, "it finishes and leaves")
                leaving.start()
            second.kill()
        await edits.are_all_sent()


async def test_a_member_that_wakes_up_after_it_lost_its_partitions_takes_nothing_from_its_successor(
    ground: DocumentsGround, edits: Edits, tmp_path: Path
) -> None:
    with member(ground, tmp_path / "first") as first:
        await edits.burst()
        await ground.until_refreshed(*edits.last.items())
        async with edits.going_on():
            first.send(signal.SIGSTOP)
            with member(ground, tmp_path / "second") as second:
                sent = len(await ground.refreshes())

                async def takes_over() -> bool:
                    return len(await ground.refreshes()) > sent + 5

                await eventually(takes_over, "the second takes over")
                first.send(signal.SIGCONT)
                await edits.burst()
                second.kill()
        # Faust sometimes never ends a recovery that another rebalance overtook. The process is not alive then, and
        # ends after a minute, to be started again.
        async with supervised(first):
            await edits.are_all_sent(timeout_s=2 * TIMEOUT_S)


async def test_more_members_than_partitions_wait_for_their_turn(
    ground: DocumentsGround, edits: Edits, tmp_path: Path
) -> None:
    with _members(ground, tmp_path, PARTITIONS + 2) as members:
        await edits.burst()
        await edits.are_all_sent()
        for process in members[:PARTITIONS]:
            process.kill()
            await edits.burst()
            await edits.are_all_sent()
        assert all(process.runs for process in members[PARTITIONS:])


@contextmanager
def _members(ground: DocumentsGround, folder: Path, number: int) -> Iterator[list[WorkerProcess]]:
    processes = [WorkerProcess(ground.settings, (ROLE,), folder / f"log{n}") for n in range(number)]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()


async def test_nothing_is_lost_while_the_broker_is_away(
    ground: DocumentsGround, edits: Edits, stack: LocalStack, tmp_path: Path
) -> None:
    with member(ground, tmp_path / "log") as process:
        async with supervised(process):
            await edits.burst()
            await stack.kafka.kill()
            await stack.kafka.start()
            await edits.burst()
            await edits.are_all_sent()
            await edits.burst()
            await stack.kafka.stop()
            await stack.kafka.start()
            await edits.are_all_sent()

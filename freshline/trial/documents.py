"""The documents' part of a trial: it begins beside the rows once its packages are there, and nothing waits for it.

packages ▸ workers (coalescing, semantic-refresh) ▸ the library: edits and questions ▸ compared at the end
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from freshline.roles import DOCUMENT_ROLES
from freshline.trial.library import LibraryFigures, LibraryOutcome, decode_line
from freshline.trial.packages import NotInstalledError, are_installed, install
from freshline.trial.workers import Workers, start_workers
from infra.local.processes import SERVICE_MARK, STACK_MARK, log_tail
from schemas.errors import FreshlineError

_NAME: Final = "library"
_CHECK_EVERY_S: Final = 0.2
# The machine is shared with five services and two more processes: several threads would wait for each other.
_ONE_THREAD: Final = {"FRESHLINE_EMBEDDING__THREADS": "1"}


class DocumentsFailedError(FreshlineError):
    """The documents' part ended by itself."""


class Documents:
    """The documents' part. ``run`` is a task beside the rows'; ``finish`` ends it and says what came of it.

    Attributes:
        doing: what it does now, for people; empty once there are figures.
        figures: the library's newest, as its process tells them.
        is_at_work: set once it edits and asks, or had to be left out.
        left_out: why, if it had to be.
    """

    def __init__(self, stack_folder: Path) -> None:
        """Nothing is done yet."""
        self._folder = stack_folder
        self._library: asyncio.subprocess.Process | None = None
        self._finishing = asyncio.Event()
        self.is_at_work = asyncio.Event()
        self.doing = "waiting for the rows to flow"
        self.figures: LibraryFigures | None = None
        self.left_out: str | None = None

    async def run(self) -> LibraryOutcome | None:
        """Do all of it until told to finish; the outcome, or None where it had to be left out.

        Raises:
            DocumentsFailedError: something of it ended by itself.
        """
        work = asyncio.create_task(self._work())
        finishing = asyncio.create_task(self._finishing.wait())
        try:
            await asyncio.wait({work, finishing}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not self.is_at_work.is_set():
                self.left_out = "The trial ended before they were there."
                return None
            return await work
        finally:
            finishing.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait([work])

    async def _work(self) -> LibraryOutcome | None:
        try:
            if not are_installed():
                await install(self._tell)
        except NotInstalledError as error:
            self.left_out = str(error)
            self.is_at_work.set()
            return None
        self._tell("loading the model")
        async with start_workers(
            DOCUMENT_ROLES, self._folder, name="document-workers", defaults=_ONE_THREAD
        ) as workers:
            return await self._with_library(workers)

    def finish(self) -> None:
        """Edit and ask no more; ``run`` returns when all is compared."""
        self._finishing.set()
        if self._library is not None and self._library.returncode is None:
            self._library.terminate()

    async def _with_library(self, workers: Workers) -> LibraryOutcome | None:
        log_file = self._folder / "logs" / f"{_NAME}.log"
        with log_file.open("ab") as log:
            library = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "freshline.trial.library_process"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**_ONE_THREAD, **os.environ, STACK_MARK: str(self._folder), SERVICE_MARK: _NAME},
                start_new_session=True,
            )
        self._library = library
        if self._finishing.is_set():
            library.terminate()
        watching = asyncio.create_task(_watch(workers))
        reading = asyncio.create_task(self._read(library))
        try:
            await asyncio.wait({watching, reading}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            outcome = await reading
        finally:
            for task in (watching, reading):
                task.cancel()
            if library.returncode is None:
                library.kill()
            await library.wait()
        if outcome is None:
            raise DocumentsFailedError(f"The library ended by itself; {log_tail(log_file)}")
        return outcome

    async def _read(self, library: asyncio.subprocess.Process) -> LibraryOutcome | None:
        assert library.stdout is not None  # noqa: S101 - it is piped
        async for line in library.stdout:
            said = decode_line(line)
            if isinstance(said, LibraryOutcome):
                return said
            self.figures = said
            self.doing = ""
            if said.edits:
                self.is_at_work.set()
        return None

    def _tell(self, text: str) -> None:
        self.doing = text


async def _watch(workers: Workers) -> None:
    """Raise when the workers end by themselves."""
    while True:
        workers.check()
        await asyncio.sleep(_CHECK_EVERY_S)

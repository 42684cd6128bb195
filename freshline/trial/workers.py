"""The workers of a trial: ``freshline run`` as a process of its own, as an operator would start it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from infra.local.ports import HOST, free_port
from infra.local.processes import SERVICE_MARK, STACK_MARK, log_tail
from schemas.errors import FreshlineError

_STOP_TIMEOUT_S: Final = 15.0
_ANSWER_TIMEOUT_S: Final = 2.0


class WorkersEndedError(FreshlineError):
    """The workers' process ended by itself."""


class Workers:
    """A running process of workers. Made by ``start_workers``."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx.AsyncClient, log_file: Path) -> None:
        self._process = process
        self._client = client
        self._log_file = log_file

    def check(self) -> None:
        """Say so if the process is gone.

        Raises:
            WorkersEndedError: it is; the message holds the end of its log.
        """
        code = self._process.returncode
        if code is not None:
            raise WorkersEndedError(f"The workers ended with exit code {code}; {log_tail(self._log_file)}")

    async def is_ready(self) -> bool:
        """Whether every worker has its place in the log, and no store is away."""
        try:
            return (await self._client.get("/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def totals(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """A metric of theirs, summed over all labels but these; empty while they don't answer."""
        try:
            answer = await self._client.get("/metrics")
        except httpx.HTTPError:
            return {}
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.name == name:
                    key = tuple(sample.labels[label] for label in labels)
                    found[key] = found.get(key, 0.0) + sample.value
        return found


@asynccontextmanager
async def start_workers(
    roles: Sequence[str], stack_folder: Path, *, name: str = "workers", defaults: Mapping[str, str] | None = None
) -> AsyncIterator[Workers]:
    """A process with these roles, ended in order after the block. Ctrl-C does not reach it.

    Args:
        roles: what it does.
        stack_folder: the local stack's, whose ``down`` also ends it should we die.
        name: of its log file.
        defaults: variables for what the environment does not say.
    """
    port = free_port()
    log_file = stack_folder / "logs" / f"{name}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "freshline",
            "run",
            *roles,
            "--port",
            str(port),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**(defaults or {}), **os.environ, STACK_MARK: str(stack_folder), SERVICE_MARK: name},
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://{HOST}:{port}",
            timeout=_ANSWER_TIMEOUT_S,
            trust_env=False,
            verify=False,  # noqa: S501 - http
        ) as client:
            yield Workers(process, client, log_file)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()

"""The measured system: a local stack of its own, prepared by the commands that an operator would type."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx

from infra.configuration import load_settings
from infra.settings import Settings

FOLDER = Path(".local") / "bench"
_COMMANDS = (("up",), ("db", "migrate"), ("db", "prepare", "--yes"), ("topics", "apply"), ("connector", "apply"))
_READY_WITHIN_S = 60.0


class RunningWorker(NamedTuple):
    """A process of workers, and where its metrics and probes are."""

    process: subprocess.Popen[bytes]
    url: str


class Pipeline:
    """The running stack, and workers of it on demand."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self._environment = environment

    async def command(self, *arguments: str, **variables: str) -> None:
        """Run a command of ours to its end, with these environment variables on top."""
        await _run(arguments, {**self._environment, **variables})

    @asynccontextmanager
    async def worker(self, *roles: str) -> AsyncIterator[RunningWorker]:
        """A process with these roles, once it is ready; ended with the block."""
        process, url = self.start_worker(*roles)
        try:
            await _until_ready(f"{url}/ready", process)
            yield RunningWorker(process, url)
        finally:
            process.terminate()
            process.wait()

    def start_worker(self, *roles: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start a process with these roles; it need not be ready when this returns."""
        port = _free_port()
        log = (FOLDER / "logs" / f"worker-{port}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "freshline", "run", *roles],
            env={**self._environment, "FRESHLINE_WORKER__PORT": str(port)},
            stderr=log,
            stdout=log,
        )
        log.close()
        return process, f"http://127.0.0.1:{port}"

    async def connect(self) -> asyncpg.Connection:
        """A connection to the database, as its owner."""
        return await asyncpg.connect(**self.settings.postgres.connect_arguments())


@asynccontextmanager
async def pipeline() -> AsyncIterator[Pipeline]:
    """The stack with an empty database, stopped and deleted afterwards."""
    environment = {
        **os.environ,
        "FRESHLINE_LOCAL__FOLDER": str(FOLDER),
        "FRESHLINE_LOCAL__CACHE": ".local/cache",
        # Enough for two cores: each fetch of aiokafka names all partitions, and costs both sides by them.
        "FRESHLINE_TOPICS__PARTITIONS": "4",
    }
    os.environ.update(environment)
    await _run(("down", "--data"), environment)
    try:
        for command in _COMMANDS:
            await _run(command, environment)
        yield Pipeline(load_settings(), environment)
    finally:
        await _run(("down", "--data"), environment)


async def _run(arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "freshline", *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"freshline {' '.join(arguments)} failed:\n{said.decode()}")


async def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    async with httpx.AsyncClient() as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise SystemExit(f"the worker did not become ready: see {FOLDER / 'logs'}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

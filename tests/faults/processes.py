"""Workers as processes that a test can kill, stop and continue."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from infra.cancellation import cancel
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def environment(settings: Settings) -> dict[str, str]:
    """These settings as variables."""

    def flat(values: Mapping[str, Any], prefix: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in values.items():
            variable = f"{prefix}{name.upper()}"
            if isinstance(value, Mapping):
                found |= flat(value, f"{variable}__")
            elif isinstance(value, tuple):
                found[variable] = json.dumps(value)
            elif isinstance(value, SecretStr):
                found[variable] = value.get_secret_value()
            elif value is not None and not isinstance(value, frozenset):
                found[variable] = str(value)
        return found

    return flat(settings.model_dump(exclude={"local"}), "FRESHLINE_")


class WorkerProcess:
    """``freshline run`` with these roles. Ended by ``kill`` at the latest; its log is appended to over all starts."""

    def __init__(self, settings: Settings, roles: tuple[str, ...], log_file: Path) -> None:
        self._settings = settings
        self._roles = roles
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it need not be ready when this returns."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "freshline", "run", *self._roles],
                cwd=ROOT,
                env=os.environ | environment(self._settings),
                stdout=log,
                stderr=log,
            )

    @property
    def runs(self) -> bool:
        """Whether it is there, stopped or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once, wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def killed_at_the_end(process: WorkerProcess) -> Iterator[None]:
    """Start it, and kill it at the end at the latest."""
    process.start()
    try:
        yield
    finally:
        process.kill()


@asynccontextmanager
async def supervised(*processes: WorkerProcess) -> AsyncIterator[None]:
    """Start each of these that does not run, at first and whenever it has ended, as a cluster does."""

    async def supervise() -> None:
        while True:
            for process in processes:
                if not process.runs:
                    process.start()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(supervise())
    try:
        yield
    finally:
        await cancel(task)

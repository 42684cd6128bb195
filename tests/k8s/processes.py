"""Programs that run beside a test, each with its log, ended in reverse order."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx

_START_TIMEOUT_S: Final = 120.0
_END_TIMEOUT_S: Final = 20.0


class Processes:
    """What was started, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Start one."""
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=os.environ | dict(environment or {})
            )

    def wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises:
            AssertionError: it ended, or took too long; the message is the end of its log.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                if is_ready():
                    return
            except (httpx.HTTPError, AssertionError):
                pass
            told = self._log(name).read_text(errors="replace")[-2_000:]
            assert self._running[name].poll() is None, f"{name} ended: {told}"
            assert time.monotonic() < deadline, f"{name} is not ready: {told}"
            time.sleep(0.1)

    def end(self, name: str) -> None:
        """Tell one to stop, and wait until it has."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_all(self) -> None:
        """Tell all to stop, the last first."""
        for name in reversed(list(self._running)):
            self.end(name)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

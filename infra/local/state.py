"""What a stack remembers between two commands: ports, processes, and the endpoints that the settings take from it."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from infra.local.processes import ProcessMark


class ServiceRecord(msgspec.Struct, frozen=True):
    """One service: its ports by purpose, its process while it runs, and facts that it needs again at its next start."""

    ports: dict[str, int] = {}
    process: ProcessMark | None = None
    facts: dict[str, str] = {}


class StackState(msgspec.Struct, frozen=True):
    """The whole file. ``endpoints`` has the shape of the settings, so that these can take it as it is."""

    services: dict[str, ServiceRecord] = {}
    endpoints: dict[str, dict[str, Any]] = {}

    def with_service(self, name: str, record: ServiceRecord, endpoints: dict[str, dict[str, Any]]) -> "StackState":
        """The state with one service's record replaced, and the endpoints it offers while it runs."""
        return StackState(self.services | {name: record}, self.endpoints | endpoints)

    def without_endpoints(self, sections: set[str]) -> "StackState":
        """The state with the endpoints of some sections withdrawn."""
        return StackState(
            self.services, {name: value for name, value in self.endpoints.items() if name not in sections}
        )


class StateFile:
    """The state on disk: whole at any moment, readable by its owner alone, changed by one process at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> StackState:
        """The state; an empty one where there is none or what there is can't be read.

        A damaged file is no error: its processes are found by their marks, and its ports are chosen anew.
        """
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=StackState)
        except (FileNotFoundError, msgspec.MsgspecError):
            return StackState()

    def change(self, how: Callable[[StackState], StackState]) -> StackState:
        """Apply a function to the state and store what it returns."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            state = how(self.read())
            unfinished = self._file.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(state)))
            unfinished.replace(self._file)
        return state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

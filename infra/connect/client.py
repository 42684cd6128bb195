"""Kafka Connect's REST interface, as far as one connector needs it.

A worker that is busy with a rebalance answers 409, or 500 with words about it, and one that starts answers nothing: all
are waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from schemas.errors import FreshlineError, StoreUnavailableError

REQUEST_TIMEOUT_S = 30.0
BUSY_TIMEOUT_S = 60.0
REASON_LIMIT = 300
_ASK_AGAIN_S = 0.2

# In the worker's words: a connector that was created is not running before the workers have shared it out.
RUNNING = "RUNNING"
STOPPED = "STOPPED"
FAILED = "FAILED"


class ConnectRefusedError(FreshlineError):
    """Kafka Connect understood a request and refused it: the message holds its own words."""


class TaskStatus(msgspec.Struct, frozen=True):
    """One task of a connector; ``trace`` is empty while it is well."""

    id: int
    state: str
    worker_id: str = ""
    trace: str = ""

    @property
    def reason(self) -> str:
        """The last cause in the trace, on one line, which says more than the first."""
        causes = [line for line in self.trace.splitlines() if line.startswith("Caused by: ")]
        line = causes[-1].removeprefix("Caused by: ") if causes else self.trace.split("\n", 1)[0]
        return line if len(line) <= REASON_LIMIT else line[:REASON_LIMIT] + "…"


class ConnectorStatus(msgspec.Struct, frozen=True):
    """A connector and its tasks, in the worker's words (``RUNNING``, ``PAUSED``, ``STOPPED``, ``FAILED`` …)."""

    state: str
    worker_id: str
    tasks: tuple[TaskStatus, ...]
    trace: str = ""

    @property
    def running(self) -> bool:
        """Whether the connector and its task run."""
        return self.state == RUNNING and bool(self.tasks) and all(task.state == RUNNING for task in self.tasks)

    @property
    def failed(self) -> bool:
        """Whether the connector or its task gave up."""
        return FAILED in {self.state, *(task.state for task in self.tasks)}

    @property
    def reason(self) -> str:
        """Why it failed; empty while it did not."""
        reasons = [task.reason for task in self.tasks if task.trace]
        return reasons[0] if reasons else self.trace.split("\n", 1)[0]


class ConnectClient:
    """Talks to one Connect cluster. Made by ``open_connect``.

    Whatever is asked of it, it raises `StoreUnavailableError` where the cluster did not answer, or stayed busy, for a
    minute, and `ConnectRefusedError` where the answer was no.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def plugins(self) -> dict[str, str]:
        """The version of each connector class that the workers have."""
        found = await self._send("GET", "/connector-plugins")
        return {plugin["class"]: plugin.get("version", "") for plugin in found or ()}

    async def config(self, name: str) -> dict[str, str] | None:
        """A connector's configuration; None where there is no such connector."""
        found: dict[str, str] | None = await self._send("GET", f"{_path(name)}/config", missing=True)
        return found

    async def create_stopped(self, name: str, config: Mapping[str, str]) -> None:
        """Create a connector that does not run yet, so that one can see which offsets it would go on from."""
        await self._send("POST", "/connectors", {"name": name, "config": dict(config), "initial_state": STOPPED})

    async def put(self, name: str, config: Mapping[str, str]) -> None:
        """Replace a connector's configuration, which restarts its task if it runs."""
        await self._send("PUT", f"{_path(name)}/config", dict(config))

    async def status(self, name: str) -> ConnectorStatus | None:
        """How a connector and its tasks are; None where there is no such connector, or none that was shared out yet."""
        found = await self._send("GET", f"{_path(name)}/status", missing=True)
        if found is None:
            return None
        connector = found["connector"]
        return ConnectorStatus(
            state=connector["state"],
            worker_id=connector["worker_id"],
            trace=connector.get("trace", ""),
            tasks=tuple(msgspec.convert(task, TaskStatus) for task in found.get("tasks", ())),
        )

    async def stop(self, name: str) -> None:
        """Stop a connector and its tasks; its configuration and offsets stay."""
        await self._send("PUT", f"{_path(name)}/stop")

    async def resume(self, name: str) -> None:
        """Let a stopped connector run."""
        await self._send("PUT", f"{_path(name)}/resume")

    async def restart(self, name: str) -> None:
        """Restart what failed of a connector."""
        await self._send("POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed=true")

    async def delete(self, name: str) -> None:
        """Delete a connector; its offsets stay unless they were deleted before."""
        await self._send("DELETE", _path(name), missing=True)

    async def offsets(self, name: str) -> list[dict[str, Any]]:
        """The positions that were committed for a connector's sources."""
        found = await self._send("GET", f"{_path(name)}/offsets", missing=True)
        return [entry["offset"] for entry in (found or {}).get("offsets", ()) if entry.get("offset")]

    async def delete_offsets(self, name: str) -> None:
        """Forget the positions of a stopped connector."""
        await self._send("DELETE", f"{_path(name)}/offsets")

    async def _send(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        give_up_at = asyncio.get_running_loop().time() + BUSY_TIMEOUT_S
        while True:
            # No warning each time, as a retry would have: a rebalance is the normal course of a new connector.
            failure: Exception | None = None
            try:
                response = await self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failure = error
            else:
                if not _busy(response):
                    break
            if asyncio.get_running_loop().time() > give_up_at:
                said = "it is busy sharing out connectors" if failure is None else repr(failure)
                raise StoreUnavailableError(
                    f"Kafka Connect at {self._http.base_url} can't be used: {said}. See that it runs and that the "
                    "address is right."
                ) from failure
            await asyncio.sleep(_ASK_AGAIN_S)
        if missing and response.status_code == HTTPStatus.NOT_FOUND and _is_of_connect(response):
            return None
        if response.is_error:
            raise ConnectRefusedError(
                f"Kafka Connect refused {method} {path} ({response.status_code}): {_words(response)}"
            )
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise ConnectRefusedError(
                f"What answers {method} {path} at {self._http.base_url} is not Kafka Connect. See that the address is "
                "right."
            ) from error


@asynccontextmanager
async def open_connect(url: str) -> AsyncIterator[ConnectClient]:
    """A client of the Connect cluster at this address."""
    async with httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S) as http:
        yield ConnectClient(http)


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _busy(response: httpx.Response) -> bool:
    """Whether the workers are sharing out connectors: they say so in more than one way."""
    if response.status_code in {HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE}:
        return True
    said = _words(response) if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR else ""
    return "rebalance" in said or "timed out" in said


def _is_of_connect(response: httpx.Response) -> bool:
    """Whether a worker said that there is no such thing, and not a proxy before it, to which the worker is missing."""
    return "application/json" in response.headers.get("content-type", "")


def _words(response: httpx.Response) -> str:
    try:
        said = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
    if "ConfigValueInfo" in said:
        # What a worker says when a connector's own check of its configuration failed unexpectedly.
        return (
            "Debezium could not check its configuration, most often since it can't log in to the database; see its log"
        )
    return said

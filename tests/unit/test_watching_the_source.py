"""Watching the source while somebody does not answer, or answers nonsense."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

import httpx
import pytest

from freshline.lag import source_watch
from freshline.lag.source import ConnectorNow, SlotNow, SourceReport
from freshline.lag.source_watch import SourceWatch
from infra.cancellation import cancel
from infra.connect.client import ConnectClient
from infra.kafka.observer import Observer
from infra.postgres.moments import Primary
from infra.settings import LagSettings, Settings
from schemas.errors import StoreUnavailableError

SETTINGS = Settings(lag=LagSettings(every_s=0.001))
STATUS = {"connector": {"state": "RUNNING", "worker_id": "w"}, "tasks": [{"id": 0, "state": "RUNNING"}]}
RUNNING = ConnectorNow("freshline", "running", {0: "running"})


class Silent:
    """Never answers."""

    async def newest(self, _: str) -> bytes:
        """The caller waits for ever."""
        await asyncio.Event().wait()
        return b""

    async def slot(self) -> None:
        """The caller waits for ever."""
        await asyncio.Event().wait()


class Beating:
    """Has a heartbeat of this moment."""

    async def newest(self, topic: str) -> bytes:
        """The event of it."""
        assert topic == "va.freshline.heartbeat"
        return json.dumps({"source": {"ts_ms": round(time.time() * 1000)}}).encode()


class Away:
    """Says so at once."""

    async def slot(self) -> None:
        """Nothing."""
        raise StoreUnavailableError("Postgres is away")


def connect_that_answers(*answers: httpx.Response) -> ConnectClient:
    """Each in its turn, and the last one again and again."""
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        return left.pop(0) if len(left) > 1 else left[0]

    return ConnectClient(httpx.AsyncClient(base_url="http://connect", transport=httpx.MockTransport(answer)))


def watch(observer: Any, connect: ConnectClient | None, primary: Any) -> SourceWatch:
    return SourceWatch(SETTINGS, cast("Observer", observer), connect, cast("Primary | None", primary))


async def test_who_does_not_answer_keeps_nobody_waiting() -> None:
    reports: list[SourceReport] = []
    many = asyncio.Event()

    def tell(report: SourceReport) -> None:
        reports.append(report)
        if len(reports) == 10:
            many.set()

    looking = watch(Silent(), connect_that_answers(httpx.Response(200, json=STATUS)), Silent())
    running = asyncio.create_task(looking.run(tell))
    try:
        async with asyncio.timeout(source_watch._TIMEOUT_S / 2):
            await many.wait()
    finally:
        await cancel(running)
    assert all(report == SourceReport(None, RUNNING, SlotNow("freshline")) for report in reports)


async def test_what_was_known_is_not_known_any_more_once_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_watch, "_TIMEOUT_S", 0.05)
    looking = watch(Beating(), connect_that_answers(httpx.Response(200, json=STATUS), httpx.Response(503)), Away())
    first = await looking.look()
    assert first.connector == RUNNING
    assert first.freshness_s is not None
    assert first.slot == SlotNow("freshline")
    looking._observer = cast("Observer", Silent())
    assert await looking.look() == SourceReport(None, ConnectorNow("freshline", "unknown"), SlotNow("freshline"))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (httpx.Response(404, json={"error_code": 404, "message": "No status found for connector freshline"}), "absent"),
        # A proxy that has nobody behind it, a page, and who may not be asked.
        (httpx.Response(404, text="default backend - 404"), "unknown"),
        (httpx.Response(200, text="<html>welcome</html>"), "unknown"),
        (httpx.Response(401), "unknown"),
    ],
)
async def test_only_kafka_connect_says_that_a_connector_is_absent(answer: httpx.Response, state: str) -> None:
    report = await watch(Beating(), connect_that_answers(answer), None).look()
    assert report.connector is not None
    assert report.connector.state == state
    assert report.slot is None

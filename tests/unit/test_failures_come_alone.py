"""What fails among several things done side by side comes out as itself, not in a group that nobody catches."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from freshline.roles import Roles
from infra.local.processes import ServiceFailedError
from infra.local.stack import LocalStack
from infra.local.valkey import ValkeyService
from infra.settings import KafkaSettings, LocalSettings, PostgresSettings, RedisSettings, Settings
from schemas.errors import StoreUnavailableError
from schemas.voiceassist import VOICEASSIST

NOWHERE = Settings(
    kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"),
    postgres=PostgresSettings(host="127.0.0.1", port=1),
    redis=RedisSettings(url="redis://127.0.0.1:1"),
)


async def test_workers_that_find_no_server_say_so() -> None:
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1"):
        await Roles(["write-through", "invalidation"], NOWHERE, VOICEASSIST, CollectorRegistry()).run()


async def test_a_service_that_does_not_come_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: ValkeyService) -> None:
        raise ServiceFailedError("valkey did not come up")

    monkeypatch.setattr(ValkeyService, "fetch", lambda _: None)
    monkeypatch.setattr(ValkeyService, "start", fail)
    with pytest.raises(ServiceFailedError, match="did not come up"):
        await LocalStack(LocalSettings(folder=tmp_path)).start(["valkey"])

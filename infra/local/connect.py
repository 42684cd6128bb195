"""Kafka Connect as one distributed worker, with Debezium's Postgres connector on its class path.

The connector's own configuration is not the worker's business: whoever registers it (by REST) brings it.
"""

import ssl
from pathlib import Path
from typing import Any

import httpx

from infra.local.java import JavaService, write_properties
from infra.local.kafka import LARGEST_MESSAGE_BYTES
from infra.local.ports import HOST, is_free
from infra.local.processes import Launch

ANSWER_TIMEOUT_S = 2.0
MAIN_CLASS = "org.apache.kafka.connect.cli.ConnectDistributed"
JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
GROUP = "freshline.connect"


class ConnectService(JavaService):
    """A Connect worker that keeps its connectors, offsets and their status in topics of the stack's Kafka."""

    name = "connect"
    section = "connect"
    jar_set = "connect"
    port_names = ("rest",)

    @property
    def endpoint(self) -> str:
        """The URL of its REST interface."""
        return f"http://{HOST}:{self.ports['rest']}"

    def endpoints(self) -> dict[str, Any]:
        """The section ``connect`` of the settings."""
        return {"url": self.endpoint}

    @property
    def heap_mb(self) -> int:
        """From the settings, in MiB."""
        return self._around.settings.connect_heap_mb

    async def prepare(self) -> None:
        """Write the configuration."""
        write_properties(self._properties, self._configuration())

    def launch(self) -> Launch:
        """How it is started."""
        return self.java(MAIN_CLASS, [self._properties], self.archive_options())

    async def healthy(self) -> bool:
        """Whether it lists its connectors, which it does only as a member of its group."""
        if is_free(self.ports["rest"]):  # cheaper than a client whose connection is refused
            return False
        try:
            # A bare context, since httpx would read all certificates of the system for every client.
            bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S, trust_env=False, verify=bare) as client:
                return (await client.get(f"{self.endpoint}/connectors")).is_success
        except httpx.HTTPError:
            return False

    @property
    def _properties(self) -> Path:
        return self.folder / "worker.properties"

    def _configuration(self) -> dict[str, str]:
        broker = self._around.state.read().services["kafka"].ports["broker"]
        return {
            "bootstrap.servers": f"{HOST}:{broker}",
            "group.id": GROUP,
            "listeners": self.endpoint,
            "rest.advertised.host.name": HOST,
            "key.converter": JSON_CONVERTER,
            "key.converter.schemas.enable": "false",
            "value.converter": JSON_CONVERTER,
            "value.converter.schemas.enable": "false",
            "config.storage.topic": f"{GROUP}.configs",
            "config.storage.replication.factor": "1",
            "offset.storage.topic": f"{GROUP}.offsets",
            "offset.storage.replication.factor": "1",
            "offset.storage.partitions": "1",
            "status.storage.topic": f"{GROUP}.status",
            "status.storage.replication.factor": "1",
            "status.storage.partitions": "1",
            # How far Postgres may drop its log follows from the flushed offsets, and so does how soon it is known that
            # everything committed is in Kafka, which every verification waits for.
            "offset.flush.interval.ms": "1000",
            # Everything is on the class path; scanning it for plugins would take longer than all the rest.
            "plugin.discovery": "service_load",
            "connector.client.config.override.policy": "All",
            "producer.max.request.size": str(LARGEST_MESSAGE_BYTES),
            # A worker that was killed comes back as another member; its tasks are not kept for the one that is gone.
            "scheduled.rebalance.max.delay.ms": "0",
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "2000",
            "task.shutdown.graceful.timeout.ms": "3000",
        }

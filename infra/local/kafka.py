"""Kafka as one node that is broker and controller (KRaft)."""

import base64
import uuid
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.local.java import JavaService, write_properties
from infra.local.ports import HOST, is_free
from infra.local.processes import Launch, run_tool

NODE = "1"
ANSWER_TIMEOUT_MS = 2_000
LARGEST_MESSAGE_BYTES = 20 * 1024 * 1024
MAIN_CLASS = "kafka.Kafka"
FORMAT_CLASS = "kafka.tools.StorageTool"


class KafkaService(JavaService):
    """One broker without authentication on the loopback address. Topics are made on purpose, never by asking."""

    name = "kafka"
    section = "kafka"
    jar_set = "kafka"
    port_names = ("broker", "controller")

    @property
    def endpoint(self) -> str:
        """Its bootstrap server."""
        return f"{HOST}:{self.ports['broker']}"

    def endpoints(self) -> dict[str, Any]:
        """The section ``kafka`` of the settings."""
        return {"bootstrap_servers": self.endpoint}

    @property
    def heap_mb(self) -> int:
        """From the settings, in MiB."""
        return self._around.settings.kafka_heap_mb

    async def prepare(self) -> None:
        """Write the configuration and format the log folder."""
        write_properties(self._properties, self._configuration())
        if not (self._data / "meta.properties").exists():
            # Below 128 the text can't begin with a dash, which the tool would take for an option.
            first, *rest = uuid.uuid4().bytes
            cluster = base64.urlsafe_b64encode(bytes([first % 128, *rest])).rstrip(b"=").decode()
            arguments: list[str | Path] = [
                "format",
                "--cluster-id",
                cluster,
                "--config",
                self._properties,
                "--ignore-formatted",
            ]
            await run_tool(self.java(FORMAT_CLASS, arguments), "formatting Kafka's log folder")

    def launch(self) -> Launch:
        """How it is started."""
        return self.java(MAIN_CLASS, [self._properties], self.archive_options())

    async def healthy(self) -> bool:
        """Whether it serves its metadata."""
        if is_free(self.ports["broker"]):  # cheaper than a client whose connection is refused
            return False
        client = AIOKafkaAdminClient(bootstrap_servers=self.endpoint, request_timeout_ms=ANSWER_TIMEOUT_MS)
        try:
            await client.start()
            cluster = await client.describe_cluster()
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await client.close()
        return bool(cluster["brokers"])

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _configuration(self) -> dict[str, str]:
        controller = f"{HOST}:{self.ports['controller']}"
        return {
            "process.roles": "broker,controller",
            "node.id": NODE,
            "controller.quorum.voters": f"{NODE}@{controller}",
            "listeners": f"PLAINTEXT://{self.endpoint},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.endpoint}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._data),
            # A consumer must not make a topic with the wrong number of partitions by asking for it too early.
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(LARGEST_MESSAGE_BYTES),
            "replica.fetch.max.bytes": str(LARGEST_MESSAGE_BYTES),
            # One node: nothing to replicate to, and nobody to wait for.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Tests of workers that hang need sessions that end soon.
            "group.min.session.timeout.ms": "1000",
            # After a kill the broker is let in again when its former session has ended.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }

"""The ids of topics: a topic that was deleted and made anew has another one, whatever its offsets.

The driver speaks no version of Kafka's metadata protocol that tells them, so the messages of one are described here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Final

import msgspec
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

# What stands for the id where the brokers are too old (before 2.8) to give topics one.
UNKNOWN: Final = "-"
_NO_ID: Final = bytes(16)
# Kafka's code for a topic that does not exist.
_UNKNOWN_TOPIC: Final = 3


class _Uuid(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponseV12(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponseV12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV12]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> _MetadataRequestV12:
        topics: list[Any] = [(_NO_ID, name, {}) for name in self._topics]
        return request_struct_class(
            topics=topics, allow_auto_topic_creation=False, include_topic_authorized_operations=False, tags={}
        )


class TopicNow(msgspec.Struct, frozen=True):
    """A topic as it is: its id, and the broker that leads each of its partitions; -1 where none does."""

    id: str
    leaders: Mapping[int, int]


async def topics_now(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, TopicNow]:
    """Those of these topics that exist, as a broker knows them at this moment.

    One that it can't say more of now has no id and no partitions.

    Raises:
        KafkaError: no broker answers, or it is too old (before 2.8) to say.
    """
    names = list(topics)
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known yet")
    response: Any = await client.send(node, _MetadataRequest(names))
    return {
        name: TopicNow(str(uuid.UUID(bytes=topic_id)), {number: leader for _, number, leader, *_ in partitions})
        for error, name, topic_id, _, partitions, *_ in response.topics
        if error != _UNKNOWN_TOPIC
    }


async def topic_ids(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, str]:
    """The id of each of these topics that exists.

    Raises:
        KafkaError: no broker answers.
    """
    names = list(topics)
    try:
        return {name: topic.id for name, topic in (await topics_now(client, names)).items() if topic.leaders}
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(names, UNKNOWN)

"""Topics as they should be, and as they are: what differs is decided by a pure function, then carried out.

Partitions are never added in passing: a key's events stay in order because they share a partition, and with another
number of partitions a key moves while its older events are still in the old one. Configurations are changed only where
ours differ; what others set on a topic stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from schemas.errors import FreshlineError, StoreUnavailableError

_TOPIC_CONFIG = 1  # where Kafka says a value comes from: set on the topic itself
_HOUR_MS = 3_600_000
_CHECK_EVERY_S = 0.1
SEEN_TIMEOUT_S = 30.0


class TopicsRefusedError(FreshlineError):
    """Kafka refused to make or change a topic."""


class Topic(msgspec.Struct, frozen=True):
    """A topic as it should be."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


class FoundTopic(msgspec.Struct, frozen=True):
    """A topic as it is: ``configs`` are in effect, ``own_configs`` are those set on the topic itself."""

    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    own_configs: Mapping[str, str]


class TopicChange(msgspec.Struct, frozen=True):
    """One thing to do to a topic, and what it is for. One that is not ``due`` is left to the operator."""

    topic: str
    text: str
    create: Topic | None = None
    configs: Mapping[str, str] | None = None
    partitions: int | None = None
    due: bool = True

    def __str__(self) -> str:
        """One line, as it is printed."""
        return f"{self.topic}: {self.text}"


def log_topic(
    name: str, *, partitions: int, replication_factor: int, retention_hours: int, in_sync: int, record_bytes: int
) -> Topic:
    """A topic that keeps every record for a while, as the ones of tables do."""
    return Topic(
        name,
        partitions,
        replication_factor,
        {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_hours * _HOUR_MS),
            "min.insync.replicas": str(in_sync),
            "max.message.bytes": str(record_bytes),
        },
    )


def newest_topic(name: str, *, replication_factor: int, in_sync: int) -> Topic:
    """A topic that keeps the newest record of each key for ever, and others for about an hour."""
    return Topic(
        name,
        1,
        replication_factor,
        {"cleanup.policy": "compact", "segment.ms": str(_HOUR_MS), "min.insync.replicas": str(in_sync)},
    )


def changes(wanted: Iterable[Topic], found: Mapping[str, FoundTopic], *, add_partitions: bool) -> list[TopicChange]:
    """What is to be done, topic by topic; nothing where all are as they should be.

    Args:
        wanted: the topics as they should be.
        found: those of them that exist.
        add_partitions: the operator accepts that keys move to other partitions.
    """
    due: list[TopicChange] = []
    for topic in wanted:
        present = found.get(topic.name)
        if present is None:
            text = f"create it with {topic.partitions} partitions, {topic.replication_factor} copies of each"
            due.append(TopicChange(topic.name, text, create=topic))
            continue
        differing = {key: value for key, value in topic.configs.items() if present.configs.get(key) != value}
        if differing:
            text = ", ".join(f"{key} {present.configs.get(key)} -> {value}" for key, value in differing.items())
            due.append(TopicChange(topic.name, text, configs={**present.own_configs, **differing}))
        if present.partitions != topic.partitions:
            due.append(_other_partitions(topic, present, add_partitions=add_partitions))
        if present.replication_factor != topic.replication_factor:
            text = f"it has {present.replication_factor} copies and should have {topic.replication_factor}: "
            due.append(TopicChange(topic.name, text + "reassign them with kafka-reassign-partitions", due=False))
    return due


def _other_partitions(topic: Topic, present: FoundTopic, *, add_partitions: bool) -> TopicChange:
    text = f"it has {present.partitions} partitions and should have {topic.partitions}: "
    if present.partitions > topic.partitions:
        return TopicChange(topic.name, text + "Kafka can't take partitions away; correct the setting", due=False)
    if add_partitions:
        return TopicChange(topic.name, text + "add them, keys move", partitions=topic.partitions)
    return TopicChange(
        topic.name,
        text + "adding them moves keys to other partitions, and events of one key could then overtake each other. Wait "
        "until the workers have read everything, stop the writers, and say --add-partitions",
        due=False,
    )


class Topics:
    """Reads and changes topics. Made by ``open_topics``."""

    def __init__(self, admin: Any) -> None:
        self._admin = admin

    async def find(self, names: Iterable[str]) -> dict[str, FoundTopic]:
        """Those of these topics that exist."""
        # All topics are asked for: a broker that creates topics by itself would create those asked for by name.
        wanted = frozenset(names)
        described = [topic for topic in await self._admin.describe_topics() if topic["topic"] in wanted]
        for topic in described:
            if topic["error_code"]:
                raise for_code(topic["error_code"])(topic["topic"])
        present = {topic["topic"]: topic["partitions"] for topic in described}
        if not present:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
        configs = _config_entries(await self._admin.describe_configs(resources))
        return {
            name: FoundTopic(
                partitions=len(partitions),
                replication_factor=min(len(partition["replicas"]) for partition in partitions),
                configs={key: value for key, value, _ in configs[name]},
                own_configs={key: value for key, value, own in configs[name] if own},
            )
            for name, partitions in present.items()
        }

    async def carry_out(self, due: Iterable[TopicChange], done: Callable[[TopicChange], None]) -> None:
        """Do what is due, one change after the other.

        Raises:
            TopicsRefusedError: Kafka refused one; those before it are done.
        """
        for change in due:
            if change.create is not None:
                topic = change.create
                new = NewTopic(
                    topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.configs)
                )
                answer = await self._admin.create_topics([new])
                _require_accepted(change, [(error[1], error[2]) for error in answer.topic_errors])
            elif change.configs is not None:
                resource = ConfigResource(ConfigResourceType.TOPIC, change.topic, dict(change.configs))
                for answer in await self._admin.alter_configs([resource]):
                    _require_accepted(change, [(found[0], found[1]) for found in answer.resources])
            elif change.partitions is not None:
                answer = await self._admin.create_partitions({change.topic: NewPartitions(change.partitions)})
                _require_accepted(change, [(error[1], error[2]) for error in answer.topic_errors])
            done(change)

    async def wait_until_seen(self, wanted: Iterable[Topic], due: Collection[TopicChange]) -> None:
        """Return when every broker that is asked knows of what was changed, which takes a moment after it was accepted.

        Raises:
            TopicsRefusedError: it was not to be seen in time.
        """
        changed = {change.topic for change in due}
        grown = any(change.partitions is not None for change in due)
        topics = [topic for topic in wanted if topic.name in changed]
        try:
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                while left := [  # noqa: ASYNC110 - Kafka tells nobody when a topic is known everywhere
                    change for change in changes(topics, await self.find(changed), add_partitions=grown) if change.due
                ]:
                    await asyncio.sleep(_CHECK_EVERY_S)
        except TimeoutError as error:
            names = ", ".join(sorted({change.topic for change in left}))
            raise TopicsRefusedError(
                f"Kafka accepted changes of {names} and does not show them after {SEEN_TIMEOUT_S:g} s. "
                "See the controller's log, then run `freshline topics apply` again."
            ) from error


@asynccontextmanager
async def open_topics(arguments: Mapping[str, Any]) -> AsyncIterator[Topics]:
    """A client that makes and changes topics.

    Args:
        arguments: where Kafka is and who asks, as ``KafkaSettings.client_arguments`` gives them.

    Raises:
        StoreUnavailableError: Kafka does not answer or refuses us.
    """
    admin = AIOKafkaAdminClient(**arguments)
    try:
        try:
            await admin.start()
            yield Topics(admin)
        finally:
            await admin.close()
    except (KafkaError, OSError) as error:
        raise StoreUnavailableError(
            f"Kafka at {arguments.get('bootstrap_servers')} can't be used: {error or type(error).__name__}. "
            "See that it runs, that the address is right, and that its ACLs let us in."
        ) from error


def _config_entries(answers: Iterable[Any]) -> dict[str, list[tuple[str, str, bool]]]:
    entries: dict[str, list[tuple[str, str, bool]]] = {}
    for answer in answers:
        for code, message, _, name, found in answer.resources:
            if code:
                raise for_code(code)(message)
            # name, value, read only, source (is it a default, in the oldest version), …
            entries[name] = [(entry[0], entry[1], entry[3] == _TOPIC_CONFIG) for entry in found]
    return entries


def _require_accepted(change: TopicChange, answers: Iterable[tuple[int, str | None]]) -> None:
    for code, message in answers:
        if code:
            raise TopicsRefusedError(f"Kafka refused '{change}': {(message or for_code(code).__name__).rstrip('.')}.")

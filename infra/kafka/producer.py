"""A producer that has a record only when every replica in sync has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from infra.kafka.driver import kafka_errors
from schemas.errors import FreshlineError, NotOpenError, StoreUnavailableError

_MAX_REQUEST_BYTES: Final = 20 * 1024 * 1024


class RecordTooLargeError(FreshlineError):
    """A record is larger than its topic takes."""


class Producer:
    """Sends records one by one. An async context manager; use inside it only."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """Prepare; no I/O. ``arguments`` say how to reach Kafka."""
        self._arguments = arguments
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        producer = AIOKafkaProducer(
            **self._arguments, acks="all", enable_idempotence=True, max_request_size=_MAX_REQUEST_BYTES
        )
        try:
            with kafka_errors():
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is pending and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
    ) -> None:
        """Send one record and wait until Kafka has it.

        Raises:
            RecordTooLargeError: it is larger than the topic takes.
            StoreUnavailableError: Kafka does not answer or refuses it.
        """
        if self._producer is None:
            msg = "The producer is not open. Use it inside `async with`."
            raise NotOpenError(msg)
        try:
            with kafka_errors():
                if key is None and value is None:
                    await _send_nothing(self._producer, topic, list(headers), partition)
                else:
                    await self._producer.send_and_wait(
                        topic, key=key, value=value, headers=list(headers), partition=partition
                    )
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, (MessageSizeTooLargeError, RecordListTooLargeError)):
                msg = f"A record is larger than topic {topic} takes. Raise its max.message.bytes."
                raise RecordTooLargeError(msg) from error
            raise


async def _send_nothing(
    producer: AIOKafkaProducer, topic: str, headers: list[tuple[str, bytes]], partition: int | None
) -> None:
    """Send a record without key and value. The driver refuses to, but others send them, and so do letters of them."""
    await producer.client._wait_on_metadata(topic)  # noqa: SLF001 - what the driver itself does after refusing
    number = producer._partition(topic, partition, None, None, None, None)  # noqa: SLF001
    sent = await producer._message_accumulator.add_message(  # noqa: SLF001
        TopicPartition(topic, number),
        None,
        None,
        producer._request_timeout_ms / 1000,  # noqa: SLF001
        headers=headers,
    )
    await sent

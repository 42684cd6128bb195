"""What the driver has to be kept from: errors of its own kind, waiting for ever, and stopping by half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from schemas.errors import StoreUnavailableError

# After it a broker that does not answer is taken for one that is away.
REQUEST_TIMEOUT_MS: Final = 15_000


@contextmanager
def kafka_errors() -> Iterator[None]:
    """Turn the driver's errors into ours.

    Raises:
        StoreUnavailableError: Kafka does not answer or refuses us.
    """
    try:
        yield
    except (KafkaError, OSError) as error:
        msg = (
            f"Kafka can't be used: {str(error) or type(error).__name__}. Check FRESHLINE_KAFKA__BOOTSTRAP_SERVERS "
            "and that the topics exist (`freshline topics apply`)."
        )
        raise StoreUnavailableError(msg) from error


@asynccontextmanager
async def answering(timeout_s: float = REQUEST_TIMEOUT_MS / 1000) -> AsyncIterator[None]:
    """As `kafka_errors`, and give up after some time: while no broker is there the driver looks for one for ever.

    Raises:
        StoreUnavailableError: Kafka does not answer or refuses us.
    """
    with kafka_errors():
        async with asyncio.timeout(timeout_s):
            yield


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and disconnect, whether a broker answers or not."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        # Of a fetch that failed just now: the driver cancels it, and takes that for a cancellation of ours.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await consumer._client.close()  # noqa: SLF001 - what it would have done next

"""Dead letters: records that can't be used, kept whole, with where they came from and why.

A letter is the record's own key, value and headers; what is known about it stands in headers of ours. It is sent before
the watermark moves, so a record is never passed over unseen; sent twice after a crash, it still names the same origin.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from infra.kafka.log import Record
from infra.kafka.producer import Producer
from schemas.errors import MalformedRecordError

HEADER_PREFIX: Final = "freshline-"
# A letter is a record and a few headers; what is larger than this is cut, and says so.
LIMIT_BYTES: Final = 15 * 1024 * 1024


class Letters:
    """Sends dead letters."""

    def __init__(self, producer: Producer, *, topic: str, group: str) -> None:
        """``group`` is named as the one that refused."""
        self._producer = producer
        self._topic = topic
        self._group = group

    async def send(self, refused: Sequence[tuple[Record, MalformedRecordError]]) -> None:
        """Send these and wait until Kafka has them.

        Raises:
            StoreUnavailableError: Kafka does not answer.
        """
        for record, error in refused:
            value = record.value
            headers = [*record.headers, *letter_headers(record, error, self._group)]
            if value is not None and len(value) > LIMIT_BYTES:
                headers.append((HEADER_PREFIX + "truncated", str(len(value)).encode()))
                value = value[:LIMIT_BYTES]
            await self._producer.send(self._topic, key=record.key, value=value, headers=headers)


def letter_headers(record: Record, error: MalformedRecordError, group: str) -> list[tuple[str, bytes]]:
    """What a letter says of its record."""
    facts = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp-ms": record.timestamp,
        "group": group,
        "reason": error.reason,
        "detail": error.detail[:500],
        "refused-at-ms": int(time.time() * 1000),
    }
    return [(HEADER_PREFIX + name, str(fact).encode()) for name, fact in facts.items()]

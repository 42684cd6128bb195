"""Dead letters: records that can't be used, kept whole, with where they came from and why.

A letter is the record's own key, value and headers; what is known about it stands in headers of ours. It is sent before
the watermark moves, so a record is never passed over unseen; sent twice after a crash, it still names the same origin.
What is too large for a letter is left out of it, and can be read at its origin while the topic keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from infra.kafka.log import Record, UnreadableRecord
from infra.kafka.producer import Producer, RecordTooLargeError
from schemas.errors import MalformedRecordError

HEADER_PREFIX: Final = "freshline-"
# A header that a letter has only where something was left out of it: how large that was, in bytes, 0 if unknown.
LEFT_OUT: Final = HEADER_PREFIX + "truncated"


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
            # What others wrote under our names would pass for where the record came from.
            own = [header for header in record.headers if not header[0].startswith(HEADER_PREFIX)]
            facts = letter_headers(record, error, self._group)
            if isinstance(record, UnreadableRecord):
                facts.append((LEFT_OUT, b"0"))
            try:
                await self._producer.send(self._topic, key=record.key, value=record.value, headers=[*own, *facts])
            except RecordTooLargeError:
                size = sum(len(part or b"") for part in (record.key, record.value, *(value for _, value in own)))
                await self._producer.send(self._topic, headers=[*facts, (LEFT_OUT, str(size).encode())])


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

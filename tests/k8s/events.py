"""Events of users at a rate that changes, and what must be in Redis when all of them are applied."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaProducer

from tests.integration.worker_ground import Ground, encoded, envelope, user

USERS: Final = 4_000
_TICK_S: Final = 0.1


class Events:
    """Sends them until cancelled. A user changes at most once in a transaction, so the last change is the newest."""

    def __init__(self, ground: Ground, partitions: int) -> None:
        """At first nothing is sent."""
        self.per_s = 0.0
        self.names: dict[int, str] = {}
        self._ground = ground
        self._partitions = partitions
        self._sent = 0

    async def run(self) -> None:
        """Until cancelled."""
        topic = self._ground.topic("users")
        arguments = self._ground.settings.kafka.client_arguments()
        async with AIOKafkaProducer(**arguments, linger_ms=20) as producer:
            due = 0.0
            last = time.monotonic()
            while True:
                await asyncio.sleep(_TICK_S)
                now = time.monotonic()
                due, last = due + self.per_s * (now - last), now
                place = await self._ground.commit()
                for _ in range(min(int(due), USERS)):
                    due -= 1
                    self._sent += 1
                    number = self._sent % USERS
                    self.names[number] = f"Change {self._sent}"
                    event = envelope("u", place, after=user(number, name=self.names[number]))
                    await producer.send(
                        topic,
                        key=encoded({"id": number}),
                        value=encoded(event),
                        partition=number % self._partitions,
                    )

    async def wrong(self) -> list[int]:
        """The users whose entry is missing, or not what was said last of them."""
        found: list[int] = []
        for number, name in self.names.items():
            entry = await self._ground.user(number)
            if getattr(entry, "name", None) != name:
                found.append(number)
        return found

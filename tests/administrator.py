"""Kafka's administrator, for what only tests do to a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient

from infra.settings import Settings


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open."""
    admin = AIOKafkaAdminClient(**settings.kafka.client_arguments())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()

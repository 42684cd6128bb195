"""A store that is far away: a proxy that hands everything over so much later, in each direction, in order.

On two cores replicas of a worker that is never kept waiting would only take time from each other. Behind this each can
do just so much, as behind a store in another place, and more of them do more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from infra.local.ports import HOST, free_port

_CHUNK_BYTES: Final = 64 * 1024


class SlowStore:
    """The proxy. While it is away nobody gets through, and whoever was is cut off."""

    def __init__(self, host: str, port: int, latency_s: float) -> None:
        """``latency_s`` is of each direction."""
        self.port = free_port()
        self._target = host, port
        self._latency_s = latency_s
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_away = False

    def go_away(self) -> None:
        """Be away from now on."""
        self._is_away = True
        for writer in self._writers:
            writer.close()

    def come_back(self) -> None:
        """Be there again."""
        self._is_away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self._is_away:
            writer.close()
            return
        onward_reader, onward = await asyncio.open_connection(*self._target)
        self._writers |= {writer, onward}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, onward))
                both.create_task(self._carry(onward_reader, writer))
        finally:
            self._writers -= {writer, onward}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        waiting = asyncio.Queue[tuple[float, bytes]]()

        async def hand_over() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        handing_over = asyncio.create_task(hand_over())
        try:
            while data := await reader.read(_CHUNK_BYTES):
                waiting.put_nowait((loop.time() + self._latency_s, data))
            waiting.put_nowait((loop.time() + self._latency_s, b""))
            await handing_over
        except (ConnectionError, asyncio.IncompleteReadError):
            handing_over.cancel()
        finally:
            with suppress(ConnectionError):
                writer.close()


@asynccontextmanager
async def open_slow_store(host: str, port: int, latency_s: float) -> AsyncIterator[SlowStore]:
    """The proxy, listening."""
    slow = SlowStore(host, port, latency_s)
    server = await asyncio.start_server(slow.serve, HOST, slow.port)
    try:
        yield slow
    finally:
        server.close()
        slow.go_away()

"""A store that is far away: a proxy that hands everything over so much later, in each direction, in order.

It may also take no more than so many bytes a second of each connection, as where each record costs its time, or of all
together: then it is saturated.

On two cores replicas of a worker that is never kept waiting would only take time from each other. Behind this each can
do just so much, as behind a store in another place, and more of them do more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from infra.local.ports import HOST, free_port

_CHUNK_BYTES: Final = 64 * 1024


class Throughput:
    """So many bytes a second, those that came first before others."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._free_at_s = 0.0

    def taken_s(self, size: int, now_s: float) -> float:
        """When so many bytes that came now have been taken, by the same clock."""
        self._free_at_s = max(self._free_at_s, now_s) + size / self.bytes_per_s
        return self._free_at_s


class SlowStore:
    """The proxy. While it is away nobody gets through, and whoever was is cut off."""

    def __init__(self, host: str, port: int, latency_s: float, connection_bytes_per_s: float) -> None:
        """``latency_s`` is of each direction, the bytes are of each connection to the store."""
        self.port = free_port()
        self.of_all = Throughput(math.inf)
        self._latency_s = latency_s
        self._connection_bytes_per_s = connection_bytes_per_s
        self._target = host, port
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
        own = Throughput(self._connection_bytes_per_s)

        def taken_s(size: int, now_s: float) -> float:
            return max(own.taken_s(size, now_s), self.of_all.taken_s(size, now_s))

        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, onward, taken_s))
                both.create_task(self._carry(onward_reader, writer, lambda _, now_s: now_s))
        finally:
            self._writers -= {writer, onward}

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken_s: Callable[[int, float], float]
    ) -> None:
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
                waiting.put_nowait((taken_s(len(data), loop.time()) + self._latency_s, data))
            waiting.put_nowait((loop.time() + self._latency_s, b""))
            await handing_over
        except (ConnectionError, asyncio.IncompleteReadError):
            handing_over.cancel()
        finally:
            with suppress(ConnectionError):
                writer.close()


@asynccontextmanager
async def open_slow_store(
    host: str, port: int, latency_s: float, connection_bytes_per_s: float
) -> AsyncIterator[SlowStore]:
    """The proxy, listening."""
    slow = SlowStore(host, port, latency_s, connection_bytes_per_s)
    server = await asyncio.start_server(slow.serve, HOST, slow.port)
    try:
        yield slow
    finally:
        server.close()
        slow.go_away()
        await server.wait_closed()

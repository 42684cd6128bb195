# ruff: noqa: A002 - the parameter is called `type`, as it is in msgspec
"""The read side for callers without an event loop: the same methods, each waits for its result.

One thread runs a loop with one `Cache` in it; any number of threads may call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar, overload

from prometheus_client import CollectorRegistry

from freshline.cache import Cache, Mode
from freshline.opening import open as open_cache
from freshline.queries import QUERY_TTL_S
from freshline.tiers import Timing
from freshline.values import Row
from infra.postgres.pool import Connection
from infra.settings import Settings
from schemas.catalog import Catalog
from schemas.errors import NotOpenError
from schemas.token import WriteToken

T = TypeVar("T")


class SyncConnection:
    """A connection for the ``run`` of a cached query. Rows are ``asyncpg.Record``; parameters begin at ``$1``."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Use a connection that lives in this loop, from another thread."""
        self._connection = connection
        self._loop = loop

    def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """All rows."""
        return self._wait(self._connection.fetch(sql, *arguments))

    def fetchrow(self, sql: str, *arguments: object) -> Any:
        """The first row, or None."""
        return self._wait(self._connection.fetchrow(sql, *arguments))

    def fetchval(self, sql: str, *arguments: object) -> Any:
        """The first value of the first row, or None."""
        return self._wait(self._connection.fetchval(sql, *arguments))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


SyncRun = Callable[[SyncConnection], Any]


class SyncCache:
    """The methods of `Cache`, for any thread but the loop's own. Made by `open_sync`."""

    def __init__(self, cache: Cache, loop: asyncio.AbstractEventLoop) -> None:
        """Use an open cache that lives in this loop."""
        self._cache = cache
        self._loop = loop
        self._is_open = True

    @property
    def mode(self) -> Mode:
        """How reads go; may be changed at any time."""
        return self._cache.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._cache.mode = mode

    @overload
    def get(self, table: str, *key: object, type: None = None, token: WriteToken | None = None) -> Row | None: ...

    @overload
    def get(self, table: str, *key: object, type: type[T], token: WriteToken | None = None) -> T | None: ...

    def get(
        self, table: str, *key: object, type: type[T] | None = None, token: WriteToken | None = None
    ) -> Row | T | None:
        """A row, or None where there is none; see `Cache.get`."""
        if type is None:
            return self._wait(self._cache.get(table, *key, token=token))
        return self._wait(self._cache.get(table, *key, type=type, token=token))

    @overload
    def get_many(
        self, table: str, keys: Sequence[object], *, type: None = None, token: WriteToken | None = None
    ) -> list[Row | None]: ...

    @overload
    def get_many(
        self, table: str, keys: Sequence[object], *, type: type[T], token: WriteToken | None = None
    ) -> list[T | None]: ...

    def get_many(
        self, table: str, keys: Sequence[object], *, type: type[T] | None = None, token: WriteToken | None = None
    ) -> Sequence[Row | T | None]:
        """Rows in the order of their keys, None for each that does not exist; see `Cache.get_many`."""
        if type is None:
            return self._wait(self._cache.get_many(table, keys, token=token))
        return self._wait(self._cache.get_many(table, keys, type=type, token=token))

    @overload
    def query(
        self,
        key: str,
        run: SyncRun,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: None = None,
        token: WriteToken | None = None,
    ) -> Any: ...

    @overload
    def query(
        self,
        key: str,
        run: SyncRun,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: type[T],
        token: WriteToken | None = None,
    ) -> T: ...

    def query(
        self,
        key: str,
        run: SyncRun,
        *,
        tags: Sequence[str] = (),
        ttl_s: float = QUERY_TTL_S,
        version: str = "",
        type: type[T] | None = None,
        token: WriteToken | None = None,
    ) -> Any:
        """The result of a query; see `Cache.query`. ``run`` is called in a thread, with a `SyncConnection`."""

        async def run_in_thread(connection: Connection) -> Any:
            return await asyncio.to_thread(run, SyncConnection(connection, self._loop))

        work: Coroutine[Any, Any, Any] = (
            self._cache.query(key, run_in_thread, tags=tags, ttl_s=ttl_s, version=version, token=token)
            if type is None
            else self._cache.query(key, run_in_thread, tags=tags, ttl_s=ttl_s, version=version, type=type, token=token)
        )
        return self._wait(work)

    def invalidate(self, *names: str) -> WriteToken:
        """Make copies stale, after one's own commit; see `Cache.invalidate`."""
        return self._wait(self._cache.invalidate(*names))

    def closed(self) -> None:
        """From now on every call is refused."""
        self._is_open = False

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._is_open or _runs_in(self._loop):
            work.close()
            raise NotOpenError(
                "The cache is closed, or was called from its own loop. Use it inside `with`, from a thread of yours; "
                "where there is a loop, use `freshline.open`."
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _runs_in(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


@contextmanager
def open_sync(
    settings: Settings,
    catalog: Catalog,
    *,
    registry: CollectorRegistry | None = None,
    timing: Timing | None = None,
) -> Iterator[SyncCache]:
    """An open cache for callers without an event loop; see `freshline.open`.

    Closing: no new calls, cache and connections closed in the loop, the loop's thread ended.

    Raises:
        SettingsError: a server has no address.
        StoreUnavailableError: Postgres does not answer. Redis may be away.
    """
    with (
        _running_loop() as loop,
        _entered(open_cache(settings, catalog, registry=registry, timing=timing), loop) as cache,
    ):
        sync = SyncCache(cache, loop)
        try:
            yield sync
        finally:
            sync.closed()


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="freshline", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _entered(manager: AbstractAsyncContextManager[T], loop: asyncio.AbstractEventLoop) -> Iterator[T]:
    """Enter and leave an asynchronous context manager within one task of the loop."""
    leave = asyncio.Event()
    entered: asyncio.Future[T] = asyncio.run_coroutine_threadsafe(_future(), loop).result()

    async def hold() -> None:
        try:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    async def enter() -> T:
        return await entered

    holding = asyncio.run_coroutine_threadsafe(hold(), loop)
    value = asyncio.run_coroutine_threadsafe(enter(), loop).result()
    try:
        yield value
    finally:
        loop.call_soon_threadsafe(leave.set)
        holding.result()


async def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()

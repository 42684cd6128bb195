"""The client of Qdrant: a server, or a folder in this process. Its errors become ours at this edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Final

import httpx
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from infra.settings import QdrantSettings
from schemas.errors import FreshlineError, StoreUnavailableError

_GONE: Final = HTTPStatus.NOT_FOUND
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class FolderInUseError(FreshlineError):
    """Another process has Qdrant's folder open, and only one can."""


class CollectionGoneError(FreshlineError):
    """A collection was used that is not there, or no longer."""


@contextmanager
def qdrant_errors() -> Iterator[None]:
    """Turn the client's errors into ours; what says that a request was wrong stays as it is.

    Raises:
        StoreUnavailableError: Qdrant does not answer, can't for now, or refuses us.
    """
    try:
        yield
    except UnexpectedResponse as error:
        status = HTTPStatus(error.status_code or 500)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise StoreUnavailableError(
                "Qdrant refuses us. Check FRESHLINE_QDRANT__API_KEY: it must be allowed to make collections."
            ) from error
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING:
            raise
        raise StoreUnavailableError(f"Qdrant can't answer now ({status} {status.phrase}). See its log.") from error
    except QdrantException as error:  # 429, with a time after which to come again
        raise StoreUnavailableError(f"Qdrant can't answer now ({error}). See its log.") from error
    except (ResponseHandlingException, httpx.HTTPError, OSError) as error:
        raise StoreUnavailableError(
            f"Qdrant does not answer ({error}). Check FRESHLINE_QDRANT__URL and that the server is up."
        ) from error


@contextmanager
def collection_errors() -> Iterator[None]:
    """As `qdrant_errors`, around calls that are about one collection.

    Raises:
        CollectionGoneError: it is not there.
        StoreUnavailableError: Qdrant does not answer, can't for now, or refuses us.
    """
    try:
        with qdrant_errors():
            yield
    except (UnexpectedResponse, ValueError) as error:
        # A folder's client knows no status.
        is_gone = "not found" in str(error) if isinstance(error, ValueError) else error.status_code == _GONE
        if not is_gone:
            raise
        raise CollectionGoneError(f"A collection of Qdrant's is gone: {error}") from error


@asynccontextmanager
async def answering_within(timeout_s: float) -> AsyncIterator[None]:
    """Give up on calls that take longer altogether: for those who have somebody waiting.

    Raises:
        StoreUnavailableError: they took longer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise StoreUnavailableError(
            f"Qdrant did not answer within {timeout_s:g} s (FRESHLINE_READER__QDRANT_TIMEOUT_S)."
        ) from error


@asynccontextmanager
async def open_qdrant(settings: QdrantSettings) -> AsyncIterator[AsyncQdrantClient]:
    """A client. It connects when it is first used.

    Raises:
        FolderInUseError: it is a folder that another process has open.
    """
    if settings.url:
        client = AsyncQdrantClient(
            url=settings.url,
            api_key=settings.api_key_text(),
            timeout=max(1, round(settings.timeout_s)),
            check_compatibility=False,
            trust_env=False,
        )
    else:
        try:
            client = AsyncQdrantClient(path=str(settings.folder))
        except RuntimeError as error:
            raise FolderInUseError(
                f"Another process has Qdrant's folder {settings.folder} open, and only one can. Run a Qdrant server "
                "and set FRESHLINE_QDRANT__URL, or run the roles that use the index in one process."
            ) from error
    try:
        yield client
    finally:
        await client.close()


async def make_collection(client: AsyncQdrantClient, name: str, **options: Any) -> None:
    """Make a collection where it is not there; ``options`` as of ``AsyncQdrantClient.create_collection``.

    Raises:
        StoreUnavailableError: Qdrant does not answer.
    """
    with qdrant_errors():
        if await client.collection_exists(name):
            return
        try:
            await client.create_collection(name, **options)
        except UnexpectedResponse as error:
            # Another process was faster.
            if error.status_code not in {HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST}:
                raise
            if not await client.collection_exists(name):
                raise

"""Compares every copy with the database.

    keys of Redis, memories of processes ▶ what is served ▶ equal to the database's? ▶ if not: again, for a while

Where nobody writes, what still differs after a moment is wrong. Where traffic goes on, a copy may rightly be behind for
moments, so a difference counts only if neither the copy nor the row has changed for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from redis.asyncio import Redis

from freshline.verification.copies import (
    Copy,
    Memory,
    MemoryCopies,
    Place,
    QueryCopy,
    RedisCopies,
    RowCopy,
    Stranger,
    Unserved,
    table_of,
)
from freshline.verification.derivations import Derivations
from freshline.verification.report import Finding, Report, Tally
from freshline.verification.rows import bodies
from infra.postgres.pool import Connection, open_connection
from infra.redis.coherence import Coherence
from infra.settings import Settings
from schemas.catalog import Catalog, Table
from schemas.debezium import READER_SETTINGS

QUIET_PATIENCE_S: Final = 0.5
LIVE_PATIENCE_S: Final = 5.0
_LOOK_AGAIN_EVERY_S: Final = 0.25
# A copy that changes all the time is given up on after so many times the patience.
_ROUNDS: Final = 4
_PAGE: Final = 1_000


class _Looked(msgspec.Struct, frozen=True):
    """A copy beside what the database says: ``truth`` is None where there is no such row."""

    copy: bytes | None
    truth: bytes | None


class _Suspect(msgspec.Struct):
    """A copy that differs: since when it does so unchanged, and when it was first seen to (seconds)."""

    looked: _Looked
    since: float
    first: float


class Verification:
    """One run. Made by ``open_verification``."""

    def __init__(
        self,
        places: Sequence[Place],
        connection: Connection,
        catalog: Catalog,
        derivations: Derivations,
        patience_s: float,
    ) -> None:
        self._places = places
        self._connection = connection
        self._catalog = catalog
        self._derivations = derivations
        self._patience_s = patience_s

    async def run(self) -> Report:
        """Compare everything.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        started = time.monotonic()
        report = Report()
        for place in self._places:
            suspects: dict[str, _Looked] = {}
            seen: set[str] = set()
            async for page in place.keys():
                fresh = [key for key in dict.fromkeys(page) if key not in seen]
                seen.update(fresh)
                for start in range(0, len(fresh), _PAGE):
                    suspects |= await self._look(place, fresh[start : start + _PAGE], report)
            await self._look_again(place, suspects, report)
        report.took_s = time.monotonic() - started
        return report

    async def _look(self, place: Place, keys: Sequence[str], report: Report) -> dict[str, _Looked]:
        """Those of these copies that differ; the others are tallied."""
        copies = await place.classify(keys)
        truths = await self._truths(copies)
        differing: dict[str, _Looked] = {}
        for copy in copies:
            tally = self._tally(report, place, copy.key)
            match copy:
                case Unserved():
                    tally.skip(copy.why)
                case Stranger():
                    tally.unknown += 1
                case QueryCopy() if copy.key not in truths:
                    tally.unknown += 1
                case RowCopy() | QueryCopy():
                    truth = truths.get(copy.key)
                    if copy.body == truth:
                        tally.compared += 1
                    else:
                        differing[copy.key] = _Looked(copy.body, truth)
        return differing

    async def _truths(self, copies: Sequence[Copy]) -> dict[str, bytes]:
        """What the database says under the keys of rows and of known queries, all in one snapshot."""
        by_table: dict[Table, list[str]] = {}
        for copy in copies:
            if isinstance(copy, RowCopy):
                by_table.setdefault(copy.table, []).append(copy.key)
        found: dict[str, bytes] = {}
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            for table, keys in by_table.items():
                found |= await bodies(self._connection, table, keys)
            for copy in copies:
                if isinstance(copy, QueryCopy):
                    body = await self._derivations.derive(self._connection, copy.key)
                    if body is not None:
                        found[copy.key] = body
        return found

    async def _look_again(self, place: Place, found: Mapping[str, _Looked], report: Report) -> None:
        """Look at what differed until each copy is right, or wrong for as long as patience lasts."""
        now = time.monotonic()
        suspects = {key: _Suspect(looked, now, now) for key, looked in found.items()}
        while suspects:
            await asyncio.sleep(min(_LOOK_AGAIN_EVERY_S, self._patience_s))
            keys = list(suspects)
            differing: dict[str, _Looked] = {}
            for start in range(0, len(keys), _PAGE):
                differing |= await self._look(place, keys[start : start + _PAGE], report)
            now = time.monotonic()
            suspects = {key: suspect for key, suspect in suspects.items() if key in differing}
            for key, looked in differing.items():
                suspect, tally = suspects[key], self._tally(report, place, key)
                if looked != suspect.looked:
                    suspect.looked, suspect.since = looked, now
                if now - suspect.since >= self._patience_s:
                    tally.compared += 1
                    report.find(tally, Finding(place.name, key, _reason(looked)))
                    del suspects[key]
                elif now - suspect.first >= _ROUNDS * self._patience_s:
                    tally.unsettled += 1
                    del suspects[key]

    def _tally(self, report: Report, place: Place, key: str) -> Tally:
        if place.name != RedisCopies.name:
            return report.memories
        return report.queries if table_of(self._catalog, key) is None else report.rows


@asynccontextmanager
async def open_verification(
    settings: Settings,
    catalog: Catalog,
    *,
    derivations: Derivations | None = None,
    memories: Mapping[str, Memory] | None = None,
    live: bool = False,
) -> AsyncIterator[Verification]:
    """A verification of all copies of a namespace.

    Args:
        settings: where the stores are.
        catalog: the tables that are cached.
        derivations: how cached queries are run again.
        memories: what processes remember, by their names.
        live: traffic goes on.

    Raises:
        StoreUnavailableError: Postgres does not answer.
    """
    settings.require(["postgres", "redis"])
    async with (
        open_connection(settings.postgres.reader_arguments(), application="freshline verify") as connection,
        Redis.from_url(**settings.redis.client_arguments()) as redis,
    ):
        for name, value in READER_SETTINGS.items():
            await connection.execute("SELECT set_config($1, $2, false)", name, value)
        # The memories first: what they serve lives for a minute at most.
        places: list[Place] = [MemoryCopies(name, memory, catalog) for name, memory in (memories or {}).items()]
        places.append(RedisCopies(redis, Coherence(redis, settings.namespace), catalog))
        yield Verification(
            places, connection, catalog, derivations or Derivations(), LIVE_PATIENCE_S if live else QUIET_PATIENCE_S
        )


def _reason(looked: _Looked) -> str:
    if looked.copy is None:
        return 'it says "no such row", and there is one'
    if looked.truth is None:
        return "there is no such row"
    return "it holds something else than the database"

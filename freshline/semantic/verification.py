"""Compares a generation of the index with the database.

    rows, and documents that are no rows ▶ what searches see of them ▶ as it should be? ▶ if not: again, for a while

As in ``freshline/verification``: where nobody writes, what still differs after a moment is wrong. Where traffic goes
on, a difference counts only if neither the document nor the index has changed for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec

from freshline.semantic.comparison import Seen, Truth, faults, right_passage, seen, vector_fault
from freshline.semantic.report import Finding, IndexReport
from freshline.verification.verify import LIVE_PATIENCE_S, QUIET_PATIENCE_S
from infra.embedding.embedder import Embedder
from infra.postgres.keys import KeyWalk
from infra.postgres.moments import Primary
from infra.postgres.pool import open_pool
from infra.postgres.rows import RowSource
from infra.qdrant.client import open_qdrant
from infra.qdrant.generations import Generation, Generations, NoIndexError
from infra.qdrant.passages import DocumentName, Head, PassageStore, Point
from infra.settings import Settings
from schemas.catalog import Catalog, Table
from schemas.keys import key_part, part_text
from schemas.passages import passages_of, tenant_of

_DOCUMENTS_PER_PAGE: Final = 64
# As soon as so many documents differ they are looked at again, so that no more of them need be remembered.
_MOST_SUSPECTS: Final = 1_000
_LOOK_AGAIN_EVERY_S: Final = 0.25
# A document that changes all the time is given up on after so many times the patience.
_ROUNDS: Final = 4
_decode_row = msgspec.json.Decoder(dict[str, Any]).decode


class _Looked(msgspec.Struct, frozen=True):
    """What is wrong with a document, and what it was compared by: equal where nothing changed in between."""

    findings: tuple[Finding, ...]
    head: Head | None
    visible: int
    tenant: str | None
    digests: tuple[str, ...]


class _Suspect(msgspec.Struct):
    """A document that differs: since when it does so unchanged, and when it was first seen to (seconds)."""

    table: Table
    looked: _Looked
    since: float
    first: float


class IndexVerification:
    """One run. Made by ``open_index_verification``; without an embedder vectors are not compared."""

    def __init__(
        self,
        catalog: Catalog,
        store: PassageStore,
        embedder: Embedder | None,
        *,
        keys: KeyWalk,
        rows: RowSource,
        primary: Primary,
        patience_s: float,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._embedder = embedder
        self._keys = keys
        self._rows = rows
        self._primary = primary
        self._patience_s = patience_s
        self._visible = 0

    async def run(self) -> IndexReport:
        """Compare every document.

        Raises:
            CollectionGoneError: the generation was dropped meanwhile.
            StoreUnavailableError: a store does not answer.
        """
        started = time.monotonic()
        generation = self._store.generation
        report = IndexReport(generation.name, generation.model, has_vectors=self._embedder is not None)
        for table in self._catalog.indexed:
            suspects: dict[DocumentName, _Looked] = {}
            async for keys in self._pages(table):
                suspects |= await self._look(table, keys, report)
                if len(suspects) >= _MOST_SUSPECTS:
                    await self._look_again(table, suspects, report)
                    suspects = {}
            await self._look_again(table, suspects, report)
        _, points = await self._store.count()
        report.leftovers = max(0, points - self._visible)
        report.took_s = time.monotonic() - started
        return report

    async def _pages(self, table: Table) -> AsyncIterator[Sequence[tuple[str, ...]]]:
        """The keys of all rows, and then of all documents that are no rows."""
        after: tuple[str, ...] | None = None
        while page := await self._keys.page(table, after, _DOCUMENTS_PER_PAGE):
            yield page
            after = page[-1]
        following: str | None = None
        while True:
            names, following = await self._store.documents(table.qualified_name, after=following)
            keys = [_key(name) for name in names]
            rows = await self._keys.existing(table, keys) if keys else set()
            gone = [key for key in keys if key not in rows]
            for start in range(0, len(gone), _DOCUMENTS_PER_PAGE):
                yield gone[start : start + _DOCUMENTS_PER_PAGE]
            if following is None:
                return

    async def _look(
        self, table: Table, keys: Sequence[tuple[str, ...]], report: IndexReport
    ) -> dict[DocumentName, _Looked]:
        """Those of these documents that differ; the others are tallied."""
        names = {_name(table, key): key for key in keys}
        documents = await self._seen(list(names))
        truths = await self._truths(table, names)
        # After both, so that no right stamp can be newer.
        position = (await self._primary.moment()).lsn
        findings = {name: list(faults(name, documents[name], truths[name], position)) for name in names}
        if self._embedder is not None:
            async for finding in self._vector_faults(self._embedder, truths):
                findings[DocumentName(finding.table, finding.key)].append(finding)
        differing: dict[DocumentName, _Looked] = {}
        for name, found in findings.items():
            looked = _Looked(
                tuple(sorted(found, key=str)),
                documents[name].head,
                len(documents[name].visible),
                truths[name].tenant,
                tuple(passage.digest for passage in truths[name].passages),
            )
            if found:
                differing[name] = looked
            else:
                self._count(looked, report)
        return differing

    def _count(self, looked: _Looked, report: IndexReport) -> None:
        """Count a document that was compared, once for all."""
        report.documents += 1
        report.passages += len(looked.digests)
        self._visible += looked.visible

    async def _seen(self, names: Sequence[DocumentName]) -> dict[DocumentName, Seen]:
        heads = await self._store.heads(names)
        points: dict[DocumentName, list[Point]] = {name: [] for name in names}
        async for page in self._store.points(names):
            for name, point in page:
                points[name].append(point)
        return {name: seen(heads.get(name), points[name]) for name in names}

    async def _truths(self, table: Table, names: dict[DocumentName, tuple[str, ...]]) -> dict[DocumentName, Truth]:
        found = await self._rows.read(table, list(names.values()))
        return {name: _truth(table, body) for name, body in zip(names, found.bodies, strict=True)}

    async def _vector_faults(self, embedder: Embedder, truths: Mapping[DocumentName, Truth]) -> AsyncIterator[Finding]:
        """Wrong vectors of passages whose texts are right; page by page, since they are large."""
        async for page in self._store.points(list(truths), vectors=True):
            right = [
                (name, point, passage)
                for name, point in page
                if (passage := right_passage(name, point, truths[name])) is not None
            ]
            vectors = await embedder.encode([passage.text for _, _, passage in right])
            for (name, point, _), vector in zip(right, vectors, strict=True):
                fault = vector_fault(name, point, vector.tolist())
                if fault is not None:
                    yield fault

    async def _look_again(self, table: Table, found: dict[DocumentName, _Looked], report: IndexReport) -> None:
        """Look at what differed until each document is right, or wrong for as long as patience lasts."""
        now = time.monotonic()
        suspects = {name: _Suspect(table, looked, now, now) for name, looked in found.items()}
        while suspects:
            await asyncio.sleep(min(_LOOK_AGAIN_EVERY_S, self._patience_s))
            keys = [_key(name) for name in suspects]
            differing: dict[DocumentName, _Looked] = {}
            for start in range(0, len(keys), _DOCUMENTS_PER_PAGE):
                differing |= await self._look(table, keys[start : start + _DOCUMENTS_PER_PAGE], report)
            now = time.monotonic()
            suspects = {name: suspect for name, suspect in suspects.items() if name in differing}
            for name, looked in differing.items():
                suspect = suspects[name]
                if looked != suspect.looked:
                    suspect.looked, suspect.since = looked, now
                if now - suspect.since >= self._patience_s:
                    report.find(looked.findings)
                elif now - suspect.first >= _ROUNDS * self._patience_s:
                    report.unsettled += 1
                else:
                    continue
                self._count(looked, report)
                del suspects[name]


@asynccontextmanager
async def open_index_verification(
    settings: Settings,
    catalog: Catalog,
    *,
    generation: str | None = None,
    vectors: bool = False,
    live: bool = False,
) -> AsyncIterator[IndexVerification]:
    """A comparison of the index with the database.

    Args:
        settings: where the stores are.
        catalog: the tables that are indexed.
        generation: the name of one; the one that is searched without it.
        vectors: embed every passage again and compare its vector, too, for which the model is loaded.
        live: traffic goes on.

    Raises:
        NoIndexError: there is no such generation.
        ModelUnavailableError: its model can't be had.
        StoreUnavailableError: a store does not answer.
    """
    settings.require(["postgres", "qdrant"])
    arguments = settings.postgres.reader_arguments()
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(open_qdrant(settings.qdrant))
        found = await _found(Generations(client, settings.namespace, settings.qdrant), generation)
        pool = await opened.enter_async_context(open_pool(arguments, application="freshline verify", max_size=2))
        embedder: Embedder | None = None
        if vectors:
            embedder = await opened.enter_async_context(Embedder(found.model, settings.embedding))
        yield IndexVerification(
            catalog,
            PassageStore(client, found),
            embedder,
            keys=KeyWalk(pool, arguments),
            rows=RowSource(pool, arguments),
            primary=Primary(pool, arguments, slot=settings.postgres.slot),
            patience_s=LIVE_PATIENCE_S if live else QUIET_PATIENCE_S,
        )


async def _found(generations: Generations, name: str | None) -> Generation:
    wanted = await generations.active() if name is None else name
    there = {each.name: each for each in await generations.all()}
    if wanted is None or wanted not in there:
        raise NoIndexError(
            "There is no index of documents yet. `freshline run semantic-refresh` makes it."
            if name is None
            else f"There is no generation {name!r} of the index. There are: {', '.join(there) or 'none'}."
        )
    return there[wanted]


def _truth(table: Table, body: bytes | None) -> Truth:
    assert table.index is not None  # noqa: S101 - only such tables are compared
    if body is None:
        return Truth()
    row = _decode_row(body)
    return Truth(tenant_of(row, table.index), passages_of(row, table.index))


def _name(table: Table, key: tuple[str, ...]) -> DocumentName:
    return DocumentName(table.qualified_name, ":".join(map(key_part, key)))


def _key(name: DocumentName) -> tuple[str, ...]:
    return tuple(map(part_text, name.key.split(":")))

"""The work of the semantic refresh: from documents that may have changed to passages that can be found.

    what lies there ▸ the rows, as of now ▸ passages ▸ vectors (of new texts alone) ▸ │ passages ▸ heads ▸ sweep

Left of the bar is prepared while the batch in front is still written. The rows are read after what lies there, so that
a repair, which may replace what has the same stamp, is never older than that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from consumers.followed import Followed
from consumers.semantic_refresh import RefreshChange
from consumers.sink import Change, Step
from infra.metrics import SemanticMetrics
from infra.postgres.rows import RowSource
from infra.qdrant.passages import DocumentName, NewPassage, PassageStore, Stored, Vector, Version
from infra.redis.index_state import IndexState
from schemas.catalog import Catalog, Table
from schemas.keys import key_part, part_text
from schemas.passages import Passage, passages_of, tenant_of

# Documents that are read, embedded and written together: enough for full batches, few enough to be soon done.
DOCUMENTS_PER_CHUNK: Final = 64
# Texts for which the model is asked at once, so that others get their turn in between.
_TEXTS_PER_CALL: Final = 64
_decode_row = msgspec.json.Decoder(dict[str, Any]).decode


class Wanted(msgspec.Struct, frozen=True):
    """A document to refresh: its key as texts, and the position (bytes) up to which it changed; 0 to compare it."""

    table: Table
    key: tuple[str, ...]
    lsn: int = 0

    @property
    def name(self) -> DocumentName:
        """Its name."""
        return DocumentName(self.table.qualified_name, ":".join(map(key_part, self.key)))


class _Text(msgspec.Struct, frozen=True):
    """What a document says now, and whose it is. Without passages where it is gone, or empty."""

    tenant: str | None = None
    passages: Sequence[Passage] = ()


class _Prepared(msgspec.Struct):
    """Versions that are ready to be written to one generation, and documents that have followed already."""

    store: PassageStore
    versions: list[Version]
    followed: list[Version]


class Refresher:
    """Refreshes documents in every generation that is followed."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        rows: RowSource,
        followed: Followed,
        state: IndexState,
        metrics: SemanticMetrics,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Take everything ready made and opened; ``on_progress`` is called whenever something was embedded."""
        self._tables = {table.qualified_name: table for table in catalog.indexed}
        self._rows = rows
        self._followed = followed
        self._state = state
        self._metrics = metrics
        self._on_progress = on_progress

    # As the work of a worker.

    async def prepare(self, changes: Sequence[Change]) -> Step:
        """Read and embed what these changes ask for; the step writes it.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        refreshes = [change for change in changes if isinstance(change, RefreshChange)]
        wanted: dict[DocumentName, Wanted] = {}
        for change in refreshes:
            async for document in self._asked_for(change):
                found = wanted.get(document.name)
                if found is None or found.lsn < document.lsn:
                    wanted[document.name] = document
        chunks = list(_chunks(wanted.values()))
        for chunk in chunks[:-1]:
            await (await self.refresh(chunk))()
        last = await self.refresh(chunks[-1]) if chunks else None

        async def finish() -> None:
            if last is not None:
                await last()
            now_ms = time.time() * 1000
            for committed_at_ms in {change.committed_at_ms for change in refreshes} - {0}:
                self._metrics.age.observe(max(0.0, (now_ms - committed_at_ms) / 1000))

        return finish

    async def _asked_for(self, change: RefreshChange) -> Any:
        table = self._tables[change.refresh.table]
        if change.refresh.key is not None:
            yield Wanted(table, table.key_texts(change.refresh.key), change.lsn)
        elif not change.lsn:
            await self._state.restart_walks(table.qualified_name)
        else:
            # A TRUNCATE. Rows that came after it are there, and say so when they are read.
            for store in await self._followed.stores():
                with self._followed.unless_gone(store):
                    async for name in present(store, table, before_lsn=change.lsn):
                        yield Wanted(table, key_of(name), change.lsn)

    # As such.

    async def refresh(self, wanted: Sequence[Wanted]) -> Callable[[], Awaitable[dict[str, Sequence[Version]]]]:
        """Read and embed some documents; the step writes them, to every generation that there is by then.

        It returns the versions that it wrote, by the name of the generation: none of a document that was compared and
        is as it should be.

        Raises:
            StoreUnavailableError: a store does not answer.
        """
        stores = await self._followed.stores()
        prepared = await self._prepare(stores, wanted)

        async def write() -> dict[str, Sequence[Version]]:
            done = {each.store.generation.name for each in prepared}
            written = list(prepared)
            for each in prepared:
                await self._write(each)
            # One that was made meanwhile may have been compared with the database before this change could be seen.
            while new := [s for s in await self._followed.stores() if s.generation.name not in done]:
                for each in await self._prepare(new, wanted):
                    await self._write(each)
                    written.append(each)
                done |= {store.generation.name for store in new}
            return {each.store.generation.name: each.versions for each in written}

        return write

    async def _prepare(self, stores: Sequence[PassageStore], wanted: Sequence[Wanted]) -> list[_Prepared]:
        names = [document.name for document in wanted]
        stored: list[tuple[PassageStore, dict[DocumentName, Stored]]] = []
        for store in stores:
            with self._followed.unless_gone(store):
                stored.append((store, await store.stored(names)))
        # The rows are read after all of these stamps, so what is compared contains the newest of them.
        texts = await self._read(wanted) if stored else {}
        prepared: list[_Prepared] = []
        known: dict[tuple[str, str], Vector] = {}
        for store, lying in stored:
            stamps = _stamps(lying for other, lying in stored if other.generation.identity == store.generation.identity)
            model = store.generation.model
            known |= {
                (model, passage.digest): passage.vector
                for document in lying.values()
                for passage in document.passages
                if passage.vector is not None
            }
            each = _Prepared(store, [], [])
            stale = [document for document in wanted if self._is_stale(document, lying[document.name], texts, each)]
            await self._embed(store, [texts[document.name] for document in stale], known)
            for document in stale:
                text = texts[document.name]
                lsn = document.lsn or stamps[document.name]
                passages = [NewPassage(p.column, p.text, p.digest, known[model, p.digest]) for p in text.passages]
                version = Version(document.name, lsn, text.tenant, passages, repairs=not document.lsn)
                each.versions.append(version)
            prepared.append(each)
        return prepared

    def _is_stale(
        self, document: Wanted, lying: Stored, texts: Mapping[DocumentName, _Text], prepared: _Prepared
    ) -> bool:
        """Whether it is to be written. What has followed already may still need to be swept."""
        if document.lsn:
            if lying.head is None or lying.head.lsn < document.lsn:
                return True
            self._metrics.documents.labels("followed_already").inc()
            prepared.followed.append(Version(document.name, document.lsn, None, ()))
            return False
        if is_as_it_should_be(lying, texts[document.name].passages, texts[document.name].tenant):
            self._metrics.documents.labels("unchanged").inc()
            return False
        return True

    async def _read(self, wanted: Sequence[Wanted]) -> dict[DocumentName, _Text]:
        texts: dict[DocumentName, _Text] = {}
        for table in {document.table.qualified_name: document.table for document in wanted}.values():
            documents = [document for document in wanted if document.table is table]
            found = await self._rows.read(table, [document.key for document in documents])
            for document, body in zip(documents, found.bodies, strict=True):
                texts[document.name] = _text(table, body)
        return texts

    async def _embed(self, store: PassageStore, texts: Sequence[_Text], known: dict[tuple[str, str], Vector]) -> None:
        """Add to what is known the vectors of passages that are not."""
        model = store.generation.model
        wanted = {passage.digest: passage.text for text in texts for passage in text.passages}
        missing = {digest: text for digest, text in wanted.items() if (model, digest) not in known}
        passages = sum(len(text.passages) for text in texts)
        self._metrics.passages.labels("embedded").inc(len(missing))
        self._metrics.passages.labels("reused").inc(passages - len(missing))
        if not missing:
            return
        embedder = await self._followed.embedder(store.generation)
        # Those of one length together, since each batch is as long as its longest.
        digests = sorted(missing, key=lambda digest: len(missing[digest]))
        self._metrics.batch.observe(len(digests))
        began = time.perf_counter()
        for start in range(0, len(digests), _TEXTS_PER_CALL):
            call = digests[start : start + _TEXTS_PER_CALL]
            vectors = await embedder.encode([missing[digest] for digest in call])
            known |= {(model, digest): vector.tolist() for digest, vector in zip(call, vectors, strict=True)}
            self._on_progress()
        self._metrics.embedding.inc(time.perf_counter() - began)

    async def _write(self, prepared: _Prepared) -> None:
        store, versions = prepared.store, prepared.versions
        with self._followed.unless_gone(store):
            await store.put_passages(versions)
            await store.put_heads(versions)
            self._metrics.swept.inc(await store.sweep([*versions, *prepared.followed]))
        repaired = sum(1 for version in versions if version.repairs)
        self._metrics.documents.labels("repaired").inc(repaired)
        self._metrics.documents.labels("written").inc(len(versions) - repaired)
        self._on_progress()


def key_of(name: DocumentName) -> tuple[str, ...]:
    """The values of a document's key, as texts."""
    return tuple(map(part_text, name.key.split(":")))


async def present(store: PassageStore, table: Table, *, before_lsn: int | None = None) -> Any:
    """The documents of a table that are there, one by one."""
    after: str | None = None
    while True:
        names, after = await store.documents(table.qualified_name, before_lsn=before_lsn, after=after)
        for name in names:
            yield name
        if after is None:
            return


def _stamps(lying: Iterable[Mapping[DocumentName, Stored]]) -> dict[DocumentName, int]:
    """The newest stamp of each document: one generation is as new as another, also where it has yet to be filled."""
    stamps: dict[DocumentName, int] = {}
    for documents in lying:
        for name, stored in documents.items():
            stamps[name] = max(stamps.get(name, 0), stored.newest_lsn)
    return stamps


def is_as_it_should_be(lying: Stored, passages: Sequence[Passage], tenant: str | None) -> bool:
    """Whether what can be found of a document is what it says now, and nothing lies beyond it."""
    if lying.head is None:
        return not passages and not lying.passages
    return (
        lying.head.passages == len(passages) == len(lying.passages)
        and (not passages or lying.head.tenant == tenant)
        and all(
            there.place == place
            and (there.column, there.digest, there.tenant) == (passage.column, passage.digest, tenant)
            for place, (there, passage) in enumerate(zip(lying.passages, passages, strict=True))
        )
    )


def _text(table: Table, body: bytes | None) -> _Text:
    assert table.index is not None  # noqa: S101 - only such tables are followed
    if body is None:
        return _Text()
    row = _decode_row(body)
    return _Text(tenant_of(row, table.index), passages_of(row, table.index))


def _chunks(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    source = iter(wanted)
    while chunk := list(islice(source, DOCUMENTS_PER_CHUNK)):
        yield chunk

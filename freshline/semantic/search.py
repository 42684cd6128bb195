"""Search: the passages that mean what was asked, of the documents that the asker may see.

    text ▸ vector ▸ the nearest passages ──────────────────────────────┐
    text ▸ Postgres: documents with its words ▸ a passage of each ▸ ───┴─▶ one ranking

Full text finds what a model has never heard of: names, numbers, codes. It is asked where the catalog names a language,
and done without while Postgres is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from freshline.guards import Breaker, PastStoreError
from freshline.semantic.active import ActiveIndex
from freshline.semantic.fusion import fused, one_of_each
from infra.postgres.full_text import FullText
from infra.qdrant.client import CollectionGoneError, answering_within
from infra.qdrant.passages import DocumentName, FoundPassage, PassageStore
from schemas.catalog import Catalog, Table
from schemas.errors import CatalogError, FreshlineError, KeyValueError, StoreUnavailableError
from schemas.keys import key_part, value_text
from schemas.passages import EVERYONE

# How deep each ranking goes that is fused: what is far down in one may be at the top in the other.
_DEPTH: Final = 30
# Passages that are looked at of each document with the words, to find the one that has them.
_PASSAGES_PER_DOCUMENT: Final = 8


class TenantMissingError(FreshlineError):
    """A table is searched whose documents belong to tenants, and it was not said whose."""


class Searcher:
    """Searches the active index. Takes everything ready made and opened."""

    def __init__(
        self,
        catalog: Catalog,
        index: ActiveIndex,
        full_text: FullText | None,
        *,
        timeout_s: float,
    ) -> None:
        """``timeout_s`` is how long Qdrant may take, in seconds; without full text meaning alone is searched."""
        self._catalog = catalog
        self._index = index
        self._full_text = full_text
        self._timeout_s = timeout_s
        self._breaker = Breaker("full_text")

    async def search(
        self,
        text: str,
        *,
        tenant: object | None = None,
        tables: Sequence[str] = (),
        limit: int = 10,
        vector: Sequence[float] | None = None,
        model: str | None = None,
    ) -> list[FoundPassage]:
        """The passages that fit a text best, the best first.

        Args:
            text: what is sought.
            tenant: the value of the tenant column: whose documents are searched, with those that are everyone's.
            tables: the indexed tables to search; all of them without one.
            limit: how many passages at most.
            vector: of the text, where the caller has it already.
            model: that the vector is of. If the index was made anew with another one since, the text is embedded again.

        Raises:
            TenantMissingError: one of the tables has tenants, and none was given.
            KeyValueError: the tenant is no value of the column's type.
            CatalogError: a table is none of the catalog's, or not indexed.
            NoIndexError: there is no index yet.
            StoreUnavailableError: Qdrant does not answer.
        """
        searched = self._searched(tables, tenant)
        for is_last in (False, True):
            store, embedder = await self._index.current()
            words = asyncio.create_task(self._documents_with_words(text, searched, limit))
            try:
                if vector is None or model not in {None, embedder.name} or len(vector) != embedder.dimension:
                    near = (await embedder.encode([_sound(text)]))[0].tolist()
                else:
                    near = vector
                by_meaning = await self._nearest(store, near, searched, max(limit, _DEPTH))
                documents = await words
                by_words = await self._passages_of(store, near, searched, documents)
            except CollectionGoneError as error:
                await self._index.gone(store)
                if is_last:
                    raise StoreUnavailableError("The index was replaced twice while it was searched.") from error
            else:
                with_words = one_of_each(documents, by_words, text)
                return fused([by_meaning, with_words])[:limit] if with_words else by_meaning[:limit]
            finally:
                words.cancel()
        return []

    def _searched(self, names: Sequence[str], tenant: object | None) -> dict[Table, str | None]:
        """The tables to search, each with the text of its tenant's value; None where it has no tenants."""
        tables = [self._catalog.table(name) for name in dict.fromkeys(names)] if names else self._catalog.indexed
        if not tables:
            raise CatalogError("The catalog indexes no table: give one an index=Indexed(…).")
        return {table: _tenant(table, tenant) for table in tables}

    async def _nearest(
        self, store: PassageStore, vector: Sequence[float], searched: Mapping[Table, str | None], limit: int
    ) -> list[FoundPassage]:
        found: list[FoundPassage] = []
        async with answering_within(self._timeout_s):
            for owner in dict.fromkeys(map(_owner, searched.values())):
                tables = [table.qualified_name for table, tenant in searched.items() if _owner(tenant) == owner]
                found += await store.nearest(vector, tenant=owner, tables=tables, limit=limit)
        return sorted(found, key=lambda each: -each.similarity)[:limit]

    async def _documents_with_words(
        self, text: str, searched: Mapping[Table, str | None], limit: int
    ) -> list[DocumentName]:
        """The documents that contain the text's words, the best first."""
        if self._full_text is None:
            return []
        ranked: list[tuple[float, DocumentName]] = []
        for table, tenant in searched.items():
            if table.index is None or table.index.language is None:
                continue
            try:
                with self._breaker.guard():
                    rows = await self._full_text.find(table, text, tenant=tenant, limit=max(limit, _DEPTH))
            except PastStoreError:
                continue
            ranked += [(row.rank, DocumentName(table.qualified_name, ":".join(map(key_part, row.key)))) for row in rows]
        ranked.sort(key=lambda each: (-each[0], each[1]))
        return [name for _, name in ranked][: max(limit, _DEPTH)]

    async def _passages_of(
        self,
        store: PassageStore,
        vector: Sequence[float],
        searched: Mapping[Table, str | None],
        documents: Sequence[DocumentName],
    ) -> list[FoundPassage]:
        """The nearest passages of each of these documents, of those that are in the index already."""
        owners = {table.qualified_name: _owner(tenant) for table, tenant in searched.items()}
        found: list[FoundPassage] = []
        async with answering_within(self._timeout_s):
            for owner in dict.fromkeys(owners[document.table] for document in documents):
                missing = [document for document in documents if owners[document.table] == owner]
                while missing:
                    # A long document may take all places, and leave none to the others.
                    more = await store.nearest(
                        vector, tenant=owner, documents=missing, limit=_PASSAGES_PER_DOCUMENT * len(missing)
                    )
                    if not more:
                        break
                    found += more
                    seen = {passage.document for passage in more}
                    missing = [document for document in missing if document not in seen]
        return found


def _tenant(table: Table, tenant: object | None) -> str | None:
    if table.index is None:
        raise CatalogError(f"{table.qualified_name} is not indexed: give it an index=Indexed(…) in the catalog.")
    if table.index.tenant is None:
        return None
    if tenant is None:
        raise TenantMissingError(
            f"The documents of {table.qualified_name} belong to whom their column {table.index.tenant} says: give the "
            "tenant whose documents are searched. There is no search of all."
        )
    try:
        return value_text(table.column_types[table.index.tenant], tenant)
    except KeyValueError as error:
        raise KeyValueError(f"Tenant ({table.index.tenant}) of {table.qualified_name}: {error}") from error
    except CatalogError:  # a type without a single text: as it is
        return str(tenant)


def _owner(tenant: str | None) -> str:
    """As it is written in the index."""
    return EVERYONE if tenant is None else key_part(tenant)


def _sound(text: str) -> str:
    """The text without halves of characters, which no tokeniser takes."""
    return text.encode(errors="replace").decode()

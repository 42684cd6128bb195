"""What an answer is made from, written down while it is made.

    generations of the libraries ▸ search ▸ generations of the documents found ▸ search again ▸ … nothing new ▸ produce

A passage counts only if its document's generation was taken before it was read: so what is found first only says which
generations to take, and is read once more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from freshline.guards import Breaker, PastStoreError
from infra.logs import logger
from infra.qdrant.passages import DocumentName, FoundPassage
from infra.redis.answers import AnswerEntries, Generations
from schemas.catalog import Catalog, Indexed, family_tag
from schemas.errors import StoreUnavailableError

_MOST_ROUNDS: Final = 4
_log = logger("answers")


class Search(Protocol):
    """Finds passages."""

    async def search(
        self,
        text: str,
        *,
        tenant: object | None = None,
        tables: Sequence[str] = (),
        limit: int = 10,
        vector: Sequence[float] | None = None,
    ) -> list[FoundPassage]:
        """The passages of a tenant that fit a text best, the best first."""
        ...


class Sources:
    """Handed to whoever produces an answer: finds passages, and remembers what they depend on.

    Attributes:
        question: that is to be answered.
        tenant: whose documents may be used.
        is_partial: whether a search found nothing because the index is away. Such an answer is not cached.
    """

    def __init__(
        self,
        question: str,
        tenant: object | None,
        *,
        catalog: Catalog,
        search: Search,
        entries: AnswerEntries,
        breaker: Breaker,
        tag_ttl_ms: int,
        vector: Sequence[float] | None,
    ) -> None:
        self.question = question
        self.tenant = tenant
        self.is_partial = False
        self._catalog = catalog
        self._search = search
        self._entries = entries
        self._breaker = breaker
        self._tag_ttl_ms = tag_ttl_ms
        self._vector = vector
        self._epoch: str | None = None
        self._taken: dict[str, str] = {}
        self._is_lost = False
        self._required: dict[str, None] = {}
        self._libraries: dict[str, None] = {}
        self._documents: dict[DocumentName, None] = {}

    async def search(
        self, text: str | None = None, *, tables: Sequence[str] = (), limit: int = 5
    ) -> list[FoundPassage]:
        """The passages that fit the question, or another text, best; the best first.

        Without an index none are found, and ``is_partial`` says so.

        Args:
            text: what is sought; the question without it.
            tables: of these only; of all that are indexed without one.
            limit: how many at most.
        """
        searched = [self._catalog.table(name) for name in tables] or list(self._catalog.indexed)
        libraries = [_library(table.index, self.tenant) for table in searched if table.index is not None]
        await self._take([*libraries, *map(family_tag, {tag.partition(":")[0] for tag in libraries})])
        self._libraries |= dict.fromkeys(libraries)
        names = [table.qualified_name for table in searched]
        for _ in range(_MOST_ROUNDS):
            try:
                found = await self._search.search(
                    text or self.question,
                    tenant=self.tenant,
                    tables=names,
                    limit=limit,
                    vector=self._vector if text is None else None,
                )
            except StoreUnavailableError as error:
                _log.warning("searched_in_vain", error=str(error))
                self.is_partial = True
                return []
            documents = dict.fromkeys(passage.document for passage in found)
            new = [self._tag(document) for document in documents if self._tag(document) not in self._taken]
            if not new or self._is_lost:
                self._documents |= documents
                return found
            await self._take([*new, *map(family_tag, {tag.partition(":")[0] for tag in new})])
        self._is_lost = True  # others are found each time: nobody knows what it depends on
        return found

    async def depends_on(self, *tags: str) -> None:
        """The answer also depends on what these tags stand for (``user:42``). To be said before that is read.

        Raises:
            PatternError: the catalog declares no such tag, so the answer would never be invalidated.
        """
        checked = [self._catalog.check_tag(tag) for tag in tags]
        required = [*checked, *map(family_tag, {tag.partition(":")[0] for tag in checked})]
        await self._take(required)
        self._required |= dict.fromkeys(required)

    @property
    def documents(self) -> list[DocumentName]:
        """The documents whose passages were found."""
        return list(self._documents)

    def generations(self, used: Collection[DocumentName] | None = None) -> Generations | None:
        """What the answer depends on; None where that is not known, or is nothing that could ever change.

        Args:
            used: the documents that it was made from; without it all that were found, and all that there may be.
        """
        documents = self._documents if used is None else dict.fromkeys(used)
        tags = dict(self._required)
        for document in documents:
            tag = self._tag(document)
            tags |= {tag: None, family_tag(tag.partition(":")[0]): None}
        if used is None or len(documents) != 1:
            # A new document may change what is found where several are, or none, or one that says nothing of it.
            tags |= self._libraries
        tags |= {family_tag(tag.partition(":")[0]): None for tag in self._libraries}
        is_known = self._epoch is not None and self._documents.keys() >= documents.keys()
        if self._is_lost or self.is_partial or not is_known or not tags:
            return None
        return Generations(self._epoch or "", {tag: self._taken[tag] for tag in tags})

    async def _take(self, tags: Sequence[str]) -> None:
        """Take the generations of those of these tags that were not taken yet."""
        new = [tag for tag in dict.fromkeys(tags) if tag not in self._taken]
        if not new or self._is_lost:
            return
        try:
            with self._breaker.guard():
                taken = await self._entries.generations(new, tag_ttl_ms=self._tag_ttl_ms)
        except PastStoreError:
            taken = None
        if taken is None or (self._epoch is not None and taken.epoch != self._epoch):
            self._is_lost = True
            return
        self._epoch = taken.epoch
        self._taken |= taken.by_tag

    def _tag(self, document: DocumentName) -> str:
        index = self._catalog.by_qualified_name[document.table].index
        assert index is not None  # noqa: S101 - only such tables are searched
        return f"{index.tag_template.family}:{document.key}"


def _library(index: Indexed, tenant: object | None) -> str:
    """The tag of all documents of a tenant."""
    return index.library_template.fill([] if index.tenant is None else [tenant])

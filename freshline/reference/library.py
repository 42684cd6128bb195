"""The library: tenants whose documents are edited, and asked about, while what is answered is compared with the truth.

edits ──▶ Postgres … the index ──▶ searchable: how long after the commit?
questions ──▶ answers: same, similar or produced; was the number still true?
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from random import Random
from typing import Final

import msgspec

from freshline.answers.answers import Answers, Produce, Produced
from freshline.answers.sources import Sources
from freshline.reference.facts import Fact, facts
from freshline.reference.load import pause
from freshline.reference.statements import LIBRARY
from freshline.semantic.active import ActiveIndex
from freshline.trial.freshness import quantile
from freshline.trial.library import LibraryFigures
from infra.postgres.pool import Pool
from infra.qdrant.generations import NoIndexError
from infra.qdrant.passages import DocumentName
from schemas.errors import StoreUnavailableError

_TENANTS: Final = 3
_DOCUMENTS: Final = 8
_TABLE: Final = "public.documents"
_PASSAGES: Final = 10
_LOOK_EVERY_S: Final = 0.01
_REMEMBERED: Final = 1_000
_NUMBER: Final = re.compile(r"\d+")


class _Document(msgspec.Struct):
    """A document and what it said: the numbers so far, each with the time at which it was committed."""

    tenant: int
    row: int
    fact: Fact
    numbers: list[tuple[int, float]]

    @property
    def name(self) -> DocumentName:
        """Its name in the index."""
        return DocumentName(_TABLE, str(self.row))

    def outdated_for_s(self, number: int, now: float) -> float | None:
        """How long a number has not been true any more; 0 while it is, None where it never was."""
        for place in range(len(self.numbers) - 1, -1, -1):
            if self.numbers[place][0] == number:
                following = self.numbers[place + 1 :]
                return now - following[0][1] if following else 0.0
        return None


class Library:
    """One run. Takes everything ready made and opened."""

    def __init__(
        self, pool: Pool, answers: Answers, index: ActiveIndex, *, edits_per_s: float, questions_per_s: float
    ) -> None:
        self._pool = pool
        self._answers = answers
        self._index = index
        self._edits_per_s = edits_per_s
        self._questions_per_s = questions_per_s
        self._random = Random()  # noqa: S311 - a load keeps no secrets
        self._documents: list[_Document] = []
        self._waiting: dict[DocumentName, tuple[int, float]] = {}
        self._searchable: deque[float] = deque(maxlen=_REMEMBERED)
        self._counts: Counter[str] = Counter()
        self._edits = 0
        self._longest_s = 0.0
        self._wrong = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Edit and ask no more; ``run`` returns then."""
        self._stopping.set()

    async def run(self) -> None:
        """Edit and ask until stopped."""
        await self._settle_in()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            working = [group.create_task(self._edit()), group.create_task(self._ask())]
            await asyncio.gather(*working)
            watching.cancel()

    async def followed(self) -> None:
        """Wait until every edit is searchable."""
        while self._waiting:
            await self._look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def examine(self) -> int:
        """Ask everything once more, now that nothing is edited; how many answers are not true."""
        return sum([not await self._is_true(document) for document in self._documents])

    def figures(self) -> LibraryFigures:
        """The present moment."""
        return LibraryFigures(
            edits=self._edits,
            searchable_p50_s=quantile(self._searchable, 0.50),
            searchable_p99_s=quantile(self._searchable, 0.99),
            answers=dict(self._counts),
            longest_staleness_s=self._longest_s,
            wrong=self._wrong,
        )

    async def _settle_in(self) -> None:
        async with self._pool.acquire() as connection:
            for _ in range(_TENANTS):
                email = f"{self._random.getrandbits(48):x}@example.org"
                tenant = await connection.fetchval(LIBRARY["insert_owner"], email)
                for fact in facts(self._random, _DOCUMENTS):
                    number = self._random.randint(fact.lowest, fact.highest)
                    row = await connection.fetchval(LIBRARY["insert"], tenant, fact.title, fact.text(number))
                    self._documents.append(_Document(tenant, row, fact, [(number, time.monotonic())]))
        await self._until_there()

    async def _until_there(self) -> None:
        """Wait until the index has all of them: what is asked before finds nothing."""
        names = [document.name for document in self._documents]
        while not self._stopping.is_set():
            try:
                store, _ = await self._index.current()
                if len(await store.heads(names)) == len(names):
                    return
            except (NoIndexError, StoreUnavailableError):
                pass  # in a moment
            await pause(0.1, self._stopping)

    # Editing.

    async def _edit(self) -> None:
        while not self._stopping.is_set():
            document = self._random.choice(self._documents)
            number = self._random.randint(document.fact.lowest, document.fact.highest)
            async with self._pool.acquire() as connection, connection.transaction():
                position = await connection.fetchval(LIBRARY["position"])
                await connection.execute(LIBRARY["rewrite"], document.row, document.fact.text(number))
            now = time.monotonic()
            document.numbers.append((number, now))
            # Another edit before it was searchable takes its place: it waited for quiet, not for its turn.
            self._waiting[document.name] = (position, now)
            self._edits += 1
            await pause(1 / self._edits_per_s, self._stopping)

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        """See which edits are searchable by now."""
        if not self._waiting:
            return
        waiting = dict(self._waiting)
        try:
            store, _ = await self._index.current()
            heads = await store.heads(list(waiting))
        except StoreUnavailableError:
            return
        now = time.monotonic()
        for name, head in heads.items():
            position, committed_at = waiting[name]
            if head.lsn >= position and self._waiting.get(name) == waiting[name]:
                del self._waiting[name]
                self._searchable.append(now - committed_at)

    # Asking.

    async def _ask(self) -> None:
        while not self._stopping.is_set():
            await self._is_true(self._random.choice(self._documents))
            await pause(1 / self._questions_per_s, self._stopping)

    async def _is_true(self, document: _Document) -> bool:
        """Ask about a document; whether the answer is true now."""
        asked_at = time.monotonic()
        question = self._random.choice(document.fact.questions)
        answer = await self._answers.answer(question, document.tenant, _reader_of(document.fact))
        self._counts[answer.how] += 1
        found = _NUMBER.search(str(answer.value))
        outdated_s = None if found is None else document.outdated_for_s(int(found[0]), asked_at)
        if outdated_s is None or answer.sources != (document.name,):
            self._wrong += 1
            return False
        if answer.how != "produced":
            self._longest_s = max(self._longest_s, outdated_s)
        return outdated_s <= 0.0


def _reader_of(fact: Fact) -> Produce:
    """A producer that finds the passage with the answer among those that it is given, as a language model would."""
    before, _, after = fact.statement.partition("{}")

    async def produce(sources: Sources) -> Produced:
        for passage in await sources.search(limit=_PASSAGES):
            if before in passage.text and after in passage.text:
                return Produced(passage.text, used=[passage.document])
        return Produced("nothing found")

    return produce

"""Which generation is searched while the alias moves and models load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from freshline.semantic import active
from freshline.semantic.active import ActiveIndex
from infra.embedding.models import ModelUnavailableError
from infra.qdrant.generations import Generation, ModelMismatchError, NoIndexError
from infra.settings import EmbeddingSettings
from schemas.errors import StoreUnavailableError
from tests.integration.worker_ground import eventually

ONE, SAME, OTHER = (
    Generation("one", "small", 3, "s/1"),
    Generation("same", "small", 3, "s/1"),
    Generation("other", "large", 5, "s/1"),
)
DIMENSIONS = {"small": 3, "large": 5}


class FakeGenerations:
    """An alias that is moved by hand."""

    def __init__(self) -> None:
        self.found = [ONE, SAME, OTHER]
        self.name: str | None = None
        self.delay_s = 0.0
        self.is_away = False

    async def active(self) -> str | None:
        """Where it points."""
        await asyncio.sleep(self.delay_s)
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.name

    async def all(self) -> list[Generation]:
        """All of them."""
        return self.found


class FakeEmbedder:
    """A model that loads when it may."""

    may_load = asyncio.Event()
    missing: frozenset[str] = frozenset()
    made: list[FakeEmbedder] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, name: str, _settings: object) -> None:
        self.name = name
        self.dimension = DIMENSIONS[name]
        self.is_open = False
        self.made.append(self)

    async def __aenter__(self) -> Self:
        await self.may_load.wait()
        if self.name in self.missing:
            raise ModelUnavailableError(f"no {self.name}")
        self.is_open = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.is_open = False


@pytest.fixture
def generations(monkeypatch: pytest.MonkeyPatch) -> FakeGenerations:
    monkeypatch.setattr(active, "_EVERY_S", 0.01)
    monkeypatch.setattr(active, "_AFTER_A_FAILURE_S", 0.01)
    monkeypatch.setattr(active, "Embedder", FakeEmbedder)
    monkeypatch.setattr(FakeEmbedder, "may_load", asyncio.Event())
    monkeypatch.setattr(FakeEmbedder, "missing", frozenset())
    FakeEmbedder.may_load.set()
    FakeEmbedder.made.clear()
    return FakeGenerations()


@asynccontextmanager
async def opened(generations: Any, *, timeout_s: float = 1) -> AsyncIterator[ActiveIndex]:
    client: Any = None
    async with ActiveIndex(client, generations, EmbeddingSettings(), timeout_s=timeout_s) as index:
        yield index


async def moves_to(index: ActiveIndex, generation: Generation) -> None:
    async def is_there() -> bool:
        return (await index.current())[0].generation == generation

    await eventually(is_there, f"{generation.name} is the current one", timeout_s=5)


async def test_before_there_is_an_index_whoever_asks_is_told_what_makes_one(generations: FakeGenerations) -> None:
    async with opened(generations) as index:
        with pytest.raises(NoIndexError, match="freshline run semantic-refresh"):
            await index.current()
        generations.name = "one"
        store, embedder = await index.current()
        assert (store.generation, embedder.name) == (ONE, "small")


async def test_the_first_search_waits_for_the_model_and_no_other_does(generations: FakeGenerations) -> None:
    FakeEmbedder.may_load.clear()
    generations.name = "one"
    async with opened(generations) as index:
        waiting = [asyncio.ensure_future(index.current()) for _ in range(3)]
        _, pending = await asyncio.wait(waiting, timeout=0.05)
        assert len(pending) == 3
        FakeEmbedder.may_load.set()
        assert len({id(store) for store, _ in await asyncio.gather(*waiting)}) == 1
        assert len(FakeEmbedder.made) == 1


async def test_while_another_model_loads_the_generation_before_is_searched(generations: FakeGenerations) -> None:
    generations.name = "one"
    async with opened(generations) as index:
        await moves_to(index, ONE)
        FakeEmbedder.may_load.clear()
        generations.name = "other"

        async def is_loading() -> bool:
            return len(FakeEmbedder.made) == 2

        await eventually(is_loading, "the other model is being loaded")
        async with asyncio.timeout(5):
            store, embedder = await index.current()
        assert (store.generation, embedder.name) == (ONE, "small")
        FakeEmbedder.may_load.set()
        await moves_to(index, OTHER)
        # A search may have begun with it.
        assert FakeEmbedder.made[0].is_open
    assert not any(each.is_open for each in FakeEmbedder.made)


async def test_a_generation_of_the_same_model_loads_none(generations: FakeGenerations) -> None:
    generations.name = "one"
    async with opened(generations) as index:
        await moves_to(index, ONE)
        generations.name = "same"
        await moves_to(index, SAME)
        assert len(FakeEmbedder.made) == 1
        assert FakeEmbedder.made[0].is_open


async def test_a_former_model_is_let_go_of_in_the_end(
    generations: FakeGenerations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "_FORMER_FOR_S", 0.05)
    generations.name = "one"
    async with opened(generations) as index:
        await moves_to(index, ONE)
        generations.name = "other"
        await moves_to(index, OTHER)

        async def is_closed() -> bool:
            return not FakeEmbedder.made[0].is_open

        await eventually(is_closed, "the former model is closed", timeout_s=5)
        assert FakeEmbedder.made[1].is_open


async def test_a_model_that_can_not_be_had_leaves_the_generation_before(
    generations: FakeGenerations, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations.name = "one"
    async with opened(generations) as index:
        await moves_to(index, ONE)
        monkeypatch.setattr(FakeEmbedder, "missing", frozenset({"large"}))
        generations.name = "other"

        async def is_tried_again() -> bool:
            return len(FakeEmbedder.made) > 3

        await eventually(is_tried_again, "it is tried more than once")
        assert (await index.current())[0].generation == ONE
        monkeypatch.setattr(FakeEmbedder, "missing", frozenset())
        await moves_to(index, OTHER)


async def test_a_model_of_another_dimension_is_refused(
    generations: FakeGenerations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DIMENSIONS, "small", 4)
    generations.name = "one"
    async with opened(generations) as index:
        with pytest.raises(ModelMismatchError, match="4 here"):
            await index.current()
    assert not any(each.is_open for each in FakeEmbedder.made)


async def test_what_is_known_is_used_while_qdrant_is_away(generations: FakeGenerations) -> None:
    generations.name = "one"
    async with opened(generations) as index:
        await moves_to(index, ONE)
        generations.is_away = True
        await asyncio.sleep(0)
        assert (await index.current())[0].generation == ONE


async def test_a_qdrant_that_is_away_from_the_beginning_is_an_error_in_bounded_time(
    generations: FakeGenerations,
) -> None:
    generations.delay_s = 10
    async with opened(generations, timeout_s=0.02) as index, asyncio.timeout(5):
        with pytest.raises(StoreUnavailableError, match="within"):
            await index.current()


async def test_a_generation_that_is_gone_is_not_given_out_again(generations: FakeGenerations) -> None:
    generations.name = "one"
    async with opened(generations) as index:
        store, _ = await index.current()
        generations.name, generations.found = "same", [SAME]
        await index.gone(store)
        assert (await index.current())[0].generation == SAME
        # Whoever comes late with the same news changes nothing.
        await index.gone(store)
        assert (await index.current())[0].generation == SAME

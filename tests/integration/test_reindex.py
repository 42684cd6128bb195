"""Making the index anew while documents are edited and searched: nobody finds less, or older, than before."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

import pytest

from consumers.index_keeper import IndexKeeper
from consumers.refresher import Wanted
from freshline.semantic import refreshing
from freshline.semantic.opening import open_search
from freshline.semantic.reindexing import RebuildError, RebuildProgress, Reindexing, open_reindexing
from freshline.semantic.report import IndexReport
from freshline.semantic.search import Searcher
from freshline.semantic.verification import open_index_verification
from infra.qdrant.generations import Generation
from infra.redis.index_state import IndexState, Rebuild
from infra.settings import DEFAULT_MODEL, ReaderSettings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.integration.other_model import DIMENSION, make_other_model
from tests.integration.semantic_ground import REFRESH, SemanticGround, open_semantic_ground
from tests.integration.worker_ground import SIZES, eventually

Mend: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

DOCUMENTS = 150
RETIRED_FOR_S = 8.0
PAGE = 64  # 256 in earnest, which takes longer to embed


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of another model."""
    return make_other_model(tmp_path_factory.mktemp("models") / "other")


@pytest.fixture
async def ground(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SemanticGround]:
    # Enough for readers to hear of the switch and to load a model; a minute in earnest.
    monkeypatch.setattr(refreshing, "IndexKeeper", partial(IndexKeeper, retired_for_s=RETIRED_FOR_S))
    monkeypatch.setattr("consumers.index_keeper.DOCUMENTS_PER_PAGE", PAGE)
    settings = make_settings(topics=SIZES, reader=ReaderSettings(qdrant_timeout_s=10).model_dump())
    # The role of the readers is made by `freshline db prepare`, which has not been here.
    postgres = settings.postgres.model_copy(update={"reader_password": None})
    async with open_semantic_ground(settings.model_copy(update={"postgres": postgres})) as opened:
        yield opened


@pytest.fixture
async def reindexing(ground: SemanticGround) -> AsyncIterator[Reindexing]:
    async with open_reindexing(ground.ground.settings) as opened:
        yield opened


def said(number: int, edit: int = 0) -> str:
    return f"Report {number} about rivers and their valleys, in its edition {edit}."


async def fill(ground: SemanticGround, count: int = DOCUMENTS) -> None:
    """Documents that are there before any worker is."""
    await ground.ground.connection.execute(
        "INSERT INTO documents (id, uploaded_by, title, content) "
        "SELECT n, 1, '', 'Report ' || n || ' about rivers and their valleys, in its edition 0.' "
        "FROM generate_series(1, $1) AS n",
        count,
    )


async def all_found(ground: SemanticGround, count: int = DOCUMENTS) -> None:
    """Wait until as many documents can be found."""

    async def are_found() -> bool:
        found = await ground.search("rivers", limit=10 * DOCUMENTS)
        return len({each.document for each in found}) >= count

    await eventually(are_found, f"{count} documents are found", timeout_s=60)


async def verified(ground: SemanticGround, **options: Any) -> IndexReport:
    async with open_index_verification(ground.ground.settings, VOICEASSIST, **options) as verification:
        return await verification.run()


async def generations(ground: SemanticGround) -> list[str]:
    return [each.name for each in await ground.generations.all()]


async def generation(ground: SemanticGround) -> Generation:
    """The one that is searched."""
    return (await ground.store()).generation


class Watch:
    """Searches all the time, and remembers whatever was found less, or older, than before."""

    def __init__(self, searcher: Searcher) -> None:
        self.searches = 0
        self.used: set[str] = set()
        self.complaints: list[str] = []
        self._searcher = searcher
        self._seen: dict[str, int] = {}

    async def run(self) -> None:
        """Search until cancelled."""
        while True:
            found = await self._searcher.search("a report about rivers", tenant=1, limit=10 * DOCUMENTS)
            self.searches += 1
            self.used.add((await self._searcher._index.current())[0].generation.name)
            versions: dict[str, int] = {}
            for each in found:
                versions[each.document.key] = max(each.version, versions.get(each.document.key, 0))
            self.complaints += [f"{key} is not found" for key in self._seen.keys() - versions.keys()]
            self.complaints += [
                f"{key} is older: {versions[key]} after {seen}"
                for key, seen in self._seen.items()
                if versions.get(key, seen) < seen
            ]
            self._seen |= versions
            await asyncio.sleep(0.01)


async def edit(ground: SemanticGround, edits: list[int]) -> None:
    """Edit documents, and write new ones, until cancelled."""
    chance = random.Random(1)
    number = DOCUMENTS
    while True:
        if chance.random() < 0.2:
            number += 1
            chosen = number
        else:
            chosen = chance.randint(1, number)
        await ground.change(chosen, said(chosen, len(edits) + 1))
        edits.append(chosen)
        await asyncio.sleep(0.04)


@asynccontextmanager
async def going_on(*work: Awaitable[None]) -> AsyncIterator[None]:
    """Work beside a block, cancelled at its end; a failure of it fails the test."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


class Gate:
    """Holds the walk of a rebuild up before it writes each page, and remembers which documents it wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compared: list[str] = []
        self.waiting = 0
        self._open = asyncio.Semaphore(0)
        prepare = IndexKeeper._prepare

        async def gated(keeper: IndexKeeper, task: Any, documents: Sequence[Wanted]) -> Mend:
            mend = await prepare(keeper, task, documents)

            async def mend_later() -> None:
                self.waiting += 1
                try:
                    await self._open.acquire()
                finally:
                    self.waiting -= 1
                self.compared += [document.name.key for document in documents]
                await mend()

            return mend if task.rebuild is None else mend_later

        monkeypatch.setattr(IndexKeeper, "_prepare", gated)

    def let(self, pages: int = 1) -> None:
        """Let so many pages pass."""
        for _ in range(pages):
            self._open.release()

    async def is_reached(self, compared: int = 0) -> None:
        """Wait until the walk wants to go on, after so many documents."""

        async def waits() -> bool:
            return self.waiting > 0 and len(self.compared) == compared

        await eventually(waits, "the walk is at the gate")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def state(ground: SemanticGround) -> IndexState:
    return IndexState(ground.ground.redis, ground.ground.settings.namespace)


async def test_while_another_model_takes_over_every_search_finds_all_that_was_found_before_and_nothing_older(
    ground: SemanticGround, reindexing: Reindexing, other_model: str
) -> None:
    await fill(ground)
    edits: list[int] = []
    progress: list[RebuildProgress] = []
    async with ground.ground.worker(REFRESH), open_search(ground.ground.settings, VOICEASSIST) as searcher:
        await all_found(ground)
        old = await generation(ground)
        watch = Watch(searcher)
        async with going_on(watch.run(), edit(ground, edits)):

            async def are_under_way() -> bool:
                return watch.searches > 10 and len(edits) > 10

            await eventually(are_under_way, "searches and edits are under way")
            rebuild = await reindexing.ask(other_model)
            await reindexing.wait(rebuild, progress.append)
            edits_at_switch = len(edits)
            assert await ground.generations.active() == rebuild.generation

            async def is_dropped() -> bool:
                return old.name not in await generations(ground) and watch.used >= {old.name, rebuild.generation}

            await eventually(is_dropped, "the old generation is dropped, and the new one searched", timeout_s=60)
            searches = watch.searches

            async def goes_on() -> bool:
                return watch.searches > searches + 20 and len(edits) > edits_at_switch + 5

            await eventually(goes_on, "searches and edits go on")
        await ground.all_followed()
        new = await generation(ground)
        assert (new.model, new.dimension) == (other_model, DIMENSION)
        report = await verified(ground, vectors=True)
    assert watch.complaints == []
    assert report.is_good, report
    assert report.documents > DOCUMENTS
    assert len(watch.used) == 2
    assert watch.searches > 30
    assert max(each.compared for each in progress) > 0
    assert await reindexing._state.rebuild() is None


async def test_the_same_model_makes_all_vectors_anew_and_drops_no_tags(
    ground: SemanticGround, reindexing: Reindexing
) -> None:
    await fill(ground, 10)
    async with ground.ground.worker(REFRESH):
        await all_found(ground, 10)
        old = await generation(ground)
        await ground.ground.fill_tag("document:1")
        await ground.ground.fill_tag("library:1")
        rebuild = await reindexing.ask()
        await reindexing.wait(rebuild)
        new = await generation(ground)
        assert new.name == rebuild.generation != old.name
        assert (new.model, new.identity) == (DEFAULT_MODEL, old.identity)
        assert (await verified(ground, vectors=True)).is_good
        assert await ground.ground.has_tag("document:1")
        assert await ground.ground.has_tag("library:1")


async def test_a_paused_rebuild_waits_where_it_is_and_goes_on_there(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate, state: IndexState, other_model: str
) -> None:
    await fill(ground)
    async with ground.ground.worker(REFRESH):
        await all_found(ground)
        old = await generation(ground)
        rebuild = await reindexing.ask(other_model)
        await gate.is_reached()
        await reindexing.pause()
        gate.let()
        name = f"{rebuild.generation}/public.documents"

        async def is_noted() -> bool:
            walk = (await state.walks()).get(name)
            return walk is not None and walk.compared == PAGE

        await eventually(is_noted, "the page under way is done and noted")
        # While it waits the keeper goes on with its turns: it still mends what is searched.
        await ground.write(1, "A text of which no event tells.")
        await ground.ask(None, None)

        async def is_mended() -> bool:
            return await ground.texts(1) == ["A text of which no event tells."]

        await eventually(is_mended, "what is searched is mended")
        assert gate.waiting == 0
        assert len(gate.compared) == PAGE
        assert await ground.generations.active() == old.name
        gate.let(100)
        await reindexing.resume()
        await reindexing.wait(rebuild)
        assert (await verified(ground)).is_good


async def test_a_rebuild_that_goes_on_after_a_pause_compares_nothing_twice(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate
) -> None:
    await fill(ground)
    async with ground.ground.worker(REFRESH):
        await all_found(ground)
        rebuild = await reindexing.ask()
        await gate.is_reached()
        await reindexing.pause()
        gate.let(100)

        async def is_idle() -> bool:
            return len(gate.compared) == PAGE

        await eventually(is_idle, "the page under way is done")
        await reindexing.resume()
        await reindexing.wait(rebuild)
        assert sorted(gate.compared, key=int) == [str(number) for number in range(1, DOCUMENTS + 1)]


async def test_nobody_else_takes_the_turn_while_a_page_takes_long(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate, state: IndexState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("infra.redis.index_state", "consumers.index_keeper"):
        monkeypatch.setattr(f"{module}.LEASE_S", 6.0)
    await fill(ground)
    async with ground.ground.worker(REFRESH):
        await all_found(ground)
        rebuild = await reindexing.ask()
        await gate.is_reached()
        reached_at = time.monotonic()

        async def a_lease_has_passed() -> bool:
            assert not await state.hold()
            return time.monotonic() - reached_at > 9

        await eventually(a_lease_has_passed, "more than a lease has passed")
        gate.let(100)
        await reindexing.wait(rebuild)


async def test_a_rebuild_that_is_called_off_is_never_searched_and_leaves_nothing(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate, other_model: str
) -> None:
    await fill(ground)
    async with ground.ground.worker(REFRESH):
        await all_found(ground)
        old = await generation(ground)
        rebuild = await reindexing.ask(other_model)
        await gate.is_reached()
        await reindexing.cancel()
        with pytest.raises(RebuildError, match="called off"):
            await reindexing.wait(rebuild)
        gate.let(100)

        async def is_gone() -> bool:
            return await generations(ground) == [old.name]

        await eventually(is_gone, "what was made of it is dropped", timeout_s=60)
        assert await ground.generations.active() == old.name
        assert len(gate.compared) == PAGE
        with pytest.raises(RebuildError, match="No rebuild"):
            await reindexing.cancel()
        await ground.change(1, "A text about deserts.")
        await ground.all_followed()
        assert (await verified(ground)).is_good


async def test_what_a_killed_worker_left_half_done_another_goes_on_with_where_it_was(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate, other_model: str
) -> None:
    await fill(ground)
    with suppress(asyncio.CancelledError):
        async with ground.ground.worker(REFRESH) as worker:
            await all_found(ground)
            rebuild = await reindexing.ask(other_model)
            await gate.is_reached()
            gate.let()
            await gate.is_reached(PAGE)
            worker.task.cancel()
    assert len(gate.compared) == PAGE
    gate.let(100)
    async with ground.ground.worker(REFRESH):
        await reindexing.wait(rebuild)
        assert sorted(gate.compared, key=int) == [str(number) for number in range(1, DOCUMENTS + 1)]
        assert (await verified(ground)).is_good


async def test_two_workers_make_one_index_between_them(
    ground: SemanticGround, reindexing: Reindexing, gate: Gate, other_model: str
) -> None:
    await fill(ground)
    gate.let(100)
    edits: list[int] = []
    async with ground.ground.worker(REFRESH) as one, ground.ground.worker(REFRESH) as other:
        await all_found(ground)
        async with going_on(edit(ground, edits)):
            rebuild = await reindexing.ask(other_model)
            await reindexing.wait(rebuild)
        await ground.all_followed()

        async def is_one_left() -> bool:
            return await generations(ground) == [rebuild.generation]

        await eventually(is_one_left, "the old generation is dropped under both of them", timeout_s=60)
        before = len(edits)
        async with going_on(edit(ground, edits)):

            async def goes_on() -> bool:
                return len(edits) > before + 10

            await eventually(goes_on, "edits go on after it is gone")
        await ground.all_followed()
        assert (await verified(ground)).is_good
        assert not one.task.done()
        assert not other.task.done()
    assert len(gate.compared) == len(set(gate.compared)) >= DOCUMENTS


async def test_a_model_that_workers_can_not_load_ends_the_rebuild_and_nothing_else(
    ground: SemanticGround, reindexing: Reindexing, state: IndexState
) -> None:
    await fill(ground, 10)
    async with ground.ground.worker(REFRESH) as worker:
        await all_found(ground, 10)
        old = await generation(ground)
        unheard_of = Rebuild(f"{ground.generations.alias}.other", "/no/such/model", 0)
        assert await state.change_rebuild(None, unheard_of)
        with pytest.raises(RebuildError, match="/no/such/model"):
            await reindexing.wait(unheard_of)
        assert not worker.task.done()
        await ground.change(1, "A text about deserts.")
        await ground.all_followed()
        assert await ground.generations.active() == old.name
        # It is in nobody's way.
        rebuild = await reindexing.ask()
        await reindexing.wait(rebuild)
        assert (await verified(ground)).is_good


async def test_a_worker_without_the_model_of_what_is_being_built_lets_go_of_that_and_starts(
    ground: SemanticGround, reindexing: Reindexing, state: IndexState
) -> None:
    await fill(ground, 3)
    async with ground.ground.worker(REFRESH):
        await all_found(ground, 3)
    searched = await generation(ground)
    built = Generation(f"{ground.generations.alias}.other", "/no/such/model", 5, searched.identity)
    await ground.generations.create(built)
    rebuild = Rebuild(built.name, built.model, 0)
    assert await state.change_rebuild(None, rebuild)
    async with ground.ground.worker(REFRESH):
        assert await generations(ground) == [searched.name]
        with pytest.raises(RebuildError, match="/no/such/model"):
            await reindexing.wait(rebuild)
        await ground.change(1, "A text about deserts.")
        await ground.all_followed()
        assert (await verified(ground)).is_good


async def test_one_rebuild_at_a_time(ground: SemanticGround, reindexing: Reindexing) -> None:
    await fill(ground, 3)
    async with ground.ground.worker(REFRESH):
        await all_found(ground, 3)
        await reindexing.ask()
        with pytest.raises(RebuildError, match="under way already"):
            await reindexing.ask()


async def test_an_index_that_was_lost_is_made_anew_and_filled(ground: SemanticGround) -> None:
    await fill(ground)
    async with ground.ground.worker(REFRESH):
        await all_found(ground)
        await ground.generations.drop(await generation(ground))
        for _ in range(10):
            await ground.change(1, "A text about rivers and deserts.")
        await ground.all_followed()

        async def is_there() -> bool:
            return await ground.generations.active() is not None and bool(await generations(ground))

        await eventually(is_there, "there is an index again")
        await all_found(ground)
        assert (await verified(ground, live=True)).is_good


async def test_a_comparison_that_is_asked_for_while_one_is_under_way_begins_anew(
    ground: SemanticGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(ground)
    reached, go_on = asyncio.Event(), asyncio.Event()
    prepare = IndexKeeper._prepare

    async def held_up(keeper: IndexKeeper, task: Any, documents: Sequence[Wanted]) -> Mend:
        mend = await prepare(keeper, task, documents)

        async def mend_later() -> None:
            reached.set()
            await go_on.wait()
            await mend()

        return mend_later if documents[0].key == (str(PAGE + 1),) else mend

    monkeypatch.setattr(IndexKeeper, "_prepare", held_up)
    async with ground.ground.worker(REFRESH):
        await asyncio.wait_for(reached.wait(), 60)
        # It is past this document, of which no event tells.
        await ground.write(1, "A text about deserts.")
        await ground.ask(None, None)
        await ground.all_followed()
        go_on.set()

        async def is_mended() -> bool:
            return await ground.texts(1) == ["A text about deserts."]

        await eventually(is_mended, "the document was compared again")

"""The semantic refresh on real stores: what can be found is what the documents say, and costs no more than it must."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from freshline.semantic.opening import open_search
from freshline.semantic.verification import open_index_verification
from infra.qdrant.client import FolderInUseError
from infra.qdrant.passages import DocumentName, NewPassage, Version
from infra.settings import Settings
from schemas.voiceassist import VOICEASSIST
from tests.conftest import MakeSettings
from tests.integration.semantic_ground import DOCUMENTS, REFRESH, TABLE, SemanticGround, open_semantic_ground
from tests.integration.worker_ground import SIZES, RunningWorker, eventually, open_ground

LONG = "\n\n".join(
    f"Paragraph {n} tells of matter {n}: " + "some words of it, " * 12 + "and an end." for n in range(50)
)


@pytest.fixture
async def ground(make_settings: MakeSettings) -> AsyncIterator[SemanticGround]:
    async with open_semantic_ground(make_settings(topics=SIZES)) as opened:
        yield opened


def embedded(worker: RunningWorker) -> float:
    return worker.count("freshline_index_passages_total", vector="embedded")


async def test_an_edited_document_can_be_found_by_what_it_says_now_and_by_its_owner_alone(
    ground: SemanticGround,
) -> None:
    async with ground.ground.worker(REFRESH):
        await ground.change(1, "The cat sleeps on the warm roof of the barn.", title="Animals")
        await ground.change(2, "Invoices are to be paid within thirty days.", owner=2)
        await ground.all_followed()
        best = (await ground.search("a cat upon a roof"))[0]
        assert (best.document, best.column, best.tenant) == (DocumentName(TABLE, "1"), "content", "1")
        assert {found.document.key for found in await ground.search("a cat upon a roof", tenant=2)} == {"2"}
        place = await ground.change(1, "The dog digs in the garden.", title="Animals")
        await ground.all_followed()
        assert await ground.texts(1) == ["Animals", "The dog digs in the garden."]
        assert (await ground.search("a dog in a garden"))[0].version == place.lsn


async def test_a_deleted_a_truncated_and_an_emptied_document_can_no_longer_be_found(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH):
        for number in range(6):
            await ground.change(number, f"Text number {number} about rivers.")
        await ground.all_followed()
        assert len(await ground.search("rivers", limit=10)) == 6
        await ground.ask(0, await ground.delete(0))
        await ground.change(1, "   ")
        await ground.all_followed()
        assert {found.document.key for found in await ground.search("rivers", limit=10)} == {"2", "3", "4", "5"}
        place = await ground.truncate()
        await ground.change(7, "A new text about rivers.")
        await ground.ask(None, place, partition=1)
        await ground.all_followed()
        assert {found.document.key for found in await ground.search("rivers", limit=10)} == {"7"}
        assert (await ground.stored(2)).passages == []


async def test_a_moved_document_is_found_by_its_new_owner_alone_and_embedded_by_nobody(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH) as worker:
        await ground.change(1, "A text about rivers.", owner=1)
        await ground.all_followed()
        await ground.walked()
        before = embedded(worker)
        await ground.change(1, "A text about rivers.", owner=2)
        await ground.all_followed()
        assert await ground.search("rivers", tenant=1) == []
        assert [found.document.key for found in await ground.search("rivers", tenant=2)] == ["1"]
        assert embedded(worker) == before


async def test_only_what_changed_is_embedded(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH) as worker:
        await ground.change(1, LONG)
        await ground.all_followed()
        await ground.walked()
        assert embedded(worker) >= 50
        before = embedded(worker)
        place = await ground.change(1, LONG)
        await ground.all_followed()
        assert embedded(worker) == before
        assert (await ground.stored(1)).newest_lsn == place.lsn
        await ground.change(1, LONG.replace("Paragraph 20 tells", "Paragraph 20 says"))
        await ground.all_followed()
        assert 1 <= embedded(worker) - before <= 2
        before = embedded(worker)
        await ground.change(1, "A new beginning, put in front of all that was there before it.\n\n" + LONG)
        await ground.all_followed()
        assert 1 <= embedded(worker) - before <= 2
        assert len(await ground.texts(1)) == len((await ground.stored(1)).passages)


async def test_a_late_writer_changes_nothing_and_what_it_leaves_is_not_found(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH):
        old = await ground.write(1, "old")
        new = await ground.change(1, "A short new text about rivers.")
        await ground.all_followed()
        store = await ground.store()
        vector = (await ground.embedder.look("rivers")).vector.tolist()
        late = Version(
            DocumentName(TABLE, "1"),
            old.lsn,
            "1",
            [NewPassage("content", f"Old text {n} about rivers.", f"d{n}", vector) for n in range(5)],
        )
        await store.put_passages([late])
        await store.put_heads([late])
        assert [found.text for found in await ground.search("rivers")] == ["A short new text about rivers."]
        assert (await ground.stored(1)).head == (await store.heads([late.document]))[late.document]
        assert (await ground.stored(1)).newest_lsn == new.lsn
        await store.sweep([late])
        assert len((await ground.stored(1)).passages) == 1


async def test_a_document_that_was_there_before_the_index_is_found_without_an_event(ground: SemanticGround) -> None:
    await ground.write(1, "A text about rivers.")
    async with ground.ground.worker(REFRESH):

        async def is_found() -> bool:
            return bool(await ground.search("rivers"))

        await eventually(is_found, "the walk through the table found it")


async def test_changes_that_were_lost_are_found_by_comparing(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH):
        await ground.change(1, "A text about rivers.")
        await ground.change(2, "A text about hills.")
        await ground.all_followed()
        await ground.ground.fill_tag("document:1")
        await ground.write(1, "A text about deserts, of the same length as none before.")
        await ground.delete(2)
        await ground.write(3, "A text about lakes.")
        await ground.ask(None, None)

        async def is_mended() -> bool:
            return (await ground.texts(1), await ground.texts(2), await ground.texts(3)) == (
                ["A text about deserts, of the same length as none before."],
                [],
                ["A text about lakes."],
            )

        await eventually(is_mended, "all three are as the database says")

        async def is_dropped() -> bool:
            return not await ground.ground.has_tag("document:1")

        # Only then may answers be made of it again.
        await eventually(is_dropped, "what was made of the old text is dropped")


async def test_the_tags_go_once_more_when_the_passages_have_followed(ground: SemanticGround) -> None:
    async with ground.ground.worker(REFRESH):
        await ground.ground.fill_tag("document:1")
        await ground.ground.fill_tag("library:1")
        await ground.ground.fill_tag("user:1")
        await ground.change(1, "A text about rivers.")
        await ground.all_followed()
        assert not await ground.ground.has_tag("document:1")
        assert not await ground.ground.has_tag("library:1")
        assert await ground.ground.has_tag("user:1")


# The client's constructor leaves the file of its lock open where it fails.
@pytest.mark.filterwarnings("ignore:.*lock:pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file")
async def test_an_index_in_a_folder_keeps_the_same_promises(make_settings: MakeSettings, tmp_path: Path) -> None:
    made = make_settings(topics=SIZES, qdrant={"folder": tmp_path / "qdrant"})
    # The role of the readers is made by `freshline db prepare`, which has not been here.
    postgres = made.postgres.model_copy(update={"reader_password": None})
    settings: Settings = made.model_copy(update={"postgres": postgres})
    nobody: Any = None  # only one can have the folder open, and that is the worker
    async with open_ground(settings) as opened:
        await opened.connection.execute(DOCUMENTS)
        ground = SemanticGround(opened, nobody, nobody)
        await ground.write(1, "A text that was there before.")
        async with opened.worker(REFRESH):
            await ground.change(2, "A text about hills.")
            await ground.change(3, "A text about lakes.")
            await ground.change(4, "A text about forests.", owner=2)
            await ground.change(5, LONG)
            await ground.change(2, "A text about deserts.")
            await ground.ask(3, await ground.delete(3))
            await ground.change(4, "A text about forests.", owner=1)
            await ground.all_followed()
            with pytest.raises(FolderInUseError, match="Another process"):
                async with open_search(settings, VOICEASSIST):
                    pass
        # Before the worker ended it may not have come to what no event told of.
        async with opened.worker(REFRESH) as worker:

            async def is_compared() -> bool:
                return worker.count("freshline_index_scanned_documents") >= 4

            await eventually(is_compared, "the index was compared with the database")
        async with open_search(settings, VOICEASSIST) as searcher:
            found = await searcher.search("a text about deserts", tenant=1, limit=100)
            assert found[0].text == "A text about deserts."
            assert {each.document.key for each in found} == {"1", "2", "4", "5"}
            assert await searcher.search("forests", tenant=2) == []
        async with open_index_verification(settings, VOICEASSIST, vectors=True) as verification:
            report = await verification.run()
        assert report.is_good, report
        assert report.documents == 4
    gc.collect()  # here, where the warnings about that file are ignored

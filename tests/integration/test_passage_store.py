"""The rules by which passages are written and found, the same for a server and for a folder."""

from __future__ import annotations

import gc
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.qdrant import QdrantService
from infra.qdrant.client import CollectionGoneError, FolderInUseError, open_qdrant
from infra.qdrant.generations import Generations
from infra.qdrant.passages import DocumentName, NewPassage, PassageStore, Version
from infra.settings import QdrantSettings
from schemas.passages import digest

TABLE = "public.notes"
NORTH, EAST, WEST = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]


@pytest.fixture(params=["server", "folder"])
async def generations(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Generations]:
    """Generations of an own namespace, on a server and then in a folder."""
    if request.param == "server":
        service: QdrantService = request.getfixturevalue("qdrant")
        settings = QdrantSettings(**service.endpoints())
    else:
        settings = QdrantSettings(folder=tmp_path / "qdrant")
    async with open_qdrant(settings) as client:
        generations = Generations(client, f"t{uuid.uuid4().hex[:12]}", settings)
        yield generations
        for each in await generations.all():
            await generations.drop(each)


@pytest.fixture
async def store(generations: Generations) -> PassageStore:
    """The store of a generation that is searched."""
    generation = generations.named("a model", 3, "system/1")
    await generations.create(generation)
    await generations.activate(generation)
    return PassageStore(generations._client, generation)


def document(number: int = 1, table: str = TABLE) -> DocumentName:
    return DocumentName(table, str(number))


def version(
    lsn: int, *texts: str, number: int = 1, tenant: str | None = "a", vector: list[float] = NORTH, repairs: bool = False
) -> Version:
    passages = [NewPassage("body", text, digest(text), vector) for text in texts]
    return Version(document(number), lsn, tenant, passages, repairs=repairs)


async def write(store: PassageStore, *versions: Version) -> int:
    await store.put_passages(versions)
    await store.put_heads(versions)
    return await store.sweep(versions)


async def texts(store: PassageStore, tenant: str = "a", **options: Any) -> list[str]:
    found = await store.nearest(NORTH, tenant=tenant, **({"limit": 10} | options))
    return sorted(each.text for each in found)


async def test_what_is_written_is_found_by_its_tenant_alone(store: PassageStore) -> None:
    await write(store, version(10, "one", "two"), version(10, "three", number=2, tenant="b"))
    assert await texts(store) == ["one", "two"]
    assert await texts(store, tenant="b") == ["three"]
    assert await texts(store, tenant="c") == []
    (found,) = await store.nearest(NORTH, tenant="b", limit=5)
    assert (found.document, found.place, found.column, found.version) == (document(2), 0, "body", 10)
    assert found.similarity == pytest.approx(1)


async def test_the_nearest_come_first_and_what_is_too_far_not_at_all(store: PassageStore) -> None:
    await write(store, version(1, "east", number=1, vector=EAST), version(1, "west", number=2, vector=WEST))
    await write(store, version(1, "north", number=3))
    near = [0.8, 0.6, 0.0]
    assert [each.text for each in await store.nearest(near, tenant="a", limit=2)] == ["north", "east"]
    assert [each.text for each in await store.nearest(near, tenant="a", limit=9, least_similarity=0.7)] == ["north"]


async def test_a_late_writer_changes_nothing_that_can_be_found(store: PassageStore) -> None:
    await write(store, version(20, "new"))
    await store.put_passages([version(10, "old", "older", "oldest")])
    await store.put_heads([version(10, "old", "older", "oldest")])
    assert await texts(store) == ["new"]
    assert len((await store.stored([document()]))[document()].passages) == 3
    assert await store.sweep([version(10)]) == 2
    assert len((await store.stored([document()]))[document()].passages) == 1


async def test_the_same_stamp_is_replaced_by_a_repair_alone(store: PassageStore) -> None:
    await write(store, version(10, "wrong", "too much"))
    await write(store, version(10, "other"))
    assert await texts(store) == ["too much", "wrong"]
    assert await write(store, version(10, "right", repairs=True)) == 1
    assert await texts(store) == ["right"]
    await write(store, version(9, "late", repairs=True))
    assert await texts(store) == ["right"]


async def test_a_deleted_document_keeps_a_head_that_holds_older_writers_off(store: PassageStore) -> None:
    await write(store, version(10, "one"))
    await write(store, version(20))
    await write(store, version(15, "late"))
    assert await texts(store) == []
    head = (await store.heads([document()]))[document()]
    assert (head.lsn, head.passages) == (20, 0)


async def test_a_moved_document_changes_hands_at_once(store: PassageStore) -> None:
    await write(store, version(10, "one"))
    await store.put_passages([version(20, "one", tenant="b")])
    assert await texts(store) == await texts(store, tenant="b") == []
    await store.put_heads([version(20, "one", tenant="b")])
    assert await texts(store, tenant="b") == ["one"]
    assert await texts(store) == []


async def test_a_search_passes_over_what_no_head_vouches_for(store: PassageStore) -> None:
    await write(store, version(10, "visible"))
    for number in range(2, 40):
        await store.put_passages([version(10, f"unfinished {number}", number=number)])
    assert await texts(store, limit=1) == ["visible"]


async def test_a_passage_is_never_said_to_be_newer_than_it_is(
    store: PassageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, version(10, "old"))
    heads = store.heads

    async def late(documents: Any) -> Any:
        monkeypatch.setattr(store, "heads", heads)
        await write(store, version(20, "new"))
        return await heads(documents)

    monkeypatch.setattr(store, "heads", late)
    (found,) = await store.nearest(NORTH, tenant="a", limit=1)
    assert (found.text, found.version) == ("old", 10)


async def test_documents_are_named_page_by_page_up_to_a_stamp(
    store: PassageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.qdrant.passages._PAGE", 3)
    await write(store, *(version(number, "x", number=number) for number in range(1, 8)), version(5, number=9))
    found: list[DocumentName] = []
    after: str | None = None
    while True:
        page, after = await store.documents(TABLE, before_lsn=6, after=after)
        found += page
        if after is None:
            break
    assert sorted(found) == [document(number) for number in range(1, 6)]
    assert await store.documents("public.others") == ([], None)


async def test_no_request_grows_with_a_document(store: PassageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.qdrant.passages._PAGE", 3)
    sizes: list[int] = []
    update = store._client.batch_update_points

    async def counted(collection: str, operations: Any, **options: Any) -> Any:
        sizes.append(sum(len(each.upsert.points) for each in operations if hasattr(each, "upsert")))
        return await update(collection, operations, **options)

    monkeypatch.setattr(store._client, "batch_update_points", counted)
    long = [str(number) for number in range(8)]
    await write(store, version(10, *long), version(10, "short", number=2), version(10, "alone", number=3, tenant="b"))
    assert await texts(store) == [*long, "short"]
    assert await texts(store, tenant="b") == ["alone"]
    assert (sum(sizes), max(sizes)) == (8 + 1 + 1 + 3, 3)
    # What is late in one request changes nothing of what shares it.
    await write(store, version(9, "late"), version(11, "longer", number=2), version(9, "late", number=3, tenant="b"))
    assert await texts(store) == [*long, "longer"]
    assert await texts(store, tenant="b") == ["alone"]


async def test_all_points_of_a_document_are_seen_and_counted(store: PassageStore) -> None:
    await write(store, version(10, "one", "two"), version(10, "three", number=2))
    await store.put_passages([version(5, "a", "b", "beyond")])
    points = [each async for page in store.points([document()], vectors=True) for each in page]
    assert sorted(point.payload["text"] for _, point in points) == ["beyond", "one", "two"]
    assert {name for name, _ in points} == {document()}
    assert all(point.vector for _, point in points)
    assert await store.count() == (2, 4)


async def test_the_alias_moves_in_one_step_and_a_dropped_generation_is_gone(
    generations: Generations, store: PassageStore
) -> None:
    await write(store, version(10, "one"))
    new = generations.named("another model", 3, "system/1")
    await generations.create(new)
    await generations.create(new)
    assert {each.name for each in await generations.all()} == {store.generation.name, new.name}
    assert await generations.active() == store.generation.name
    await generations.activate(new)
    await generations.activate(new)
    assert await generations.active() == new.name
    await generations.drop(store.generation)
    assert await generations.all() == [new]
    for call in (
        lambda: store.nearest(NORTH, tenant="a", limit=1),
        lambda: store.put_passages([version(20, "two")]),
        lambda: store.put_heads([version(20, "two")]),
        lambda: store.sweep([version(20)]),
        lambda: store.documents(TABLE),
        store.count,
    ):
        with pytest.raises(CollectionGoneError):
            await call()


# The client's constructor leaves the file of its lock open where it fails.
@pytest.mark.filterwarnings("ignore:.*lock:pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file")
async def test_a_folder_can_be_open_but_once(tmp_path: Path) -> None:
    settings = QdrantSettings(folder=tmp_path / "qdrant")
    async with open_qdrant(settings):
        with pytest.raises(FolderInUseError, match="FRESHLINE_QDRANT__URL"):
            async with open_qdrant(settings):
                pass
    async with open_qdrant(settings):
        pass
    gc.collect()  # here, where the warnings about that file are ignored

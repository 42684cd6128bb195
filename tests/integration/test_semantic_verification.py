"""Whatever is wrong with an index is found, and what no search can find is not called wrong. On real servers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from qdrant_client import models

from freshline.semantic.report import Fault, IndexReport
from freshline.semantic.verification import open_index_verification
from infra.local.qdrant import QdrantService
from infra.qdrant.generations import NoIndexError
from infra.qdrant.passages import DocumentName, NewPassage, PassageStore, Version
from infra.settings import PostgresSettings, QdrantSettings
from schemas.passages import EVERYONE, digest
from tests.integration.index_ground import CATALOG, MANUALS, NOTES, IndexGround, manual, note, open_index_ground

LONG = "\n\n".join(f"Paragraph {n} tells of matter {n}: " + "some words of it, " * 12 + "an end." for n in range(20))


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str, qdrant: QdrantService) -> AsyncIterator[IndexGround]:
    async with open_index_ground(database, empty_valkey, QdrantSettings(**qdrant.endpoints())) as opened:
        await opened.make()
        yield opened


@pytest.fixture
async def store(ground: IndexGround) -> PassageStore:
    """The store of an index that is right: two notes of two tenants, a long one, an empty one, a manual."""
    await ground.put_note(1, "A text about rivers.", title="Rivers")
    await ground.put_note(2, "A text about hills.", owner=2)
    await ground.put_note(3, LONG)
    await ground.put_note(4, "  ")
    await ground.put_note(5, "A text of nobody.", owner=None)
    await ground.put_manual("a:b c", "How to read a key.")
    await ground.follow(NOTES, 1, 2, 3, 4, 5)
    await ground.follow(MANUALS, "a:b c")
    return await ground.store()


async def verify(ground: IndexGround, **options: Any) -> IndexReport:
    async with open_index_verification(ground.settings, CATALOG, **options) as verification:
        return await verification.run()


def only(report: IndexReport) -> tuple[Fault, str, int | None]:
    """The one fault of a report."""
    assert not report.is_good
    ((fault, count),) = report.wrong.items()
    assert count == report.wrong_documents == 1
    (example,) = report.examples
    assert example.fault is fault
    return fault, example.key, example.place


async def set_payload(store: PassageStore, point: str, *, heads: bool = False, **payload: Any) -> None:
    collection = store.generation.heads if heads else store.generation.name
    await store._client.set_payload(collection, payload=payload, points=[point], wait=True)


async def delete(store: PassageStore, point: str, *, heads: bool = False) -> None:
    collection = store.generation.heads if heads else store.generation.name
    await store._client.delete(collection, points_selector=models.PointIdsList(points=[point]), wait=True)


def passages(*texts: str, dimension: int = 384) -> list[NewPassage]:
    return [NewPassage("body", text, digest(text), [1.0] + [0.0] * (dimension - 1)) for text in texts]


@pytest.mark.usefixtures("store")
async def test_a_right_index_is_compared_whole_and_nothing_found(ground: IndexGround) -> None:
    report = await verify(ground, vectors=True)
    assert report.is_good
    assert (report.documents, report.wrong, report.examples, report.leftovers) == (6, {}, [], 0)
    assert report.passages == 4 + len((await (await ground.store()).stored([note(3)]))[note(3)].passages) + 1
    assert report.has_vectors
    assert report.took_s > 0


async def test_a_lost_passage_is_missing(ground: IndexGround, store: PassageStore) -> None:
    await delete(store, note(3).point(7))
    assert only(await verify(ground)) == (Fault.MISSING, "3", 7)


async def test_a_lost_head_makes_all_of_a_document_missing(ground: IndexGround, store: PassageStore) -> None:
    await delete(store, note(1).head, heads=True)
    report = await verify(ground)
    assert report.wrong == {Fault.MISSING: 2}
    assert report.leftovers == 2
    assert report.wrong_documents == 1


async def test_a_row_that_the_index_never_saw_is_missing(ground: IndexGround, store: PassageStore) -> None:
    del store
    await ground.put_note(6, "A text about lakes.")
    assert only(await verify(ground)) == (Fault.MISSING, "6", 0)


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ({"text": "Another text."}, "not that of its digest"),
        ({"text": "Another text.", "digest": digest("Another text.")}, "another text"),
        ({"column": "title"}, "another column"),
        ({"tenant": "1"}, "another tenant"),
        ({"tenant": EVERYONE}, "another tenant"),
        ({"tenant": None}, "another tenant"),
    ],
)
async def test_a_changed_passage_is_outdated(
    ground: IndexGround, store: PassageStore, payload: dict[str, Any], detail: str
) -> None:
    await set_payload(store, note(2).point(0), **payload)
    report = await verify(ground, vectors=True)
    assert only(report) == (Fault.TEXT, "2", 0)
    assert detail in report.examples[0].detail
    assert "nother text." not in report.examples[0].detail


async def test_a_document_whose_head_names_another_tenant_is_outdated(ground: IndexGround, store: PassageStore) -> None:
    await set_payload(store, note(2).head, heads=True, tenant="1")
    assert only(await verify(ground)) == (Fault.TEXT, "2", None)


async def test_a_change_that_the_index_missed_is_outdated(ground: IndexGround, store: PassageStore) -> None:
    del store
    await ground.put_note(2, "A text about lakes.", owner=2)
    await ground.put_note(1, "A text about rivers.", title="Rivers", owner=3)
    report = await verify(ground)
    # A passage, two passages, and a head.
    assert report.wrong == {Fault.TEXT: 4}
    assert report.wrong_documents == 2


async def test_a_wrong_vector_is_found_where_vectors_are_asked_for(ground: IndexGround, store: PassageStore) -> None:
    (point,) = (await store.stored([note(2)]))[note(2)].passages
    vector = list(point.vector or ())
    await replace(store, note(2), vector=[vector[0] + 0.01, *vector[1:]])
    assert (await verify(ground, vectors=True)).is_good  # so little may be another machine's rounding
    await replace(store, note(2), vector=vector[::-1])
    assert (await verify(ground)).is_good
    assert only(await verify(ground, vectors=True)) == (Fault.VECTOR, "2", 0)


async def replace(store: PassageStore, name: DocumentName, *, vector: list[float]) -> None:
    client = store._client
    (record,) = await client.retrieve(store.generation.name, [name.point(0)])
    point = models.PointStruct(id=record.id, payload=record.payload, vector=vector)
    await client.upsert(store.generation.name, [point], wait=True)


async def test_a_passage_too_many_is_surplus(ground: IndexGround, store: PassageStore) -> None:
    lsn = await ground.position()
    late = Version(note(2), lsn, "2", passages("A text about hills.", "No such text."))
    await store.put_passages([late])
    await store.put_heads([late])
    assert only(await verify(ground)) == (Fault.SURPLUS, "2", 1)


async def test_a_point_of_another_id_that_passes_for_a_passage_is_surplus(
    ground: IndexGround, store: PassageStore
) -> None:
    (record,) = await ground.client.retrieve(store.generation.name, [note(2).point(0)], with_vectors=True)
    twin: Any = models.PointStruct(id=str(uuid.uuid4()), payload=record.payload, vector=record.vector or [])
    await ground.client.upsert(store.generation.name, [twin], wait=True)
    assert only(await verify(ground)) == (Fault.SURPLUS, "2", 0)


@pytest.mark.parametrize("name", [note(77), manual("gone")])
async def test_a_document_without_a_row_is_surplus(
    ground: IndexGround, store: PassageStore, name: DocumentName
) -> None:
    version = Version(name, await ground.position(), "1", passages("A ghost."))
    await store.put_passages([version])
    await store.put_heads([version])
    assert only(await verify(ground)) == (Fault.SURPLUS, name.key, 0)


async def test_a_deleted_row_that_the_index_missed_is_surplus(ground: IndexGround, store: PassageStore) -> None:
    del store
    await ground.connection.execute("DELETE FROM notes WHERE id = 2")
    assert only(await verify(ground)) == (Fault.SURPLUS, "2", 0)
    await ground.follow(NOTES, 2)
    assert (await verify(ground)).is_good


async def test_a_stamp_of_the_future_is_impossible(ground: IndexGround, store: PassageStore) -> None:
    future = (await ground.position()) + (1 << 40)
    await set_payload(store, note(2).point(0), lsn=future)
    assert only(await verify(ground)) == (Fault.STAMP, "2", 0)
    await set_payload(store, note(2).head, heads=True, lsn=future)
    assert (await verify(ground)).wrong == {Fault.STAMP: 2}


async def test_what_lies_beyond_a_head_is_counted_and_not_called_wrong(
    ground: IndexGround, store: PassageStore
) -> None:
    late = Version(note(2), 1, "2", passages(*(f"Late text {n}." for n in range(5))))
    await store.put_passages([late])
    await store.put_heads([late])
    ghost = Version(note(99), 1, "2", passages("Never finished."))
    await store.put_passages([ghost])
    report = await verify(ground)
    assert report.is_good
    assert report.leftovers == 4 + 1


async def test_a_generation_that_is_not_searched_can_be_compared_by_its_name(ground: IndexGround) -> None:
    await ground.note(1, "A text about rivers.")
    beside = await ground.make(number=1, active=False)
    assert (await verify(ground)).is_good
    assert only(await verify(ground, generation=beside.name)) == (Fault.MISSING, "1", 0)
    with pytest.raises(NoIndexError, match=beside.name):
        await verify(ground, generation="none")


async def test_examples_are_few_and_counts_are_not(ground: IndexGround, store: PassageStore) -> None:
    del store
    await ground.connection.execute(
        "INSERT INTO notes SELECT n, 1, NULL, 'Text ' || n FROM generate_series(100, 400) n"
    )
    report = await verify(ground)
    assert report.wrong == {Fault.MISSING: 301}
    assert report.documents == 6 + 301
    assert len(report.examples) == 20


async def test_a_document_that_is_followed_while_it_is_looked_at_is_not_wrong(
    ground: IndexGround, store: PassageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    await ground.put_note(2, "A text about lakes.", owner=2)
    async with open_index_verification(ground.settings, CATALOG) as verification:
        looked = 0
        look_again = verification._look_again

        async def followed_meanwhile(*arguments: Any) -> None:
            nonlocal looked
            looked += len(arguments[1])
            await ground.follow(NOTES, 2)
            await look_again(*arguments)

        monkeypatch.setattr(verification, "_look_again", followed_meanwhile)
        report = await verification.run()
    assert looked == 1
    assert report.is_good
    assert report.documents == 6

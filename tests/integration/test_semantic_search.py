"""The search on real stores: what is found, in which order, and what nobody can find."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace

from freshline.semantic import active
from freshline.semantic.opening import open_search
from freshline.semantic.search import Searcher, TenantMissingError
from infra.local.qdrant import QdrantService
from infra.postgres.full_text import search_statement
from infra.postgres.migrate import migrate
from infra.qdrant.generations import NoIndexError
from infra.settings import PostgresSettings, QdrantSettings, ReaderSettings
from schemas.catalog import Catalog
from schemas.errors import CatalogError, KeyValueError, StoreUnavailableError
from schemas.passages import EVERYONE
from schemas.voiceassist import DOCUMENTS
from tests.integration.index_ground import CATALOG, MANUALS, NOTES, IndexGround, found, manual, note, open_index_ground
from tests.integration.worker_ground import eventually


@pytest.fixture
async def ground(database: PostgresSettings, empty_valkey: str, qdrant: QdrantService) -> AsyncIterator[IndexGround]:
    # A shared machine may take its time.
    reader = ReaderSettings(qdrant_timeout_s=5)
    async with open_index_ground(database, empty_valkey, QdrantSettings(**qdrant.endpoints()), reader=reader) as opened:
        yield opened


@pytest.fixture
async def searcher(ground: IndexGround) -> AsyncIterator[Searcher]:
    await ground.make()
    async with open_search(ground.settings, CATALOG) as opened:
        yield opened


async def test_no_query_can_leave_the_tenant_out_where_documents_have_one(
    ground: IndexGround, searcher: Searcher
) -> None:
    await ground.note(1, "The cat sleeps on the roof.", owner=1)
    await ground.note(2, "The cat sleeps on the roof.", owner=2)
    await ground.manual("cats", "How to keep a cat off the roof.")
    with pytest.raises(TenantMissingError, match="owner"):
        await searcher.search("cat")
    with pytest.raises(TenantMissingError):
        await searcher.search("cat", tables=["notes", "manuals"])
    for forged in (EVERYONE, "", "1 OR true", "1' OR '1'='1", True, 1.5, [1, 2]):
        with pytest.raises(KeyValueError, match="owner"):
            await searcher.search("cat", tenant=forged)
    for tenant in (1, "1"):
        assert found(await searcher.search("cat", tenant=tenant, tables=["notes"])) == [note(1)]
    assert await searcher.search("cat", tenant=3, tables=["public.notes"]) == []


async def test_several_tables_are_searched_whether_they_have_tenants_or_not(
    ground: IndexGround, searcher: Searcher
) -> None:
    await ground.note(1, "The cat sleeps on the roof.", owner=1)
    await ground.note(2, "The dog digs in the garden.", owner=1)
    await ground.note(3, "Another cat on a roof.", owner=2)
    await ground.manual("cats", "How to keep a cat off the roof.")
    await ground.manual("tax", "How to declare income.")
    assert set(found(await searcher.search("a cat upon a roof", tenant=1, limit=2))) == {note(1), manual("cats")}
    assert set(found(await searcher.search("a cat upon a roof", tenant=1))) == {
        note(1),
        note(2),
        manual("cats"),
        manual("tax"),
    }
    assert found(await searcher.search("a cat upon a roof", tables=["manuals"], limit=1)) == [manual("cats")]
    best = (await searcher.search("how do I keep cats off my roof", tables=["manuals"]))[0]
    assert (best.tenant, best.column, best.place) == (EVERYONE, "body", 0)


async def test_documents_of_two_tables_with_the_same_key_are_not_taken_for_each_other(
    ground: IndexGround, searcher: Searcher
) -> None:
    await ground.note(7, "Nothing of interest, zyzzyva apart.", owner=1)
    await ground.manual("7", "A chapter on weather.")
    store = await ground.store()
    embedder = await ground.followed.embedder(store.generation)
    vector = (await embedder.encode(["weather"]))[0].tolist()
    assert await store.nearest(vector, tenant=EVERYONE, limit=5, documents=[note(7)]) == []
    assert found(await store.nearest(vector, tenant=EVERYONE, limit=5, documents=[note(7), manual("7")])) == [
        manual("7")
    ]
    assert found(await searcher.search("zyzzyva", tenant=1, limit=1)) == [note(7)]


async def test_a_rare_word_is_found_that_meaning_misses(ground: IndexGround, searcher: Searcher) -> None:
    filler = " ".join(f"Sentence {n} of a long text about gardens and their plants." for n in range(60))
    await ground.note(1, f"{filler}\n\nThe part is called QX-7741b, and comes from Ulm.\n\n{filler}")
    for number in range(2, 40):
        await ground.put_note(number, f"The part is called QX-77{number}a, and comes from Ulm.")
    await ground.follow(NOTES, *range(2, 40))
    embedder = await ground.followed.embedder((await ground.store()).generation)
    vector = (await embedder.encode(["QX-7741b"]))[0].tolist()
    nearest = await (await ground.store()).nearest(vector, tenant="1", limit=20)
    assert note(1) not in found(nearest)
    first, second = (await searcher.search("QX-7741b", tenant=1))[:2]
    # What is first in one ranking and what is first in the other.
    (rare,) = [each for each in (first, second) if each.document == note(1)]
    assert "QX-7741b" in rare.text
    assert 0 < rare.similarity < min(each.similarity for each in nearest)


async def test_a_word_of_another_tenants_document_finds_nothing(ground: IndexGround, searcher: Searcher) -> None:
    await ground.note(1, "The secret word is abracadabra.", owner=2)
    await ground.note(2, "Weather report.", owner=1)
    assert found(await searcher.search("abracadabra", tenant=1)) == [note(2)]
    assert found(await searcher.search("abracadabra", tenant=2)) == [note(1)]


async def test_a_document_that_the_index_has_yet_to_follow_breaks_nothing(
    ground: IndexGround, searcher: Searcher
) -> None:
    await ground.note(1, "A text about rivers.")
    await ground.put_note(2, "The new word is abracadabra.")
    assert found(await searcher.search("abracadabra", tenant=1)) == [note(1)]
    await ground.follow(NOTES, 2)
    assert found(await searcher.search("abracadabra", tenant=1))[0] == note(2)
    await ground.connection.execute("DELETE FROM notes WHERE id = 2")
    assert note(2) in found(await searcher.search("abracadabra", tenant=1))
    await ground.follow(NOTES, 2)
    assert found(await searcher.search("abracadabra", tenant=1)) == [note(1)]


async def test_a_moved_document_is_found_by_its_new_tenant_alone(ground: IndexGround, searcher: Searcher) -> None:
    await ground.note(1, "The word is abracadabra.", owner=1)
    await ground.put_note(1, "The word is abracadabra.", owner=2)
    # Postgres says the new tenant, the index still the old one.
    assert found(await searcher.search("abracadabra", tenant=2)) == []
    await ground.follow(NOTES, 1)
    assert await searcher.search("abracadabra", tenant=1) == []
    assert found(await searcher.search("abracadabra", tenant=2)) == [note(1)]


async def test_a_document_of_nobody_is_found_by_nobody(ground: IndexGround, searcher: Searcher) -> None:
    await ground.note(1, "The word is abracadabra.", owner=None)
    assert await searcher.search("abracadabra", tenant=1) == []


@pytest.mark.parametrize("text", ["", "   ", "\0", "\ud800 half", '"', "-", "a" * 100_000, "' OR 1=1 --", "%_\\", "😀"])
async def test_no_text_breaks_a_search(ground: IndexGround, searcher: Searcher, text: str) -> None:
    await ground.note(1, "A text about rivers.")
    assert found(await searcher.search(text, tenant=1)) == [note(1)]


async def test_a_vector_of_the_same_model_is_taken_and_another_one_is_not(
    ground: IndexGround, searcher: Searcher
) -> None:
    await ground.note(1, "A text about rivers.")
    await ground.note(2, "A text about invoices.")
    embedder = await ground.followed.embedder((await ground.store()).generation)
    rivers = (await embedder.encode(["rivers"]))[0].tolist()
    # The words are of no document, so that meaning alone decides.
    for arguments, best in (
        ({"vector": rivers}, 1),
        ({"vector": rivers, "model": embedder.name}, 1),
        ({"vector": rivers, "model": "another"}, 2),
        ({"vector": rivers[:100]}, 2),
    ):
        assert found(await searcher.search("bills to be paid", tenant=1, **arguments))[0] == note(best)


async def test_what_is_not_indexed_can_not_be_searched(searcher: Searcher) -> None:
    with pytest.raises(CatalogError, match="no table 'drawings'"):
        await searcher.search("x", tables=["drawings"])


async def test_without_an_index_the_error_says_what_makes_it(ground: IndexGround) -> None:
    async with open_search(ground.settings, CATALOG) as searcher:
        with pytest.raises(NoIndexError, match="freshline run semantic-refresh"):
            await searcher.search("x", tenant=1)
        await ground.make()
        await ground.note(1, "A text about rivers.")
        assert found(await searcher.search("rivers", tenant=1)) == [note(1)]


async def test_without_postgres_meaning_alone_answers(ground: IndexGround) -> None:
    await ground.make()
    await ground.note(1, "A text about rivers.")
    away = ground.settings.postgres.model_copy(update={"port": 1, "socket_folder": None, "host": "127.0.0.1"})
    settings = ground.settings.model_copy(update={"postgres": away})
    async with open_search(settings, CATALOG) as searcher:
        assert found(await searcher.search("rivers", tenant=1)) == [note(1)]


async def test_a_qdrant_that_does_not_answer_costs_no_more_than_its_bound(ground: IndexGround) -> None:
    await ground.make()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        silent = ground.settings.model_copy(
            update={
                "qdrant": QdrantSettings(url=f"http://127.0.0.1:{port}"),
                "reader": ReaderSettings(qdrant_timeout_s=0.2),
            }
        )
        async with open_search(silent, CATALOG) as searcher, asyncio.timeout(20):
            with pytest.raises(StoreUnavailableError, match=r"within 0\.2 s"):
                await searcher.search("rivers", tenant=1)
    gone = ground.settings.model_copy(update={"qdrant": QdrantSettings(url=f"http://127.0.0.1:{port}")})
    async with open_search(gone, CATALOG) as searcher:
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            await searcher.search("rivers", tenant=1)


async def test_a_search_that_began_with_a_generation_that_is_dropped_goes_on_with_the_next(
    ground: IndexGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody hears of the alias by himself.
    monkeypatch.setattr(active, "_EVERY_S", 3600)
    await ground.make()
    await ground.note(1, "A text about rivers.")
    async with open_search(ground.settings, CATALOG) as searcher:
        assert found(await searcher.search("rivers", tenant=1)) == [note(1)]
        old = (await ground.store()).generation
        await ground.make(number=1)
        await ground.note(1, "A text about rivers.")
        await ground.generations.drop(old)
        assert found(await searcher.search("rivers", tenant=1)) == [note(1)]


async def test_the_search_moves_with_the_alias_by_itself(ground: IndexGround, searcher: Searcher) -> None:
    await ground.note(1, "A text about rivers.")
    assert found(await searcher.search("rivers", tenant=1)) == [note(1)]
    new = await ground.make(number=1, active=False)
    await ground.generations.activate(new)

    async def is_moved() -> bool:
        return await searcher.search("rivers", tenant=1) == []

    await eventually(is_moved, "the new generation is searched, which is empty", timeout_s=5)


async def test_postgres_looks_the_words_up_in_the_index_of_the_migrations(each_database: PostgresSettings) -> None:
    await migrate(each_database.connect_arguments())
    connection = await asyncpg.connect(**each_database.connect_arguments())
    try:
        await connection.execute("SET enable_seqscan = off")
        await connection.execute("INSERT INTO users (id, email, name, password_hash) VALUES (1, 'a', 'a', 'a')")
        await connection.execute(
            "INSERT INTO documents (uploaded_by, title, content) "
            "SELECT 1, 'Title ' || n, 'Text of number n' || n FROM generate_series(1, 500) AS n"
        )
        await connection.execute("ANALYZE documents")
        statement = search_statement(DOCUMENTS)
        asked = statement.replace("$1", "'n17'").replace("$2", "10").replace("$3", "'1'")
        plan = await connection.fetch(f"EXPLAIN {asked}")
        assert "documents_words" in "\n".join(line for (line,) in plan)
        found_rows = await connection.fetch(statement, "n17", 10, "1")
        assert [row["key"] for row in found_rows] == [["17"]]
    finally:
        await connection.close()


async def test_a_catalog_without_languages_is_searched_by_meaning_and_needs_no_postgres(ground: IndexGround) -> None:
    await ground.make()
    await ground.manual("7", "A chapter on weather.")
    index = MANUALS.index
    assert index is not None
    plain = Catalog((replace(MANUALS, index=replace(index, language=None)),))
    settings = ground.settings.model_copy(update={"postgres": PostgresSettings()})
    async with open_search(settings, plain) as searcher:
        assert found(await searcher.search("weather")) == [manual("7")]

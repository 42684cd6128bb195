"""Preparing a real database, twice, and taking it back, on Postgres 15 and 18."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest
from pydantic import SecretStr

from freshline.source.database import prepare_database, remove_from_database
from infra.postgres.fitness import DatabaseUnfitError
from infra.postgres.migrate import NOTHING, migrate
from infra.postgres.pool import NotPrimaryError, open_connection, open_pool
from infra.postgres.slot import SlotRecord, TransactionsRunningError
from infra.postgres.steps import StepFailedError
from infra.settings import PostgresSettings
from schemas.catalog import Catalog, Column, Table
from schemas.errors import StoreUnavailableError
from schemas.voiceassist import MESSAGES, USERS, VOICEASSIST

GUIDE_INDEXES = {
    "idx_conversations_user_id",
    "idx_messages_conversation_id",
    "idx_documents_uploaded_by",
    "idx_users_email",
    "idx_conversations_created_at",
    "idx_messages_timestamp",
    "idx_messages_conversation_timestamp",
    "idx_conversations_user_created",
    "idx_active_users",
    "idx_recent_conversations",
    "idx_documents_fts",
}


@asynccontextmanager
async def administrator(settings: PostgresSettings) -> AsyncIterator[asyncpg.Connection]:
    async with open_connection(settings.connect_arguments(), application="test") as connection:
        yield connection


async def fingerprint(settings: PostgresSettings) -> list[Any]:
    """All of a database that preparing it could change."""
    async with administrator(settings) as connection:
        return [
            await connection.fetch(query)
            for query in (
                """SELECT relname, relkind, relreplident, coalesce(relacl, acldefault('r', relowner))::text
                     FROM pg_class
                    WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'freshline'))
                    ORDER BY 1""",
                "SELECT attrelid::regclass::text, attname, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL",
                "SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1",
                "SELECT pubname FROM pg_publication",
                "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()",
                f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{settings.database}%'",
            )
        ]


async def test_preparing_twice_does_nothing_twice_and_removing_leaves_nothing(
    each_database: PostgresSettings,
) -> None:
    await migrate(each_database.connect_arguments())
    before = await fingerprint(each_database)
    assert (await prepare_database(each_database, VOICEASSIST)).steps
    prepared = await fingerprint(each_database)
    assert (await prepare_database(each_database, VOICEASSIST)).steps == ()
    assert await fingerprint(each_database) == prepared
    assert (await remove_from_database(each_database, VOICEASSIST)).steps
    assert await fingerprint(each_database) == before
    assert (await remove_from_database(each_database, VOICEASSIST)).steps == ()


async def test_a_dry_run_changes_nothing(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    before = await fingerprint(database)
    assert (await prepare_database(database, VOICEASSIST, dry_run=True)).steps
    assert await fingerprint(database) == before


async def test_the_readers_role_sees_cached_columns_and_nothing_else(each_database: PostgresSettings) -> None:
    settings = each_database.model_copy(update={"reader_password": SecretStr("reader's own")})
    await migrate(settings.connect_arguments())
    await prepare_database(settings, VOICEASSIST)
    async with open_pool(settings.reader_arguments(), application="test") as pool:
        await pool.fetch("SELECT id, email FROM users")
        await pool.fetch("SELECT generation FROM freshline.slot")
        assert await pool.fetchval("SELECT pg_current_snapshot()::text")
        assert await pool.fetchval("SELECT system_identifier FROM pg_control_system()")
        for refused in (
            "SELECT password_hash FROM users",
            "SELECT * FROM users",
            "UPDATE users SET name = ''",
            "SELECT beat_at FROM freshline.heartbeat",
            "DELETE FROM freshline.slot",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(refused)


async def test_a_changed_password_is_set_once(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    first = database.model_copy(update={"reader_password": SecretStr("first")})
    second = database.model_copy(update={"reader_password": SecretStr("second")})
    await prepare_database(first, VOICEASSIST)
    assert len((await prepare_database(second, VOICEASSIST)).steps) == 1
    assert (await prepare_database(second, VOICEASSIST)).steps == ()
    async with open_connection(second.reader_arguments(), application="test"):
        pass
    with pytest.raises(StoreUnavailableError, match="password authentication failed"):
        async with open_connection(first.reader_arguments(), application="test"):
            pass


async def test_a_role_that_was_here_before_stays_and_keeps_what_it_had(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    async with administrator(database) as connection:
        await connection.execute(f"CREATE ROLE {database.reader_role} LOGIN")
        await connection.execute(f"GRANT SELECT ON users TO {database.reader_role}")
        await prepare_database(database, VOICEASSIST)
        assert (await prepare_database(database, VOICEASSIST)).steps == ()
        has = f"SELECT has_column_privilege('{database.reader_role}', 'users', 'password_hash', 'SELECT')"
        assert await connection.fetchval(has)
        await remove_from_database(database, VOICEASSIST)
        assert await connection.fetchval(f"SELECT 1 FROM pg_roles WHERE rolname = '{database.reader_role}'")
        assert (await remove_from_database(database, VOICEASSIST)).steps == ()
        await connection.execute(f"DROP OWNED BY {database.reader_role}; DROP ROLE {database.reader_role}")


async def test_a_replica_identity_goes_back_to_what_it_was(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    async with administrator(database) as connection:
        await connection.execute("ALTER TABLE messages REPLICA IDENTITY FULL")
        await prepare_database(database, VOICEASSIST)
        identity = "SELECT relreplident::text FROM pg_class WHERE relname = 'messages'"
        assert await connection.fetchval(identity) == "i"
        await remove_from_database(database, VOICEASSIST)
        assert await connection.fetchval(identity) == "f"


async def test_a_catalog_that_shrinks_and_grows_is_followed(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    await prepare_database(database, VOICEASSIST)
    without_email = msgspec.structs.replace(USERS, columns=tuple(c for c in USERS.columns if c.name != "email"))
    smaller = Catalog((without_email, MESSAGES))
    await prepare_database(database, smaller)
    async with administrator(database) as connection:
        published = "SELECT tablename::text, attnames::text[] FROM pg_publication_tables WHERE schemaname = 'public'"
        found = {row[0]: row[1] for row in await connection.fetch(published)}
        assert set(found) == {"users", "messages"}
        assert "email" not in found["users"]
        sees = f"SELECT has_column_privilege('{database.reader_role}', $1, $2, 'SELECT')"
        assert not await connection.fetchval(sees, "users", "email")
        assert not await connection.fetchval(sees, "documents", "id")
    assert (await prepare_database(database, smaller)).steps == ()
    await prepare_database(database, VOICEASSIST)
    assert (await prepare_database(database, VOICEASSIST)).steps == ()


async def test_a_table_of_any_name_is_prepared_and_writable_afterwards(each_database: PostgresSettings) -> None:
    odd = 'O"dd; näme\\ --'
    async with administrator(each_database) as connection:
        await connection.execute('CREATE SCHEMA "sp ace"; CREATE DOMAIN "sp ace".short AS varchar(9)')
        quoted = '"' + odd.replace('"', '""') + '"'
        await connection.execute(
            f'CREATE TABLE "sp ace".{quoted} ("Iď" int, "öwneR" bigint NOT NULL, d "sp ace".short[], secret text, '
            'e numeric(5,2), PRIMARY KEY ("Iď"))'
        )
        table = Table(
            schema="sp ace",
            name=odd,
            key=("Iď",),
            tags=(),
            columns=(
                Column("Iď", "integer"),
                Column("öwneR", "bigint"),
                Column("e", "numeric", nullable=True),
            ),
        )
        await prepare_database(each_database, Catalog((table,)))
        assert (await prepare_database(each_database, Catalog((table,)))).steps == ()
        await connection.execute(f'INSERT INTO "sp ace".{quoted} VALUES (1, 2, NULL, NULL, NULL)')
        await connection.execute(f'UPDATE "sp ace".{quoted} SET "öwneR" = 3, secret = $1', "s")
        await connection.execute(f'DELETE FROM "sp ace".{quoted}')
        await remove_from_database(each_database, Catalog((table,)))


async def test_an_unfit_database_is_told_all_its_faults_and_left_as_it_is(database: PostgresSettings) -> None:
    async with administrator(database) as connection:
        await connection.execute("CREATE TABLE users (id int, email text)")
        await connection.execute("CREATE TABLE documents (id uuid PRIMARY KEY DEFERRABLE)")
    before = await fingerprint(database)
    with pytest.raises(DatabaseUnfitError) as caught:
        await prepare_database(database, VOICEASSIST)
    said = str(caught.value)
    assert "primary key is missing" in said
    assert "public.users.id is integer: the catalog says int8" in said
    assert "public.users.email may be null" in said
    assert "public.documents: its primary key is deferrable" in said
    assert "public.messages does not exist" in said
    assert await fingerprint(database) == before


async def test_a_table_that_someone_locks_is_not_queued_for(
    database: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.postgres.steps.LOCK_TIMEOUT_MS", 100)
    await migrate(database.connect_arguments())
    async with administrator(database) as connection, administrator(database) as other:
        # The indexes are made before, or building them concurrently would wait for the other transaction.
        await prepare_database(database, VOICEASSIST)
        await connection.execute("ALTER TABLE messages REPLICA IDENTITY DEFAULT")
        async with other.transaction():
            await other.execute("LOCK TABLE messages IN ROW EXCLUSIVE MODE")
            with pytest.raises(StepFailedError, match="Another session holds a lock"):
                await prepare_database(database, VOICEASSIST)
        assert len((await prepare_database(database, VOICEASSIST)).steps) >= 1


async def test_migrations_make_every_index_of_the_guide_and_run_once(each_database: PostgresSettings) -> None:
    arguments = each_database.connect_arguments()
    both = await asyncio.gather(migrate(arguments), migrate(arguments))
    assert sorted(both) == [("", "0003"), ("0003", "0003")]
    async with administrator(each_database) as connection:
        made = {row[0] for row in await connection.fetch("SELECT indexname FROM pg_indexes WHERE indexname ~ '^idx_'")}
        assert made == GUIDE_INDEXES
        assert await migrate(arguments, NOTHING, down=True) == ("0003", "")
        assert await connection.fetchval("SELECT to_regclass('users') IS NULL")
        assert await connection.fetchval("SELECT to_regtype('message_role') IS NULL")
    assert await migrate(arguments) == ("", "0003")


async def test_a_generation_is_recorded_only_when_older_transactions_are_over(database: PostgresSettings) -> None:
    await migrate(database.connect_arguments())
    await prepare_database(database, VOICEASSIST)
    async with administrator(database) as connection, administrator(database) as bystander:
        slot = SlotRecord(connection, database.slot)
        await connection.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", database.slot)
        async with bystander.transaction():
            await bystander.execute("INSERT INTO users (email, name, password_hash) VALUES ('a', 'b', 'c')")
            with pytest.raises(TransactionsRunningError, match="test"):
                await slot.record(0.3)
            assert await slot.recorded() is None
        await slot.record(10)
        first = await slot.recorded()
        assert first is not None
        await slot.record(10)
        assert await slot.recorded() == first
        await slot.forget()
        await slot.record(10)
        second = await slot.recorded()
        assert second is not None
        assert second.generation != first.generation
        await slot.drop(10)
        assert await slot.find() is None
        await slot.drop(10)


async def test_a_pool_names_itself_and_refuses_a_standby(
    database: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(database.connect_arguments(), application="freshline test") as pool:
        assert await pool.fetchval("SHOW application_name") == "freshline test"
        assert await pool.fetchval("SHOW timezone") == "UTC"
        assert await pool.fetchval("SHOW statement_timeout") == "5s"
    with pytest.raises(StoreUnavailableError, match="can't be used by"):
        async with open_pool({**database.connect_arguments(), "port": 1}, application="test"):
            pass

    async def standby(*_: object) -> bool:
        return True

    monkeypatch.setattr(asyncpg.Connection, "fetchval", standby)
    with pytest.raises(NotPrimaryError, match="standby"):
        async with open_pool(database.connect_arguments(), application="test"):
            pass

"""One coroutine for each kind of change. Each is given a connection and the ground, and says how many rows it changed.

A kind that finds no row to change (another writer was faster) changes nothing and says 0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final

import asyncpg
import msgspec

from freshline.reference.population import Population
from freshline.reference.statements import CHANGES, Session
from freshline.reference.values import Values

_ROWS_OF_ONE_STATEMENT: Final = 25


class Ground(msgspec.Struct, frozen=True):
    """What one writer goes by."""

    population: Population
    random: Random
    values: Values


class Changed(msgspec.Struct, frozen=True):
    """What was committed.

    Attributes:
        rows: how many rows changed, those that follow by a cascade not counted.
        inserted: keys of entries of rows that are new.
    """

    rows: int
    inserted: tuple[str, ...] = ()


NOTHING: Final = Changed(0)
ONE: Final = Changed(1)

Change = Callable[[Session, Ground], Awaitable[Changed]]


class _RolledBackError(Exception):
    """Ends a transaction or a savepoint that is meant to leave nothing behind."""


async def insert_user(connection: Session, ground: Ground) -> Changed:
    """A new user."""
    values = ground.values
    row = await connection.fetchval(CHANGES["insert_user"], values.email(), values.text(), values.json())
    ground.population.users.add(row)
    return Changed(1, (f"user:{row}",))


async def insert_conversation(connection: Session, ground: Ground) -> Changed:
    """A new conversation of a user."""
    user = ground.population.users.popular(ground.random)
    if user is None:
        return await insert_user(connection, ground)
    values = ground.values
    row = await connection.fetchval(CHANGES["insert_conversation"], user, values.text(), values.json())
    ground.population.conversations.add(row)
    return Changed(1, (f"conversation:{row}",))


async def insert_message(connection: Session, ground: Ground) -> Changed:
    """A new message in a conversation."""
    conversation = ground.population.conversations.popular(ground.random)
    if conversation is None:
        return await insert_conversation(connection, ground)
    values = ground.values
    row = await connection.fetchval(
        CHANGES["insert_message"], conversation, values.role(), values.text(20), values.tokens()
    )
    ground.population.messages.add(row)
    return ONE


async def insert_document(connection: Session, ground: Ground) -> Changed:
    """A new document of a user, half of them so large that Postgres moves it out of the row."""
    user = ground.population.users.popular(ground.random)
    if user is None:
        return await insert_user(connection, ground)
    values = ground.values
    row = await connection.fetchval(
        CHANGES["insert_document"], user, values.text(), values.document(), values.size_mb()
    )
    ground.population.documents.add(row)
    return Changed(1, (f"document:{row}",))


async def insert_many(connection: Session, ground: Ground) -> Changed:
    """Many messages in one statement."""
    conversation = ground.population.conversations.popular(ground.random)
    if conversation is None:
        return NOTHING
    rows = await connection.fetch(
        CHANGES["insert_many_messages"], conversation, _ROWS_OF_ONE_STATEMENT, ground.values.text()
    )
    for row in rows:
        ground.population.messages.add(row["id"])
    return Changed(len(rows))


async def update_user(connection: Session, ground: Ground) -> Changed:
    """Another name, and a higher version."""
    values = ground.values
    return await _one(connection, ground, "users", "update_user", values.text(), values.flag())


async def update_conversation(connection: Session, ground: Ground) -> Changed:
    """Another title and other metadata."""
    values = ground.values
    return await _one(connection, ground, "conversations", "update_conversation", values.text(), values.json())


async def update_message(connection: Session, ground: Ground) -> Changed:
    """Another content."""
    values = ground.values
    return await _one(connection, ground, "messages", "update_message", values.text(20), values.tokens())


async def rename_document(connection: Session, ground: Ground) -> Changed:
    """Another title; a TOASTed content is left alone."""
    return await _one(connection, ground, "documents", "rename_document", ground.values.text())


async def rewrite_document(connection: Session, ground: Ground) -> Changed:
    """Another content."""
    values = ground.values
    return await _one(connection, ground, "documents", "rewrite_document", values.document(), values.size_mb())


async def touch(connection: Session, ground: Ground) -> Changed:
    """A change that changes no value."""
    return await _one(connection, ground, "users", "touch_user")


async def update_many(connection: Session, ground: Ground) -> Changed:
    """Many conversations in one statement."""
    known = ground.population.conversations
    chosen = {row for _ in range(_ROWS_OF_ONE_STATEMENT) if (row := known.any(ground.random)) is not None}
    # In one order, so that two of these do not wait for each other.
    rows = await connection.fetch(CHANGES["update_many_conversations"], sorted(chosen), ground.values.text())
    return Changed(len(rows))


async def move_conversation(connection: Session, ground: Ground) -> Changed:
    """A conversation gets another user."""
    user = ground.population.users.popular(ground.random)
    return await _one(connection, ground, "conversations", "move_conversation", user) if user is not None else NOTHING


async def move_document(connection: Session, ground: Ground) -> Changed:
    """A document gets another user."""
    user = ground.population.users.popular(ground.random)
    return await _one(connection, ground, "documents", "move_document", user) if user is not None else NOTHING


async def move_message(connection: Session, ground: Ground) -> Changed:
    """A message gets into another conversation."""
    to = ground.population.conversations.popular(ground.random)
    return await _one(connection, ground, "messages", "move_message", to) if to is not None else NOTHING


async def change_key(connection: Session, ground: Ground) -> Changed:
    """A row gets another primary key, and what refers to it follows."""
    table, name = ground.random.choice(
        [
            ("users", "change_user_id"),
            ("conversations", "change_conversation_id"),
            ("documents", "change_document_id"),
        ]
    )
    known = ground.population.of(table)
    old = known.any(ground.random)
    new = await connection.fetchval(CHANGES[name], old) if old is not None else None
    if old is None or new is None:
        return NOTHING
    known.remove(old)
    known.add(new)
    return ONE


async def delete_user(connection: Session, ground: Ground) -> Changed:
    """A user goes, and everything of his with him."""
    row = ground.population.users.any(ground.random)
    if row is None:
        return NOTHING
    owned = await connection.fetch(CHANGES["owned_by_user"], row)
    ground.population.users.remove(row)
    for each in owned:
        ground.population.of(each["owned"]).remove(each["id"])
    return Changed(len(await connection.fetch(CHANGES["delete_user"], row)))


async def delete_conversation(connection: Session, ground: Ground) -> Changed:
    """A conversation goes with its messages."""
    return await _delete(connection, ground, "conversations", "delete_conversation")


async def delete_message(connection: Session, ground: Ground) -> Changed:
    """A message goes."""
    return await _delete(connection, ground, "messages", "delete_message")


async def delete_document(connection: Session, ground: Ground) -> Changed:
    """A document goes."""
    return await _delete(connection, ground, "documents", "delete_document")


async def many_tables(connection: Session, ground: Ground) -> Changed:
    """A transaction that changes rows of all tables."""
    async with connection.transaction():
        rows = 0
        for change in (insert_user, update_user, insert_conversation, insert_message, rename_document):
            rows += (await change(connection, ground)).rows
    return Changed(rows)


async def twice(connection: Session, ground: Ground) -> Changed:
    """A transaction that changes the same row twice, and one that inserts a row and deletes it again."""
    row = ground.population.users.popular(ground.random)
    if row is None:
        return NOTHING
    values = ground.values
    async with connection.transaction():
        changed = 0
        for _ in range(2):
            changed += len(await connection.fetch(CHANGES["update_user"], row, values.text(), values.flag()))
        passing = await connection.fetchval(CHANGES["insert_document"], row, values.text(), values.text(), None)
        await connection.fetch(CHANGES["delete_document"], passing)
    return Changed(changed + 2)


async def savepoint(connection: Session, ground: Ground) -> Changed:
    """A transaction with a savepoint that is kept: its changes carry another transaction id in the heap."""
    async with connection.transaction():
        first = await update_user(connection, ground)
        async with connection.transaction():
            second = await update_conversation(connection, ground)
        third = await insert_message(connection, ground)
    return Changed(first.rows + second.rows + third.rows)


async def undone_savepoint(connection: Session, ground: Ground) -> Changed:
    """A transaction with a savepoint that is undone: only the rest of it happened."""
    async with connection.transaction():
        changed = await update_user(connection, ground)
        try:
            async with connection.transaction():
                await _undo(connection, ground)
        except _RolledBackError:
            pass
    return changed


async def rollback(connection: Session, ground: Ground) -> Changed:
    """A transaction that is undone."""
    try:
        async with connection.transaction():
            await _undo(connection, ground)
    except _RolledBackError:
        pass
    return NOTHING


async def truncate_messages(connection: Session, ground: Ground) -> Changed:
    """All messages go at once."""
    await connection.execute(CHANGES["truncate_messages"])
    ground.population.messages.clear()
    return ONE


async def truncate_documents(connection: Session, ground: Ground) -> Changed:
    """All documents go at once."""
    await connection.execute(CHANGES["truncate_documents"])
    ground.population.documents.clear()
    return ONE


async def _one(connection: Session, ground: Ground, table: str, name: str, *values: object) -> Changed:
    """Change one row of this table, a popular one more often."""
    known = ground.population.of(table)
    row = known.popular(ground.random)
    if row is None:
        return NOTHING
    changed = await connection.fetch(CHANGES[name], row, *values)
    if not changed:
        known.remove(row)
    return Changed(len(changed))


async def _delete(connection: Session, ground: Ground, table: str, name: str) -> Changed:
    known = ground.population.of(table)
    row = known.any(ground.random)
    if row is None:
        return NOTHING
    known.remove(row)
    return Changed(len(await connection.fetch(CHANGES[name], row)))


async def _undo(connection: Session, ground: Ground) -> None:
    """Changes that must leave nothing behind, not even in what is known."""
    values = ground.values
    for table, name, rest in (
        ("users", "update_user", (values.text(), values.flag())),
        ("conversations", "update_conversation", (values.text(), values.json())),
        ("documents", "rename_document", (values.text(),)),
    ):
        row = ground.population.of(table).popular(ground.random)
        if row is not None:
            await connection.fetch(CHANGES[name], row, *rest)
    await connection.fetchval(CHANGES["insert_user"], values.email(), values.text(), values.json())
    raise _RolledBackError


KINDS: Final[Mapping[str, Change]] = {
    change.__name__: change
    for change in (
        insert_user,
        insert_conversation,
        insert_message,
        insert_document,
        insert_many,
        update_user,
        update_conversation,
        update_message,
        rename_document,
        rewrite_document,
        touch,
        update_many,
        move_conversation,
        move_document,
        move_message,
        change_key,
        delete_user,
        delete_conversation,
        delete_message,
        delete_document,
        many_tables,
        twice,
        savepoint,
        undone_savepoint,
        rollback,
        truncate_messages,
        truncate_documents,
    )
}

# How often each is chosen, relative to the others. TRUNCATE empties tables, so it is asked for where it is wanted.
WEIGHTS: Final[Mapping[str, float]] = {
    "insert_user": 8,
    "insert_conversation": 8,
    "insert_message": 14,
    "insert_document": 3,
    "insert_many": 0.3,
    "update_user": 16,
    "update_conversation": 10,
    "update_message": 4,
    "rename_document": 6,
    "rewrite_document": 2,
    "touch": 1,
    "update_many": 0.3,
    "move_conversation": 4,
    "move_document": 2,
    "move_message": 1,
    "change_key": 2,
    "delete_user": 0.7,
    "delete_conversation": 2,
    "delete_message": 3,
    "delete_document": 1,
    "many_tables": 3,
    "twice": 3,
    "savepoint": 2,
    "undone_savepoint": 2,
    "rollback": 2,
    "truncate_messages": 0,
    "truncate_documents": 0,
}

# What happens now and then where writers meet: nothing of the change is left, and the next one may succeed.
CONFLICTS: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)

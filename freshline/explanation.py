"""Why a key holds what it holds: gathered for people, without a single value of a row unless it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from freshline.verification.copies import table_of
from freshline.verification.derivations import Derivations
from freshline.verification.rows import bodies
from infra.postgres.pool import Connection, open_connection
from infra.redis.coherence import Coherence, State
from infra.settings import Settings
from schemas.catalog import Catalog, Table
from schemas.debezium import READER_SETTINGS
from schemas.entry import PLACEHOLDER, VALUE, Header, Origin, unpack

KINDS = {"v": "a value", "a": 'a remembered "no such row"', "p": "a placeholder: nothing that could be returned"}


class TagState(msgspec.Struct, frozen=True):
    """One tag of a cached query: ``present`` is its generation now, None where it was dropped."""

    tag: str
    filled_at: str
    present: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing under it has changed since the query was filled."""
        return self.filled_at == self.present


class Explanation(msgspec.Struct, frozen=True):
    """What is known of one key.

    Attributes:
        key: the key, without the namespace.
        table: the table whose row it is, None for a query.
        holds: what lies there, in words.
        served: whether a reader would be given it.
        why_not: why not, empty where it is served.
        since: in words: who wrote it, and from what.
        ttl_s: how long it still lives; None where nothing lies there or it never expires.
        header: the protocol's own facts.
        state: the namespace's epoch and floors.
        tags: of a cached query.
        equals_database: whether it is what the database says now; None where nobody can tell.
        body: the bytes, only if they were asked for.
        database_body: what the database says, only if that was asked for.
    """

    key: str
    table: str | None
    holds: str
    served: bool
    why_not: str
    since: str
    ttl_s: float | None
    header: Header | None
    state: State
    tags: tuple[TagState, ...] = ()
    equals_database: bool | None = None
    body: bytes | None = None
    database_body: bytes | None = None


class Explainer:
    """Explains keys of one namespace. Made by ``open_explainer``."""

    def __init__(self, redis: Redis, connection: Connection, settings: Settings, catalog: Catalog) -> None:
        self._redis = redis
        self._connection = connection
        self._coherence = Coherence(redis, settings.namespace)
        self._catalog = catalog

    async def explain(self, key: str, derivations: Derivations, *, values: bool = False) -> Explanation:
        """What the key holds and why.

        Args:
            key: as readers write it.
            derivations: how cached queries are run again.
            values: also give the bytes, which are values of rows.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        state = await self._coherence.state()
        entry = cast("bytes | None", await self._redis.get(self._coherence.entry_key(key)))
        ttl_ms = int(await self._redis.pttl(self._coherence.entry_key(key)))
        table = table_of(self._catalog, key)
        unpacked = unpack(entry) if entry is not None else None
        header, body = unpacked if unpacked is not None else (None, b"")
        tags = await self._tags(header)
        held = body if header is not None and header.kind == VALUE else None
        has_copy = header is not None and header.kind != PLACEHOLDER
        truth = await self._truth(key, table, derivations)
        can_tell = has_copy and (table is not None or truth is not None)
        why_not = _obstacle(entry, header, state, tags)
        if not why_not and header is not None and table is not None:
            why_not = await self._row_obstacle(key, table, header, state)
        elif not why_not and not tags:
            why_not = "it is no row of the catalog and carries no tags"
        return Explanation(
            key=key,
            table=table.qualified_name if table is not None else None,
            holds="nothing" if entry is None else "bytes of another layout" if header is None else KINDS[header.kind],
            served=not why_not,
            why_not=why_not,
            since=_since(header),
            ttl_s=ttl_ms / 1000 if ttl_ms >= 0 else None,
            header=header,
            state=state,
            tags=tags,
            equals_database=held == truth if can_tell else None,
            body=held if values else None,
            database_body=truth if values else None,
        )

    async def _tags(self, header: Header | None) -> tuple[TagState, ...]:
        if header is None or not header.tags:
            return ()
        found = await self._redis.mget([self._coherence.tag_key(tag) for tag, _ in header.tags])
        return tuple(
            TagState(tag, generation, cast("bytes", present).decode() if present is not None else None)
            for (tag, generation), present in zip(header.tags, found, strict=True)
        )

    async def _truth(self, key: str, table: Table | None, derivations: Derivations) -> bytes | None:
        if table is not None:
            return (await bodies(self._connection, table, [key])).get(key)
        return await derivations.derive(self._connection, key)

    async def _row_obstacle(self, key: str, table: Table, header: Header, state: State) -> str:
        """Why an entry of this epoch is not served as the row's."""
        if await self._coherence.look([(key, table)]) != [None]:
            return ""
        if header.format != table.format:
            return f"it has other columns ({header.format}) than the catalog here ({table.format})"
        floor = state.table_floors.get(table.qualified_name, "")
        return f"its table was invalidated as a whole, by TRUNCATE say (floor {floor})"


@asynccontextmanager
async def open_explainer(settings: Settings, catalog: Catalog) -> AsyncIterator[Explainer]:
    """An explainer of the keys of a namespace.

    Raises:
        StoreUnavailableError: Postgres does not answer.
    """
    settings.require(["postgres", "redis"])
    async with (
        open_connection(settings.postgres.reader_arguments(), application="freshline explain") as connection,
        Redis.from_url(**settings.redis.client_arguments()) as redis,
    ):
        for name, value in READER_SETTINGS.items():
            await connection.execute("SELECT set_config($1, $2, false)", name, value)
        yield Explainer(redis, connection, settings, catalog)


def _obstacle(entry: bytes | None, header: Header | None, state: State, tags: tuple[TagState, ...]) -> str:
    """Why a key is not served, whatever lies there; empty where nothing of this kind stands against it."""
    changed = [tag.tag for tag in tags if not tag.holds]
    if entry is None:
        reason = "nothing lies there: the next reader fills it"
    elif header is None:
        reason = "it was written by a release with another layout"
    elif not state.epoch:
        reason = "there is no epoch: no worker has begun one yet, so nothing is cached"
    elif header.epoch != state.epoch:
        reason = f"it is of epoch {header.epoch}, and the present one is {state.epoch}"
    elif header.kind == PLACEHOLDER:
        reason = _placeholder(header)
    else:
        reason = f"something under {', '.join(changed)} has changed since it was filled" if changed else ""
    return reason


def _since(header: Header | None) -> str:
    if header is None:
        return ""
    if header.kind == PLACEHOLDER:
        return "left by a reader's miss, a writer's invalidation, or an event that could not be cached"
    if header.lsn:
        return f"written by the event {_place(header.origin)}"
    if header.tags:
        return "filled by a reader that ran the query"
    return f"filled by a reader that saw every transaction below {header.snapshot.xmax}" + (
        f" but {', '.join(map(str, header.snapshot.in_progress))}" if header.snapshot.in_progress else ""
    )


def _place(origin: Origin) -> str:
    return f"{origin.topic}/{origin.partition} at offset {origin.offset}"


def _placeholder(header: Header) -> str:
    parts = []
    if header.token:
        parts.append("a reader holds the lease and fills it")
    if header.lsn:
        parts.append("a change forbids older events to fill it")
    if header.completed:
        parts.append("a reader returned a value without storing it")
    return "; ".join(parts) or "its lease was ended by an event: the next reader fills it"


def as_plain(explanation: Explanation) -> Any:
    """The explanation as JSON can hold it, with headers as objects."""
    header = explanation.header
    return {
        **{
            name: msgspec.to_builtins(getattr(explanation, name))
            for name in ("key", "table", "holds", "served", "why_not", "since", "ttl_s", "equals_database")
        },
        "epoch": explanation.state.epoch,
        "header": None
        if header is None
        else {name: getattr(header, name) for name in header.__struct_fields__}
        | {"snapshot": str(header.snapshot), "origin": msgspec.structs.asdict(header.origin)},
        "tags": [msgspec.structs.asdict(tag) | {"holds": tag.holds} for tag in explanation.tags],
        "body": explanation.body.decode() if explanation.body is not None else None,
        "database_body": explanation.database_body.decode() if explanation.database_body is not None else None,
    }

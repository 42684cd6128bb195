"""What a database is like now, read once from its catalogs: the ground on which plans are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from infra.postgres.names import HEARTBEAT, IDENTITIES, SCHEMA, SLOTS, Names
from infra.postgres.statements import statement
from schemas.catalog import Catalog

_OURS = (HEARTBEAT, IDENTITIES, SLOTS)


class Server(msgspec.Struct, frozen=True):
    """The server, the database and the one who asks. ``max_slot_wal_keep_mb`` is -1 for no limit."""

    version_num: int
    wal_level: str
    max_slot_wal_keep_mb: int
    max_replication_slots: int
    replication_slots: int
    max_wal_senders: int
    in_recovery: bool
    database: str
    user_name: str
    superuser: bool

    @property
    def has_column_lists(self) -> bool:
        """Whether a publication can name columns (Postgres 15 and later)."""
        return self.version_num >= 150_000  # noqa: PLR2004


class ObservedColumn(msgspec.Struct, frozen=True):
    """A column: ``form`` is its type as a catalog writes it, ``type`` as Postgres does.

    ``base_type`` is ``type`` with domains resolved; ``over_array`` where it is a domain over an array.
    """

    name: str
    form: str
    type: str
    type_oid: int
    not_null: bool
    generated: str
    base_type: str = ""
    over_array: bool = False


class UniqueIndex(msgspec.Struct, frozen=True):
    """A unique index; ``usable`` where it is immediate, whole and over plain columns."""

    name: str
    columns: tuple[str, ...]
    is_primary: bool
    is_identity: bool
    valid: bool
    usable: bool


class ObservedTable(msgspec.Struct, frozen=True):
    """A table: kind as in ``pg_class`` (``r`` plain, ``p`` partitioned), identity ``d``, ``i``, ``f`` or ``n``."""

    schema: str
    name: str
    kind: str
    persistence: str
    replica_identity: str
    columns: Mapping[str, ObservedColumn]
    indexes: tuple[UniqueIndex, ...]

    @property
    def qualified_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The primary key's columns; empty where there is none."""
        return next((index.columns for index in self.indexes if index.is_primary), ())

    @property
    def identity_index(self) -> str | None:
        """The index that is its replica identity, if one is."""
        if self.replica_identity != "i":
            return None
        return next((index.name for index in self.indexes if index.is_identity), None)


class PublishedTable(msgspec.Struct, frozen=True):
    """A table of a publication; ``columns`` is None where whole rows are published."""

    columns: frozenset[str] | None
    filtered: bool


class Publication(msgspec.Struct, frozen=True):
    """A publication: what it publishes, by ``(schema, table)``."""

    all_tables: bool
    via_root: bool
    all_operations: bool
    tables: Mapping[tuple[str, str], PublishedTable]


class Role(msgspec.Struct, frozen=True):
    """A role. ``verifier`` is None where the one who asks may not see it."""

    name: str
    can_login: bool
    replication: bool
    superuser: bool
    marked: str | None
    connects: bool
    elsewhere: tuple[str, ...]
    verifier: str | None = None


class Slot(msgspec.Struct, frozen=True):
    """A replication slot. Positions are 64-bit LSNs; ``retained_bytes`` is the log that it holds back."""

    name: str
    plugin: str | None
    database: str | None
    active: bool
    active_pid: int | None
    restart_lsn: int | None
    confirmed_flush_lsn: int | None
    retained_bytes: int | None
    wal_status: str | None
    safe_wal_size: int | None


class Grant(msgspec.Struct, frozen=True):
    """A privilege of a role on a column, or on the whole table where ``column`` is None."""

    role: str
    schema: str
    table: str
    column: str | None
    privilege: str


class ChangedIdentity(msgspec.Struct, frozen=True):
    """A replica identity that Freshline changed, as it was before."""

    schema: str
    name: str
    identity_before: str
    index_before: str | None


class Observed(msgspec.Struct, frozen=True):
    """All that plans need to know about a database."""

    server: Server
    tables: Mapping[str, ObservedTable]
    known_types: Mapping[str, int]
    publication: Publication | None
    roles: Mapping[str, Role]
    role_settings: Mapping[tuple[str, str], str]
    usages: frozenset[tuple[str, str]]
    grants: frozenset[Grant]
    schema_exists: bool
    relations: frozenset[str]
    strangers_in_schema: int
    slot: Slot | None
    changed_identities: tuple[ChangedIdentity, ...]
    enum_domains: tuple[str, ...] = ()


async def observe(connection: asyncpg.Connection, catalog: Catalog, names: Names) -> Observed:
    """Read what the database is like, in one consistent look."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _Look(connection, catalog, names).all()


class _Look:
    def __init__(self, connection: asyncpg.Connection, catalog: Catalog, names: Names) -> None:
        self._connection = connection
        self._catalog = catalog
        self._names = names
        self._schemas = [table.schema for table in catalog.tables]
        self._tables = [table.name for table in catalog.tables]
        self._places = frozenset(zip(self._schemas, self._tables, strict=True))

    async def _rows(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        return [dict(row) for row in await self._connection.fetch(statement("observe", name), *arguments)]

    async def all(self) -> Observed:
        server = msgspec.convert((await self._rows("server"))[0], Server)
        contents = await self._rows("schema_contents", SCHEMA, list(_OURS))
        relations = frozenset(contents[0]["relations"]) if contents else frozenset()
        slots = await self._rows("slot", self._names.slot)
        changed = await self._rows("changed_identities") if IDENTITIES in relations else []
        unlisted = [row for row in changed if (row["schema"], row["name"]) not in self._places]
        self._schemas.extend(row["schema"] for row in unlisted)
        self._tables.extend(row["name"] for row in unlisted)
        roles = [self._names.debezium_role, self._names.reader_role]
        spaces = sorted({*self._schemas, SCHEMA})
        return Observed(
            server=server,
            tables=await self._observe_tables(),
            known_types=await self._known_types(),
            publication=await self._observe_publication(),
            roles=await self._observe_roles(roles, superuser=server.superuser),
            role_settings={
                (row["role"], row["name"]): row["value"] for row in await self._rows("role_settings", roles)
            },
            usages=frozenset((row["role"], row["schema"]) for row in await self._rows("usages", roles, spaces)),
            grants=await self._observe_grants(roles),
            schema_exists=bool(contents),
            relations=relations,
            strangers_in_schema=contents[0]["others"] if contents else 0,
            slot=msgspec.convert(slots[0], Slot) if slots else None,
            changed_identities=tuple(msgspec.convert(row, ChangedIdentity) for row in changed),
            enum_domains=tuple(row["name"] for row in await self._rows("enum_domains")),
        )

    async def _observe_tables(self) -> dict[str, ObservedTable]:
        columns: dict[tuple[str, str], dict[str, ObservedColumn]] = {}
        for row in await self._rows("columns", self._schemas, self._tables):
            place = row["schema"], row["table_name"]
            columns.setdefault(place, {})[row["name"]] = msgspec.convert(row, ObservedColumn)
        indexes: dict[tuple[str, str], list[UniqueIndex]] = {}
        for row in await self._rows("indexes", self._schemas, self._tables):
            indexes.setdefault((row["schema"], row["table_name"]), []).append(msgspec.convert(row, UniqueIndex))
        tables = [
            ObservedTable(
                **row,
                columns=columns.get((row["schema"], row["name"]), {}),
                indexes=tuple(indexes.get((row["schema"], row["name"]), ())),
            )
            for row in await self._rows("tables", self._schemas, self._tables)
        ]
        return {table.qualified_name: table for table in tables}

    async def _known_types(self) -> dict[str, int]:
        declared = sorted({column.type for table in self._catalog.tables for column in table.columns})
        return {row["name"]: row["oid"] for row in await self._rows("types", declared)}

    async def _observe_publication(self) -> Publication | None:
        found = await self._rows("publication", self._names.publication)
        if not found:
            return None
        tables = {
            (row["schema"], row["name"]): PublishedTable(
                columns=None if row["columns"] is None else frozenset(row["columns"]), filtered=row["filtered"]
            )
            for row in await self._rows("publication_tables", self._names.publication)
        }
        return Publication(**found[0], tables=tables)

    async def _observe_roles(self, roles: Sequence[str], *, superuser: bool) -> dict[str, Role]:
        verifiers: dict[str, str | None] = {}
        if superuser:
            verifiers = {row["name"]: row["verifier"] for row in await self._rows("role_passwords", roles)}
        return {
            row["name"]: msgspec.convert(row | {"verifier": verifiers.get(row["name"])}, Role)
            for row in await self._rows("roles", roles)
        }

    async def _observe_grants(self, roles: Sequence[str]) -> frozenset[Grant]:
        rows = await self._rows("grants", roles)
        return frozenset(
            Grant(row["role"], row["schema"], row["table_name"], row["column_name"], row["privilege"]) for row in rows
        )

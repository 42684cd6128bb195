"""What a database of the reference application is like before and after it was prepared, written by hand."""

from __future__ import annotations

import msgspec

from infra.postgres.names import HEARTBEAT, IDENTITIES, SCHEMA, SLOTS
from infra.postgres.observed import (
    Observed,
    ObservedColumn,
    ObservedTable,
    Server,
    UniqueIndex,
)
from schemas.catalog import Catalog, Column, Table

NOTES = Table(
    name="notes",
    key=("id",),
    entry="note:{id}",
    tags=("note:{id}", "user:{owner}"),
    columns=(Column("id", "int8"), Column("owner", "int8"), Column("body", "text", nullable=True)),
)
CATALOG = Catalog((NOTES,))
SERVER = Server(
    version_num=180001,
    wal_level="logical",
    max_slot_wal_keep_mb=1024,
    max_replication_slots=10,
    replication_slots=0,
    max_wal_senders=10,
    in_recovery=False,
    database="app",
    user_name="postgres",
    superuser=True,
)
PRIMARY_KEY = UniqueIndex("notes_pkey", ("id",), is_primary=True, is_identity=False, valid=True, usable=True)


def column(name: str, form: str, *, not_null: bool = True, generated: str = "") -> ObservedColumn:
    return ObservedColumn(name, form, form, hash(form) % 10_000, not_null, generated)


def notes(*, owner_not_null: bool = True, identity: str = "d", indexes: tuple[UniqueIndex, ...] = ()) -> ObservedTable:
    columns = (
        column("id", "int8"),
        column("owner", "int8", not_null=owner_not_null),
        column("body", "text", not_null=False),
        column("secret", "text"),
    )
    return ObservedTable(
        schema="public",
        name="notes",
        kind="r",
        persistence="p",
        replica_identity=identity,
        columns={c.name: c for c in columns},
        indexes=(PRIMARY_KEY, *indexes),
    )


def database(table: ObservedTable | None = None, **changes: object) -> Observed:
    table = notes() if table is None else table
    untouched = Observed(
        server=SERVER,
        tables={table.qualified_name: table},
        known_types={},
        publication=None,
        roles={},
        role_settings={},
        usages=frozenset(),
        grants=frozenset(),
        schema_exists=False,
        relations=frozenset(),
        strangers_in_schema=0,
        slot=None,
        changed_identities=(),
    )
    return msgspec.structs.replace(untouched, **changes)


OWN = {"schema_exists": True, "relations": frozenset({HEARTBEAT, SLOTS, IDENTITIES})}
OWN_SCHEMA = SCHEMA

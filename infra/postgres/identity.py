"""Replica identity: what of a row's old version the log carries, decided table by table.

An event must name its row's old tags, and those columns must then be in the log. Of the ways to have them there:

1. *default*: every tag column is part of the primary key, which the log carries anyway. Costs nothing.
2. *index*: a unique index over key and tag columns, all NOT NULL. ``before`` carries just those columns, on a delete
   and when one of them changed. Costs an index; its columns no longer update in place (HOT) when a tag changes.
3. *full*: where no such index can be had, since a tag column may be null. Every UPDATE and DELETE then logs the whole
   old row, TOASTed values included, and Postgres allows no column list beside it: whole rows leave the database, and
   only Debezium drops the columns that the catalog does not list. So it needs the operator's consent, table by table.
"""

from __future__ import annotations

import msgspec

from infra.postgres.names import IDENTITY_INDEX_PREFIX
from infra.postgres.observed import ObservedTable
from infra.postgres.quoting import derived_name
from schemas.catalog import Table


class Identity(msgspec.Struct, frozen=True):
    """What a table's replica identity should be: ``d``, ``i`` (by ``index``) or ``f``."""

    kind: str
    index: str | None = None
    create: bool = False
    rebuild: bool = False

    def holds(self, table: ObservedTable) -> bool:
        """Whether the table has it already."""
        if self.kind == "d":
            # FULL and an index over more columns carry the key too, but cost more: back to the default they go.
            return table.replica_identity == "d"
        return table.replica_identity == self.kind and table.identity_index == self.index


def identity_columns(table: Table) -> tuple[str, ...]:
    """The columns whose old values an event must carry: the key's, then the tags'."""
    return tuple(dict.fromkeys((*table.key, *table.tag_columns)))


def nullable_tags(table: Table, found: ObservedTable) -> tuple[str, ...]:
    """The tag columns that may be null, for which no index can be a replica identity."""
    return tuple(name for name in table.tag_columns if name in found.columns and not found.columns[name].not_null)


def wanted_identity(table: Table, found: ObservedTable) -> Identity:
    """What the table's replica identity should be, given the indexes that it has."""
    wanted = identity_columns(table)
    if set(wanted) == set(table.key):
        return Identity("d")
    if nullable_tags(table, found):
        return Identity("f")
    ours = derived_name(IDENTITY_INDEX_PREFIX, table.name)
    fitting = [index for index in found.indexes if index.usable and set(index.columns) == set(wanted)]
    valid = [index.name for index in fitting if index.valid]
    if valid:
        current = found.identity_index
        return Identity("i", current if current in valid else ours if ours in valid else valid[0])
    # One of our name that does not fit was left invalid by a build that failed, or was made for other tags.
    return Identity("i", ours, create=True, rebuild=any(index.name == ours for index in found.indexes))

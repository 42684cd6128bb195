"""Whether a database has what a catalog says it has: all that does not fit is told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from infra.postgres.identity import nullable_tags, wanted_identity
from infra.postgres.observed import Observed, ObservedColumn, ObservedTable
from schemas.canonical import column_faults
from schemas.catalog import Column, Table
from schemas.column_forms import actual_type_fault, parse_type
from schemas.errors import CatalogError, FreshlineError

_OLDEST_SUPPORTED = 140_000
_PUBLISHES_GENERATED = 180_000


class DatabaseUnfitError(FreshlineError):
    """The database can't be followed as it is. The message lists all that has to be changed, each with its cure."""

    def __init__(self, database: str, faults: Collection[str]) -> None:
        lines = "".join(f"\n  - {fault}" for fault in faults)
        super().__init__(f"Database {database!r} can't be followed as it is:{lines}")
        self.faults = tuple(faults)


def check_fitness(tables: Collection[Table], observed: Observed, whole_rows: Collection[str]) -> None:
    """Refuse a database that does not fit the catalog.

    Args:
        tables: what the catalog follows.
        observed: what the database is like.
        whole_rows: qualified names of tables whose whole rows may leave Postgres.

    Raises:
        DatabaseUnfitError: lists every fault.
    """
    faults = [*_server_faults(observed), *_domain_faults(observed)]
    for table in tables:
        found = observed.tables.get(table.qualified_name)
        if found is None:
            faults.append(f"table {table.qualified_name} does not exist: create it (run its migrations) or unlist it")
            continue
        faults.extend(_table_faults(table, found, observed, whole_rows))
    if faults:
        raise DatabaseUnfitError(observed.server.database, faults)


def _server_faults(observed: Observed) -> Iterator[str]:
    server = observed.server
    if server.version_num < _OLDEST_SUPPORTED:
        yield f"the server is Postgres {server.version_num // 10_000}, and 14 or later is needed"
    if server.in_recovery:
        yield "the server is a standby: connect to the primary"
    if server.wal_level != "logical":
        yield (
            f"wal_level is {server.wal_level!r} and must be 'logical': "
            "ALTER SYSTEM SET wal_level = 'logical', then restart the server"
        )
    if observed.slot is None and server.replication_slots >= server.max_replication_slots:
        yield f"all {server.max_replication_slots} replication slots are taken: raise max_replication_slots and restart"


def _domain_faults(observed: Observed) -> Iterator[str]:
    for name in observed.enum_domains:
        yield (
            f"domain {name} is over an enumeration, which keeps Debezium from starting: use the enumeration itself "
            "with a CHECK, or a domain over text"
        )


def _table_faults(table: Table, found: ObservedTable, observed: Observed, whole_rows: Collection[str]) -> Iterator[str]:
    where = table.qualified_name
    if found.kind != "r":
        kinds = {"p": "a partitioned table", "v": "a view", "m": "a materialized view", "f": "a foreign table"}
        yield f"{where} is {kinds.get(found.kind, 'no table')}: only plain tables can be followed"
        return
    if found.persistence != "p":
        yield f"{where} is unlogged or temporary, so the log says nothing of it: ALTER TABLE ... SET LOGGED"
    if set(found.primary_key) != set(table.key):
        has = f"({', '.join(found.primary_key)})" if found.primary_key else "missing"
        yield f"{where}: the catalog's key is ({', '.join(table.key)}) but the primary key is {has}"
    if any(index.is_primary and not index.usable for index in found.indexes):
        yield (
            f"{where}: its primary key is deferrable, so rows may swap keys in one transaction, and the log then ends "
            "with the deletion of one that is there: make the key NOT DEFERRABLE"
        )
    yield from (f"{where}: {fault}" for fault in column_faults(table))
    for column in table.columns:
        yield from _column_faults(where, column, found.columns.get(column.name), observed)
    yield from _consent_faults(table, found, observed, whole_rows)


def _column_faults(where: str, column: Column, found: ObservedColumn | None, observed: Observed) -> Iterator[str]:
    if found is None:
        yield f"{where}.{column.name} does not exist: add the column or unlist it"
        return
    if not _is_of_type(column, found, observed):
        yield f"{where}.{column.name} is {found.type}: the catalog says {column.type}, it should say {found.form}"
    elif fault := actual_type_fault(column.type, found.base_type or found.form, over_array=found.over_array):
        yield f"{where}.{column.name} {fault}"
    if not found.not_null and not column.nullable:
        yield f"{where}.{column.name} may be null, the catalog says it may not: SET NOT NULL, or nullable=True there"
    if found.generated and (observed.server.version_num < _PUBLISHES_GENERATED or found.generated != "s"):
        yield f"{where}.{column.name} is a generated column, which this server does not log: unlist it"


def _is_of_type(column: Column, found: ObservedColumn, observed: Observed) -> bool:
    if observed.known_types.get(column.type) == found.type_oid:
        return True
    try:
        return parse_type(column.type).name == found.form
    except CatalogError:
        return False


def _consent_faults(
    table: Table, found: ObservedTable, observed: Observed, whole_rows: Collection[str]
) -> Iterator[str]:
    listed = {column.name for column in table.columns}
    leaving = sorted(set(found.columns) - listed)
    if not leaving or table.qualified_name in whole_rows:
        return
    consent = f"or accept that it does: --whole-rows {table.qualified_name}"
    if wanted_identity(table, found).kind == "f":
        yield (
            f"{table.qualified_name}: tag column {', '.join(nullable_tags(table, found))} may be null, so only whole "
            f"rows can be its replica identity, and {', '.join(leaving)} would leave Postgres: SET NOT NULL, {consent}"
        )
    elif not observed.server.has_column_lists:
        yield (
            f"{table.qualified_name}: publications have column lists from Postgres 15 on, so {', '.join(leaving)} "
            f"would leave Postgres: upgrade the server, {consent}"
        )

"""What a database needs before its log can be followed, as a plan: pure, from what it is like to what is missing.

The order matters: indexes first and each alone (they are built while the application writes), then everything else in
one transaction, so that a publication whose column list lacks a replica identity's column is never seen by anyone (an
UPDATE would fail while it is).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.postgres.fitness import check_fitness
from infra.postgres.identity import Identity, identity_columns, wanted_identity
from infra.postgres.names import HEARTBEAT, IDENTITIES, SCHEMA, SLOTS, Wish
from infra.postgres.observed import Observed, ObservedTable
from infra.postgres.quoting import columns, identifier, literal, qualified
from infra.postgres.roles import role_advice, role_steps
from infra.postgres.statements import statement
from infra.postgres.steps import Plan, Step
from schemas.catalog import Table
from schemas.column_forms import parse_type
from schemas.debezium import GUARDS


def plan_preparation(wish: Wish, observed: Observed) -> Plan:
    """What is missing, as statements, each with its reason; empty where the database is prepared.

    Raises:
        DatabaseUnfitError: the database lacks what Freshline must not make up (a table, a column, a NOT NULL).
    """
    check_fitness(wish.catalog.tables, observed, wish.whole_rows)
    identities = {table: wanted_identity(table, observed.tables[table.qualified_name]) for table in wish.catalog.tables}
    steps = (
        *_indexes(identities),
        *_own_tables(observed),
        *_identities(identities, observed),
        *_publication(wish, identities, observed),
        *role_steps(wish, observed),
    )
    return Plan(steps, tuple(_advice(wish, identities, observed)))


def published_columns(table: Table, identity: Identity, *, has_column_lists: bool) -> tuple[str, ...] | None:
    """The columns of a table that leave Postgres; None for whole rows."""
    if identity.kind == "f" or not has_column_lists:
        return None
    return tuple(column.name for column in table.columns)


def _indexes(identities: Mapping[Table, Identity]) -> Iterator[Step]:
    for table, identity in identities.items():
        if identity.index is None or not identity.create:
            continue
        if identity.rebuild:
            yield Step(
                f"DROP INDEX CONCURRENTLY {qualified(table.schema, identity.index)}",
                "An index of ours that a failed build left invalid, or that was made for other tags.",
                alone=True,
            )
        yield Step(
            f"CREATE UNIQUE INDEX CONCURRENTLY {identifier(identity.index)} "
            f"ON {qualified(table.schema, table.name)} {columns(identity_columns(table))}",
            f"Events of {table.qualified_name} must name the old values of its tags; this index will be its replica "
            "identity. It is built while the application goes on writing.",
            alone=True,
        )


def _own_tables(observed: Observed) -> Iterator[Step]:
    if not observed.schema_exists:
        yield Step(f"CREATE SCHEMA {identifier(SCHEMA)}", "A schema of our own for the few rows that we keep here.")
    for name, why in (
        (
            HEARTBEAT,
            "Debezium writes here now and then, so that its slot moves on while the followed tables are quiet.",
        ),
        (
            SLOTS,
            "Remembers which slot the copies were made from: a slot that was dropped and made anew missed changes.",
        ),
        (IDENTITIES, "Remembers each replica identity that we change, so that it can be put back."),
    ):
        if name not in observed.relations:
            yield Step(statement("own_tables", name), why)


def _identities(identities: Mapping[Table, Identity], observed: Observed) -> Iterator[Step]:
    for table, identity in identities.items():
        found = observed.tables[table.qualified_name]
        if identity.holds(found):
            continue
        yield _remember(found)
        name = qualified(table.schema, table.name)
        if identity.kind == "i" and identity.index is not None:
            yield Step(
                f"ALTER TABLE {name} REPLICA IDENTITY USING INDEX {identifier(identity.index)}",
                f"The log then carries the old values of {', '.join(identity_columns(table))}, and of nothing else.",
            )
        elif identity.kind == "f":
            yield Step(
                f"ALTER TABLE {name} REPLICA IDENTITY FULL",
                "A tag column may be null, so no index will do. Cost: every UPDATE and DELETE logs the whole old row.",
            )
        else:
            yield Step(
                f"ALTER TABLE {name} REPLICA IDENTITY DEFAULT",
                "Its tags are all part of the primary key, which the log carries at no cost.",
            )


def _remember(found: ObservedTable) -> Step:
    before = found.identity_index
    index = "NULL" if before is None else literal(before)
    return Step(
        f"INSERT INTO {qualified(SCHEMA, IDENTITIES)} (table_schema, table_name, identity_before, index_before) "  # noqa: S608
        f"VALUES ({literal(found.schema)}, {literal(found.name)}, {literal(found.replica_identity)}, {index}) "
        "ON CONFLICT (table_schema, table_name) DO NOTHING",
        f"The replica identity of {found.qualified_name} is about to change: note what it was.",
    )


def _publication(wish: Wish, identities: Mapping[Table, Identity], observed: Observed) -> Iterator[Step]:
    name = identifier(wish.names.publication)
    lists = {
        (table.schema, table.name): published_columns(
            table, identity, has_column_lists=observed.server.has_column_lists
        )
        for table, identity in identities.items()
    }
    wanted = {place: None if listed is None else frozenset(listed) for place, listed in lists.items()}
    wanted[SCHEMA, HEARTBEAT] = None
    tables = ", ".join(
        qualified(schema, table) + ("" if listed is None else f" {columns(listed)}")
        for (schema, table), listed in ({**lists, (SCHEMA, HEARTBEAT): None}).items()
    )
    options = "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
    present = observed.publication
    why = "What Debezium may read: these tables, and of each only the key, the tags and the cached columns."
    if present is None:
        yield Step(f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH {options}", why)
        return
    if present.all_tables:
        yield Step(f"DROP PUBLICATION {name}", "A publication FOR ALL TABLES can't be narrowed, so it is made anew.")
        yield Step(f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH {options}", why)
        return
    published = {place: None if t.filtered else t.columns for place, t in present.tables.items()}
    if published != wanted or any(table.filtered for table in present.tables.values()):
        yield Step(f"ALTER PUBLICATION {name} SET TABLE {tables}", f"It publishes something else. {why}")
    if not (present.all_operations and present.via_root):
        yield Step(f"ALTER PUBLICATION {name} SET {options}", "Every kind of change counts, TRUNCATE too.")


def _advice(wish: Wish, identities: Mapping[Table, Identity], observed: Observed) -> Iterator[str]:
    server = observed.server
    if server.max_slot_wal_keep_mb < 0:
        yield (
            "max_slot_wal_keep_size is -1: should Debezium stay away, its slot would keep log until the disk is full, "
            "and the database would stop. Set what the disk can spare, for example ALTER SYSTEM SET "
            "max_slot_wal_keep_size = '10GB', then SELECT pg_reload_conf(). A slot that falls further behind is lost; "
            "all copies are then made anew."
        )
    yield from role_advice(wish, observed)
    for table in wish.catalog.tables:
        yield from _guards(table)
    whole = [table.qualified_name for table, i in identities.items() if i.kind == "f" or not server.has_column_lists]
    if whole:
        yield (
            f"Whole rows of {', '.join(whole)} leave Postgres; Debezium drops the columns that the catalog does not "
            "list before they reach Kafka. With REPLICA IDENTITY FULL every UPDATE and DELETE also logs the old row."
        )


def _guards(table: Table) -> Iterator[str]:
    for column in table.columns:
        declared = parse_type(column.type)
        guard = None if declared.array else GUARDS.get(declared.base)
        if guard is not None:
            condition = guard.format(v=identifier(column.name))
            yield (
                f"{table.qualified_name}.{column.name}: some legal values of type {declared.base} stop Debezium until "
                "the table is unlisted. Keep them out: "
                f"ALTER TABLE {qualified(table.schema, table.name)} ADD CHECK ({condition})."
            )

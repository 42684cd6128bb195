"""What Freshline made in a database, taken back, as a plan: pure, from what is there to what undoes it.

Nothing that was there before is dropped: indexes are ours by name, roles by their mark, tables by our schema, and
replica identities go back to what they were.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.postgres.names import HEARTBEAT, IDENTITIES, IDENTITY_INDEX_PREFIX, ROLE_MARK, SCHEMA, SLOTS, Wish
from infra.postgres.observed import Observed
from infra.postgres.quoting import derived_name, identifier, literal, qualified
from infra.postgres.steps import Plan, Step
from schemas.debezium import ROLE_SETTINGS
from schemas.errors import FreshlineError


class StillFollowedError(FreshlineError):
    """Something still reads the slot, so it can't be dropped."""


def plan_removal(wish: Wish, observed: Observed) -> Plan:
    """What undoes the preparation; empty where nothing of ours is left.

    Raises:
        StillFollowedError: the slot is in use.
    """
    slot = observed.slot
    if slot is not None and slot.active:
        raise StillFollowedError(
            f"Slot {slot.name!r} is being read (by backend {slot.active_pid}). Run `freshline connector remove` first."
        )
    steps = (
        *_slot(observed),
        *_publication(wish, observed),
        *_identities(observed),
        *_own_tables(observed),
        *_roles(wish, observed),
        *_indexes(wish, observed),
    )
    return Plan(steps, tuple(_advice(wish, observed)))


def _slot(observed: Observed) -> Iterator[Step]:
    if observed.slot is not None:
        yield Step(
            f"SELECT pg_drop_replication_slot({literal(observed.slot.name)})",
            "The slot holds log back until it is dropped.",
            alone=True,
        )


def _publication(wish: Wish, observed: Observed) -> Iterator[Step]:
    if observed.publication is not None:
        yield Step(f"DROP PUBLICATION {identifier(wish.names.publication)}", "Nobody reads it any more.")


def _identities(observed: Observed) -> Iterator[Step]:
    for changed in observed.changed_identities:
        found = observed.tables.get(f"{changed.schema}.{changed.name}")
        if found is None or (changed.identity_before, changed.index_before) == (
            found.replica_identity,
            found.identity_index,
        ):
            continue
        before = changed.index_before
        there = {index.name for index in found.indexes}
        kinds = {"f": "FULL", "n": "NOTHING"}
        kind = kinds.get(changed.identity_before, "DEFAULT")
        if changed.identity_before == "i" and before is not None and before in there:
            kind = f"USING INDEX {identifier(before)}"
        yield Step(
            f"ALTER TABLE {qualified(changed.schema, changed.name)} REPLICA IDENTITY {kind}",
            "The replica identity that it had before.",
        )


def _own_tables(observed: Observed) -> Iterator[Step]:
    for name in (HEARTBEAT, SLOTS, IDENTITIES):
        if name in observed.relations:
            yield Step(f"DROP TABLE {qualified(SCHEMA, name)}", "A table of ours.")
    if observed.schema_exists and not observed.strangers_in_schema:
        yield Step(f"DROP SCHEMA {identifier(SCHEMA)}", "Our schema, now empty.")


def _roles(wish: Wish, observed: Observed) -> Iterator[Step]:
    for name in wish.names.roles:
        role = observed.roles.get(name)
        if role is None or not (role.marked == ROLE_MARK or any(g.role == name for g in observed.grants)):
            continue
        if role.marked != ROLE_MARK:
            yield from _revocations(wish, observed, name)
            yield from _session_resets(observed, name)
            continue
        yield Step(f"DROP OWNED BY {identifier(name)}", f"Takes back what {name} was granted in this database.")
        if not role.elsewhere:
            yield Step(f"DROP ROLE {identifier(name)}", "A role that we made.")


def _revocations(wish: Wish, observed: Observed, role: str) -> Iterator[Step]:
    followed = {(table.schema, table.name) for table in wish.catalog.tables}
    for schema, table in sorted({(g.schema, g.table) for g in observed.grants if g.role == role} & followed):
        yield Step(
            f"REVOKE ALL ON {qualified(schema, table)} FROM {identifier(role)}",
            f"{role} was here before us and stays; what it was granted on followed tables is taken back.",
        )


def _session_resets(observed: Observed, role: str) -> Iterator[Step]:
    for name, value in ROLE_SETTINGS.items():
        if observed.role_settings.get((role, name)) == value:
            database = identifier(observed.server.database)
            yield Step(
                f"ALTER ROLE {identifier(role)} IN DATABASE {database} RESET {identifier(name)}",
                f"How sessions of {role} begin in this database is its own affair again.",
            )


def _indexes(wish: Wish, observed: Observed) -> Iterator[Step]:
    for table in wish.catalog.tables:
        found = observed.tables.get(table.qualified_name)
        ours = derived_name(IDENTITY_INDEX_PREFIX, table.name)
        if found is not None and any(index.name == ours for index in found.indexes):
            yield Step(
                f"DROP INDEX CONCURRENTLY {qualified(table.schema, ours)}",
                "The index that we made for the replica identity.",
                alone=True,
            )


def _advice(wish: Wish, observed: Observed) -> Iterator[str]:
    if observed.strangers_in_schema:
        yield f"Schema {SCHEMA} stays: {observed.strangers_in_schema} objects in it are not ours."
    for name in wish.names.roles:
        role = observed.roles.get(name)
        if role is not None and role.marked == ROLE_MARK and role.elsewhere:
            yield f"Role {name} stays: it is still granted something in database {', '.join(role.elsewhere)}."
        elif role is not None and role.marked != ROLE_MARK:
            yield f"Role {name} stays: it was not made by Freshline."
